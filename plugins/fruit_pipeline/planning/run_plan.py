"""Plans what a run does, how long it should take and what it should cost, and says so before money is spent."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import looks_of
from fruit_pipeline.emr.nodes.instance_types import primary_type
from fruit_pipeline.lake.facts import STRAYS_NAMED
from fruit_pipeline.planning.estimate import Estimate, estimate
from fruit_pipeline.planning.limits import dates_that_fit, refuse_too_many_images

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fruit_pipeline.planning.date_plan import DatePlan
    from fruit_pipeline.planning.estimate import MeasuredSpeed
    from fruit_pipeline.planning.pca_state import PcaOutlook, Refit
    from fruit_pipeline.settings import Settings

DATES_NAMED: Final = 8
_SIMILAR_NAMED: Final = 3
_SIMILAR_FROM: Final = 0.75
# These words are said of a plan's dates, by the names of the plan's fields.
_SAID_OF_DATES: Final = {
    "not_delivered": "No complete batch (no marker)",
    "nothing_new": "Nothing new, everything is known",
    "late": "Late, replaced or vanished images of earlier dates",
    "busy": "Left to the runs that are working on them",
    "lost": "Files that the ledger names are gone, what they held is computed again",
    "unswept": "Files that no ledger names, as an interrupted run leaves them, are removed",
    "unprojected": "Not projected under the current PCA version yet",
    "waiting_for_pca": "Featurised, and in no PCA version yet",
    "earlier_form": "Written by a former release, to be taken over",
}


@dataclass(frozen=True)
class Migration:
    """Says what is left to do until readers can go over to the release's embedder: how many images have features of the
    old embedder only.

    `minutes` and `euros` (None if a price is not known) are those of one run over all of them.
    """

    pca_version: str
    from_embedder_id: str
    to_embedder_id: str
    images: int
    n_ingest_dates: int
    first_ingest_date: str | None
    last_ingest_date: str | None
    minutes: float
    euros: float | None


@dataclass(frozen=True)
class RunPlan:
    """Says what a run will do, in numbers small enough for XCom.

    `ingest_dates` are the dates it will work on: those asked for that need something, and earlier ones in which
    something is late. `not_delivered` were asked for and have no complete batch; `nothing_new` were asked for and are
    as they were; `busy` are earlier dates left to another run that works on them, `too_large` earlier ones that the
    driver would not hold besides, `refused_categories` those of them (with the names) that hold folders of images which
    can be no category. `missing_categories` were asked for and are in none of the dates asked for, `similar_categories`
    are names that are there and much like them. Counts are sums over `ingest_dates`.

    Of `ingest_dates`, `lost` miss files that their ledgers name, `unswept` have files that no ledger names,
    `unprojected` have features that the current PCA version has not projected, `waiting_for_pca` have features for
    which there could be a PCA and is none, `earlier_form` are as an earlier release wrote them; `interrupted` are
    `lost` and `unswept` together.
    """

    ingest_dates: list[str]
    nothing_new: list[str]
    not_delivered: list[str]
    busy: list[str]
    too_large: list[str]
    refused_categories: dict[str, list[str]]
    late: list[str]
    interrupted: list[str]
    lost: list[str]
    unswept: list[str]
    unprojected: list[str]
    waiting_for_pca: list[str]
    earlier_form: list[str]
    categories: list[str]
    images: int
    new: int
    unchanged: int
    removed: int
    size_bytes: int
    images_by_category: dict[str, int]
    new_by_category: dict[str, int]
    missing_categories: list[str]
    similar_categories: dict[str, list[str]]
    n_strays: int
    strays: list[str]
    refit: Refit | None
    migration: Migration | None
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
    outlook: PcaOutlook | None = None,
) -> RunPlan:
    """Returns the plan of a run, made of its dates' plans. Dates without work are left out, unless a new fit was asked
    for.

    `speed` is the last one that was measured, and `outlook` tells whether a new PCA is to be expected. Raises
    RunTooLargeError if the dates that were asked for, and need something, have more images than a driver on the primary
    node holds. Earlier dates that do not fit beside them are left alone, or they would be in the way of every later
    day; so are those with folders that can be no category.
    """
    primary = primary_type(settings)
    asked_and_due = [plan for plan in asked if plan.has_work or refit_asked]
    refuse_too_many_images({plan.ingest_date: plan.images for plan in asked_and_due}, primary)
    refused = {plan.ingest_date: list(plan.refused_categories) for plan in looked_back if plan.refused_categories}
    due = {plan.ingest_date: plan.images for plan in looked_back if plan.has_work and plan.ingest_date not in refused}
    fitting = dates_that_fit(due, sum(plan.images for plan in asked_and_due), primary)
    late = [plan for plan in looked_back if plan.ingest_date in fitting]
    worked = sorted(asked_and_due + late, key=lambda plan: plan.ingest_date)
    listed, new = Counter[str](), Counter[str]()
    for plan in worked:
        listed.update(plan.images_by_category)
        new.update(plan.new_by_category)
    seen = {category for plan in asked for category in plan.images_by_category}
    missing = [category for category in categories if category not in seen]
    n_new = sum(plan.new for plan in worked)
    refit = (
        outlook.refit(n_new, sum((Counter(plan.n_leaving) for plan in worked), Counter()))
        if outlook and worked
        else None
    )
    return RunPlan(
        ingest_dates=[plan.ingest_date for plan in worked],
        nothing_new=[plan.ingest_date for plan in asked if not plan.has_work],
        not_delivered=list(not_delivered),
        busy=list(busy),
        too_large=sorted(due.keys() - fitting),
        refused_categories=refused,
        late=[plan.ingest_date for plan in late],
        interrupted=[plan.ingest_date for plan in worked if plan.files.lost or plan.files.unswept],
        lost=[plan.ingest_date for plan in worked if plan.files.lost],
        unswept=[plan.ingest_date for plan in worked if plan.files.unswept],
        unprojected=[plan.ingest_date for plan in worked if plan.files.unprojected],
        waiting_for_pca=[plan.ingest_date for plan in worked if plan.waits_for_pca],
        earlier_form=[plan.ingest_date for plan in worked if plan.files.of_earlier_form],
        categories=list(categories),
        images=sum(plan.images for plan in worked),
        new=n_new,
        unchanged=sum(plan.unchanged for plan in worked),
        removed=sum(plan.removed for plan in worked),
        size_bytes=sum(plan.size_bytes for plan in worked),
        images_by_category=dict(sorted(listed.items())),
        new_by_category=dict(sorted(new.items())),
        missing_categories=missing,
        similar_categories=_similar(missing, {category for plan in asked for category in plan.categories_there}),
        n_strays=sum(plan.n_strays for plan in asked),
        strays=[key for plan in asked for key in plan.strays][:STRAYS_NAMED],
        refit=refit,
        migration=_migration(outlook, settings, speed) if outlook and outlook.is_migration else None,
        estimate=estimate(n_new, settings, speed=speed, needs_cluster=bool(worked), refit=refit),
    )


def summary_lines(plan: RunPlan) -> list[str]:
    """Returns the plan in words, for the task's log."""
    lines = [f"{said}: {_dates(dates)}." for name, said in _SAID_OF_DATES.items() if (dates := getattr(plan, name))]
    if plan.too_large:
        lines.append(
            f"Left alone, for with them the run would have more images than a driver on "
            f"{plan.estimate.assumptions['primary_instance_type']} holds: {_dates(plan.too_large)}."
        )
    for ingest_date, categories in plan.refused_categories.items():
        named = ", ".join(map(repr, categories))
        lines.append(
            f"Left alone: {ingest_date} holds folders that can be no category. Rename them, or take them out: {named}."
        )
    if plan.missing_categories:
        lines.append(f"Asked for, but nothing was delivered: {', '.join(map(_shown, plan.missing_categories))}.")
    lines += [
        f"Much like {missing!r}: {', '.join(map(repr, there))}." for missing, there in plan.similar_categories.items()
    ]
    if plan.n_strays:
        named = ", ".join(map(repr, plan.strays)) + (" and more" if plan.n_strays > len(plan.strays) else "")
        lines.append(f"{plan.n_strays:,} objects are in no category folder or no image, and are left alone: {named}.")
    if plan.has_work:
        lines.append(
            f"{_dates(plan.ingest_dates)}: {plan.images:,} images in {len(plan.images_by_category)} categories, "
            f"{plan.new:,} of them new "
            f"({plan.size_bytes / 1e6:,.1f} MB), {plan.unchanged:,} known; {plan.removed:,} have vanished."
        )
        if plan.refit:
            lines.append(
                f"A new PCA version is foreseen ({plan.refit.reason}): {plan.refit.n_images:,} images in "
                f"{plan.refit.n_files:,} files are projected again."
            )
        lines.append(_estimate_line(plan.estimate))
    if plan.migration:
        lines.append(_migration_line(plan.migration))
    return lines


