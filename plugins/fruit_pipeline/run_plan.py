"""What a run is about to do, how long it should take and what it should cost: shown before money is spent."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline.date_plan import STRAYS_NAMED
from fruit_pipeline.instance_types import primary_type
from fruit_pipeline.run_limits import refuse_too_large_dates, too_large
from fruit_pipeline.scaling import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_pipeline.date_plan import DatePlan
    from fruit_pipeline.scaling import MeasuredSpeed
    from fruit_pipeline.settings import Settings

DATES_NAMED: Final = 8


@dataclass(frozen=True)
class RunPlan:
    """What a run will do. Small enough for XCom.

    `ingest_dates` are the dates it will work on: those asked for that need something, and earlier ones in which something is late.
    `not_delivered` were asked for and have no complete batch; `nothing_new` were asked for and are as they were; `busy` are earlier
    dates left to another run that works on them, `too_large` earlier ones that the driver would not hold. Counts are sums over
    `ingest_dates`.
    """

    ingest_dates: list[str]
    nothing_new: list[str]
    not_delivered: list[str]
    busy: list[str]
    too_large: list[str]
    late: list[str]
    interrupted: list[str]
    categories: list[str]
    images: int
    new: int
    unchanged: int
    removed: int
    size_bytes: int
    images_by_category: dict[str, int]
    new_by_category: dict[str, int]
    missing_categories: list[str]
    n_strays: int
    strays: list[str]
    estimate: Estimate

    @property
    def has_work(self) -> bool:
        return bool(self.ingest_dates)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan_of_dates(
    asked: Sequence[DatePlan],
    looked_back: Sequence[DatePlan],
    not_delivered: Sequence[str],
    categories: Sequence[str],
    settings: Settings,
    *,
    busy: Sequence[str] = (),
    refit_asked: bool = False,
    speed: MeasuredSpeed | None = None,
) -> RunPlan:
    """The plan of a run over its dates' plans. Dates without work are left out, unless a new fit was asked for.

    `speed` is the last one that was measured. Raises RunTooLargeError if a date that was asked for, and needs something, has more
    images than a driver on the primary node holds. Earlier dates that have are left alone, or they would be in the way of every later day.
    """
    primary = primary_type(settings)
    asked_and_due = [plan for plan in asked if plan.has_work or refit_asked]
    refuse_too_large_dates({plan.ingest_date: plan.images for plan in asked_and_due}, primary)
    left = {plan.ingest_date for plan in looked_back if plan.has_work and too_large(plan.ingest_date, plan.images, primary)}
    late = [plan for plan in looked_back if plan.has_work and plan.ingest_date not in left]
    worked = sorted(asked_and_due + late, key=lambda plan: plan.ingest_date)
    listed, new = Counter[str](), Counter[str]()
    for plan in worked:
        listed.update(plan.images_by_category)
        new.update(plan.new_by_category)
    seen = {category for plan in asked for category in plan.images_by_category}
    n_new = sum(plan.new for plan in worked)
    return RunPlan(
        ingest_dates=[plan.ingest_date for plan in worked],
        nothing_new=[plan.ingest_date for plan in asked if not plan.has_work],
        not_delivered=list(not_delivered),
        busy=list(busy),
        too_large=sorted(left),
        late=[plan.ingest_date for plan in late],
        interrupted=[plan.ingest_date for plan in worked if plan.interrupted],
        categories=list(categories),
        images=sum(plan.images for plan in worked),
        new=n_new,
        unchanged=sum(plan.unchanged for plan in worked),
        removed=sum(plan.removed for plan in worked),
        size_bytes=sum(plan.size_bytes for plan in worked),
        images_by_category=dict(sorted(listed.items())),
        new_by_category=dict(sorted(new.items())),
        missing_categories=[category for category in categories if category not in seen],
        n_strays=sum(plan.n_strays for plan in asked),
        strays=[key for plan in asked for key in plan.strays][:STRAYS_NAMED],
        estimate=estimate(n_new, settings, speed=speed, needs_cluster=bool(worked)),
    )


def summary_lines(plan: RunPlan) -> list[str]:
    """The plan in words, for the task's log."""
    lines = []
    if plan.not_delivered:
        lines.append(f"No complete batch (no marker): {_dates(plan.not_delivered)}.")
    if plan.nothing_new:
        lines.append(f"Nothing new, everything is known: {_dates(plan.nothing_new)}.")
    if plan.late:
        lines.append(f"Late, replaced or vanished images of earlier dates: {_dates(plan.late)}.")
    if plan.busy:
        lines.append(f"Left to the runs that are working on them: {_dates(plan.busy)}.")
    if plan.too_large:
        lines.append(
            f"Left alone, for they have more images than a driver on {plan.estimate.assumptions['primary_instance_type']} holds: "
            f"{_dates(plan.too_large)}."
        )
    if plan.interrupted:
        lines.append(f"To be mended after an interrupted run: {_dates(plan.interrupted)}.")
    if plan.missing_categories:
        lines.append(f"Asked for, but nothing was delivered: {', '.join(plan.missing_categories)}.")
    if plan.n_strays:
        named = ", ".join(plan.strays) + (" and more" if plan.n_strays > len(plan.strays) else "")
        lines.append(f"{plan.n_strays:,} objects are in no category folder or no image, and are left alone: {named}.")
    if plan.has_work:
        lines.append(
            f"{_dates(plan.ingest_dates)}: {plan.images:,} images in {len(plan.images_by_category)} categories, {plan.new:,} of them new "
            f"({plan.size_bytes / 1e6:,.1f} MB), {plan.unchanged:,} known; {plan.removed:,} have vanished."
        )
        lines.append(_estimate_line(plan.estimate))
    return lines


def over_budget(estimate: Estimate, settings: Settings) -> str | None:
    """Why the estimate is more than a run may cost; None if it is not. A price that is not known may be any."""
    budget = f"the budget of a run is {settings.budget_eur:.2f} EUR"
    if estimate.euros is None:
        unknown = ", ".join(kind for kind, price in sorted(estimate.assumptions["eur_per_hour"].items()) if price is None)
        return f"What the run would cost is not known (FRUITS_PRICES_EUR_PER_HOUR has no price of {unknown}), and {budget}."
    if estimate.euros > settings.budget_eur:
        return f"The run would cost about {estimate.euros:.2f} EUR, and {budget}."
    return None


def _estimate_line(estimate: Estimate) -> str:
    kind, price = estimate.assumptions["core_instance_type"], estimate.euros
    cost = f"about {price:.2f} EUR" if price is not None else "cost unknown (set FRUITS_PRICES_EUR_PER_HOUR for these instance types)"
    return f"Plan: {_nodes(estimate)} ({kind}), about {estimate.minutes:.0f} minutes, {cost}; speed {estimate.assumptions['speed']}."


def _nodes(estimate: Estimate) -> str:
    if not estimate.task_instances:
        return f"1 primary and {estimate.core_instances} core nodes"
    return f"1 primary, {estimate.core_instances} core and {estimate.task_instances} {estimate.task_market} task nodes"


def _dates(ingest_dates: Sequence[str]) -> str:
    """All of a few dates, the ends of many."""
    if len(ingest_dates) <= DATES_NAMED:
        return ", ".join(ingest_dates)
    return f"{len(ingest_dates):,} dates from {min(ingest_dates)} to {max(ingest_dates)}"
