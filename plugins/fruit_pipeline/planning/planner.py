"""Plans a run: settles its dates, categories and release, looks at the batches, and prepares the requests."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from fruit_contract import lake as lake_layout
from fruit_contract import release as release_layout
from fruit_contract.lake import CURRENT_RELEASE_KEY, release_prefix, uri
from fruit_contract.pca import RefreshPolicy
from fruit_contract.release import PinnedRelease
from fruit_pipeline.claims.claim_book import DatesBook
from fruit_pipeline.claims.claims import Wish, who_holds
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.nodes.node_program import NODE_START
from fruit_pipeline.emr.steps import extract_features_step, refresh_pca_step
from fruit_pipeline.errors import (
    DamagedFileError,
    DateIsBusyError,
    MissingObjectError,
    NoReleaseError,
    OverBudgetError,
    RunTooLongError,
)
from fruit_pipeline.lake.dates.date_listing import categories_of
from fruit_pipeline.lake.location import require_lake_here
from fruit_pipeline.places import Place
from fruit_pipeline.planning.date_looker import DateLooker
from fruit_pipeline.planning.date_plan import refuse_categories
from fruit_pipeline.planning.estimate import MeasuredSpeed
from fruit_pipeline.planning.limits import refuse_too_many_dates
from fruit_pipeline.planning.run_plan import RunPlan, over_budget, plan_of_dates
from fruit_pipeline.request.params import categories_as_meant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fruit_pipeline.claims.claims import ClaimAnswer
    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.estimate import Estimate
    from fruit_pipeline.request.run_request import RunRequest
    from fruit_pipeline.settings import Settings


LOG: Final = logging.getLogger(__name__)


class PlannedXComs(TypedDict):
    """Holds what `plan_run` tells the other tasks: ids, addresses and small summaries. `plan` is a RunPlan as a
    dictionary, `place` a Place.
    """

    ingest_dates: list[str]
    categories: list[str]
    release: str
    place: dict[str, str]
    listed_at: str
    plan: dict[str, Any]
    cluster_request: dict[str, Any]
    extract_features_steps: list[dict[str, Any]]
    refresh_pca_steps: list[dict[str, Any]]


@dataclass(frozen=True)
class PlannedRun:
    """Holds a plan, and the requests that carry it out. `listed_at` is when the batches were listed."""

    plan: RunPlan
    release: str
    place: Place
    listed_at: datetime
    cluster_request: dict[str, Any]
    extract_features_steps: list[dict[str, Any]]
    refresh_pca_steps: list[dict[str, Any]]

    def as_xcoms(self) -> PlannedXComs:
        """Returns what the other tasks need."""
        return {
            "ingest_dates": self.plan.ingest_dates,
            "categories": self.plan.categories,
            "release": self.release,
            "place": self.place.as_dict(),
            "listed_at": self.listed_at.isoformat(),
            "plan": self.plan.as_dict(),
            "cluster_request": self.cluster_request,
            "extract_features_steps": self.extract_features_steps,
            "refresh_pca_steps": self.refresh_pca_steps,
        }


def plan_run(
    settings: Settings,
    connect: Callable[[Settings], Lake],
    request: RunRequest,
    listed_at: datetime,
    is_active: Callable[[str], bool],
) -> PlannedRun:
    """Claims the dates of one run and plans it. `is_active` tells whether another run may still write.

    It claims first and lists then, so that nothing else changes what it sees. It gives back dates that need nothing,
    and all if the run can't be planned.

    Raises RegionNotAllowedError (before the lake is touched) for a region outside the EU, LakeElsewhereError if the
    lake is not named, not in that region, or not of the account that must own it, NoReleaseError if no release is
    published, DateIsBusyError if another run works on a date that was asked for, LakeNameError if such a date holds a
    folder of images that can be no category, OverBudgetError if the run would cost more than it may, RunTooLongError if
    it would take longer than a step may, RunTooLargeError if it or one of its dates is more than a driver holds,
    InstanceTypeError if the jobs can't run on the nodes that are set. Earlier dates on which another run works are left
    to it.
    """
    settings.require_place()
    refuse_too_many_dates(request.dates)
    lake = connect(settings)
    require_lake_here(lake.client, lake.bucket, settings.region, settings.lake_owner)
    release = published_release(lake, settings.release)
    book, asked = DatesBook(lake), request.dates.asked
    answer = book.take(Wish(request.run_id, asked, request.dates.looked_back), is_active)
    _refuse_busy_dates(answer, asked)
    try:
        planned = _plan_claimed(settings, lake, request, release, listed_at, answer)
    except BaseException:
        book.give_back_if_possible(request.run_id)
        raise
    book.keep(request.run_id, planned.plan.ingest_dates)
    return planned


def _refuse_busy_dates(answer: ClaimAnswer, asked: Sequence[str]) -> None:
    busy = {day: claim for day, claim in answer.busy.items() if day in asked}
    if busy:
        raise DateIsBusyError(
            f"Other runs are working on {len(busy):,} of the ingest dates asked for: {who_holds(busy)}.", [*busy]
        )


def _plan_claimed(
    settings: Settings,
    lake: Lake,
    request: RunRequest,
    release: PublishedRelease,
    listed_at: datetime,
    answer: ClaimAnswer,
) -> PlannedRun:
    request = replace(request, categories=_meant_categories(lake, request))
    look = DateLooker(lake, request, release.embedder_id, settings)
    dates = look.at(request.dates.asked, [day for day in request.dates.looked_back if day in answer.held])
    refuse_categories(dates.asked, lake.bucket)
    plan = plan_of_dates(
        asked=dates.asked,
        looked_back=dates.looked_back,
        not_delivered=dates.not_delivered,
        busy=sorted(answer.busy),
        categories=request.categories,
        settings=settings,
        refit_asked=request.pca_policy is RefreshPolicy.ALWAYS,
        outlook=dates.outlook,
        speed=_measured_speed(lake),
    )
    planned = _with_requests(settings, release.pinned, request, plan, listed_at)
    if plan.has_work:
        _refuse_too_long(plan.estimate, settings)
        if not request.over_budget_allowed:
            _refuse_over_budget(plan.estimate, settings)
        NODE_START.put(lake)
    return planned


def _measured_speed(lake: Lake) -> MeasuredSpeed | None:
    """Returns the speed of the last run that measured one, or None if none did, or what it wrote can't be read. The
    next run that measures one writes it anew.
    """
    try:
        return MeasuredSpeed.from_record(lake.read_json_if_there(lake_layout.measured_speed_key()))
    except DamagedFileError as error:
        LOG.warning("The plan does without a measured speed: %s", error)
        return None


def _meant_categories(lake: Lake, request: RunRequest) -> list[str]:
    """Returns the categories of the request, sorted. A name that no folder has with the blanks around it is taken
    without them.
    """
    if all(name == name.strip() for name in request.categories):
        return list(request.categories)
    meant = categories_as_meant(
        request.categories, set().union(*(categories_of(lake, day) for day in request.dates.asked))
    )
    for name, stands_for in meant.items():
        if name != stands_for:
            LOG.warning("There is no category %r in what was asked for: it is taken for %r.", name, stands_for)
    return sorted(set(meant.values()))


def _refuse_over_budget(estimate: Estimate, settings: Settings) -> None:
    message = over_budget(estimate, settings)
    if message:
        raise OverBudgetError(
            f"{message} Nothing was started.\nWhat to do: to go on all the same, trigger the run with 'Go on above the "
            "budget' (`over_budget`); else ask for a shorter range of dates, or raise FRUITS_BUDGET_EUR."
        )


def _refuse_too_long(estimate: Estimate, settings: Settings) -> None:
    """Raises RunTooLongError before money is spent on a step that would be given up."""
    if estimate.minutes > settings.step_timeout_hours * 60:
        raise RunTooLongError(
            f"The run would take about {estimate.minutes / 60:.1f} hours, and a step is given up after "
            f"{settings.step_timeout_hours:g}. Nothing was started. Ask for fewer dates or categories at a time, allow "
            "more nodes (FRUITS_TASK_INSTANCE_MAX), or more time (FRUITS_STEP_TIMEOUT_HOURS)."
        )


def _with_requests(
    settings: Settings, release: PinnedRelease, request: RunRequest, plan: RunPlan, listed_at: datetime
) -> PlannedRun:
    release_id = release.release_id
    run_id, days, task_instances = request.run_id, plan.ingest_dates, plan.estimate.task_instances
    extract = extract_features_step(
        settings,
        release_id,
        run_id,
        days,
        request.categories,
        task_instances=task_instances,
        retry_rejected=request.retry_rejected,
        accept_rejects=request.accept_rejects,
    )
    refresh = refresh_pca_step(
        settings,
        release_id,
        run_id,
        days,
        request.pca_policy,
        task_instances=task_instances,
        switch_embedder=request.switch_embedder,
    )
    return PlannedRun(
        plan=plan,
        release=release_id,
        place=Place.of(settings),
        listed_at=listed_at,
        cluster_request=cluster_request(settings, release, run_id, days, task_instances, airflow_id=request.airflow_id),
        extract_features_steps=[extract],
        refresh_pca_steps=[refresh],
    )


_OF_ANOTHER_STATE: Final = (
    "was published by another state of this product than this Airflow is of, so nodes can't check it before they run "
    "it. Run `make publish` from the state that Airflow has, and leave FRUITS_RELEASE empty."
)


@dataclass(frozen=True)
class PublishedRelease:
    """Describes a complete release, and names the embedder whose features it makes."""

    pinned: PinnedRelease
    embedder_id: str


def published_release(lake: Lake, pinned: str) -> PublishedRelease:
    """Returns the release to run: the one that is set, or else the one that `code/current.json` names.

    Raises NoReleaseError if it is not complete, or if its list of files is not what was published. The nodes check the
    files themselves, because only they read them.
    """
    release, expected = (pinned, None) if pinned else _current_release(lake)
    prefix = release_prefix(release)
    address = uri(lake.bucket, prefix)
    try:
        content = lake.read_bytes(f"{prefix}{release_layout.RELEASE_MANIFEST}")
    except MissingObjectError as error:
        remedy = (
            "Set FRUITS_RELEASE to a published release, or leave it empty, and run `make publish`."
            if pinned
            else "Run `make publish` again."
        )
        raise NoReleaseError(f"Release '{release}' is not complete: {error} {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    manifest = _json_or_nothing(content) if pinned or expected == found else {}
    # If the release is set by name, there is no digest beside the name, but the name is a digest itself.
    if not manifest or (pinned and release != release_layout.release_id(manifest["files"])):
        raise NoReleaseError(
            f"{address}{release_layout.RELEASE_MANIFEST} is not as it was published (its SHA-256 is {found}), so "
            "nothing of this release "
            "may run. See who wrote below code/, and run `make publish`, which puts back what differs."
        )
    if manifest.get("format") != release_layout.RELEASE_FORMAT:
        raise NoReleaseError(f"Release '{release}' {_OF_ANOTHER_STATE}")
    there = {stored.key for stored in lake.list_objects(prefix)}
    missing = sorted(name for name in manifest["files"] if f"{prefix}{name}" not in there)
    if missing:
        raise NoReleaseError(
            f"Release '{release}' is not complete: {address} lacks {', '.join(missing)}. Run `make publish` again."
        )
    return PublishedRelease(PinnedRelease(release, found), str(manifest["embedder_id"]))


def _json_or_nothing(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _current_release(lake: Lake) -> tuple[str, str]:
    """Returns the release in use and the digest of its list of files."""
    try:
        current = lake.read_json(CURRENT_RELEASE_KEY)
    except MissingObjectError as error:
        raise NoReleaseError(f"No release is published: {error} Run `make publish`.") from error
    release = str(current[release_layout.CURRENT_RELEASE])
    if release_layout.MANIFEST_SHA256 not in current:
        raise NoReleaseError(f"Release '{release}' {_OF_ANOTHER_STATE}")
    return release, str(current[release_layout.MANIFEST_SHA256])