def _migration(outlook: PcaOutlook, settings: Settings, speed: MeasuredSpeed | None) -> Migration:
    state = outlook.state
    left = outlook.history.of(state.embedder_id)
    n_images = left.n_images + outlook.history.of_earlier_form.n_images
    days = sorted({*left.ingest_dates, *outlook.history.of_earlier_form.ingest_dates})
    cost = estimate(n_images, settings, speed=speed, needs_cluster=n_images > 0)
    return Migration(
        pca_version=state.version,
        from_embedder_id=state.embedder_id,
        to_embedder_id=outlook.embedder_id,
        images=n_images,
        n_ingest_dates=len(days),
        first_ingest_date=days[0] if days else None,
        last_ingest_date=days[-1] if days else None,
        minutes=cost.minutes,
        euros=cost.all_euros,
    )


def _migration_line(migration: Migration) -> str:
    begin = (
        f"The release's embedder is {migration.to_embedder_id}, and the PCA version that readers use "
        f"({migration.pca_version}) is of {migration.from_embedder_id}."
    )
    if not migration.images:
        return (
            f"{begin} Every image has features of the release's embedder: readers are switched when the next PCA "
            "version is complete."
        )
    cost = "cost unknown" if migration.euros is None else f"about {migration.euros:.2f} EUR"
    command = f"make run FROM={migration.first_ingest_date} TO={migration.last_ingest_date}"
    return (
        f"{begin} {migration.images:,} images of {migration.n_ingest_dates:,} dates have features of that one alone: "
        f"to featurise them anew takes about {migration.minutes:.0f} minutes, {cost} (`{command}`). Readers stay on "
        "the current version until then, or until a run with SWITCH_EMBEDDER=1 (`--switch-embedder`)."
    )


def over_budget(estimate: Estimate, settings: Settings) -> str | None:
    """Returns why the estimate is more than a run may cost, or None if it is not. A price that is not known may be any,
    so it counts as too much.
    """
    budget = f"the budget of a run is {settings.budget_eur:.2f} EUR"
    if estimate.all_euros is None:
        unknown = ", ".join(
            kind for kind, price in sorted(estimate.assumptions["eur_per_hour"].items()) if price is None
        )
        return (
            f"What the run would cost is not known (FRUITS_PRICES_EUR_PER_HOUR has no price of {unknown}), and "
            f"{budget}."
        )
    if estimate.all_euros > settings.budget_eur:
        return f"The run would cost about {estimate.all_euros:.2f} EUR, and {budget}."
    return None


def _estimate_line(estimate: Estimate) -> str:
    kind, price = estimate.assumptions["core_instance_type"], estimate.all_euros
    cost = (
        f"about {price:.2f} EUR"
        if price is not None
        else "cost unknown (set FRUITS_PRICES_EUR_PER_HOUR for these instance types)"
    )
    return (
        f"Plan: {_nodes(estimate)} ({kind}), about {estimate.minutes:.0f} minutes, {cost}; speed "
        f"{estimate.assumptions['speed']}."
    )


def _nodes(estimate: Estimate) -> str:
    if not estimate.task_instances:
        return f"1 primary and {estimate.core_instances} core nodes"
    return f"1 primary, {estimate.core_instances} core and {estimate.task_instances} {estimate.task_market} task nodes"


def _similar(missing: Sequence[str], there: Collection[str]) -> dict[str, list[str]]:
    """Returns, by missing category, the names that are there and look much like it. Perhaps one of them was meant."""
    by_looks = defaultdict(list)
    for category in sorted(there):
        by_looks[looks_of(category)].append(category)
    near = {name: get_close_matches(looks_of(name), by_looks, _SIMILAR_NAMED, _SIMILAR_FROM) for name in missing}
    return {
        name: [category for looks in found for category in by_looks[looks]][:_SIMILAR_NAMED]
        for name, found in near.items()
        if found
    }


def _shown(category: str) -> str:
    """Returns the name, in quotes if it has outer spaces or a comma, because it would be misread without them."""
    return repr(category) if category != category.strip() or "," in category else category


def _dates(ingest_dates: Sequence[str]) -> str:
    """Returns a text that names all of a few dates, and the first and last of many."""
    if len(ingest_dates) <= DATES_NAMED:
        return ", ".join(ingest_dates)
    return f"{len(ingest_dates):,} dates from {min(ingest_dates)} to {max(ingest_dates)}"
