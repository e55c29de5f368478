"""What `plan_run` does: settles date, categories and release, looks at the batch, and prepares the requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fruit_contract import release as release_layout
from fruit_contract.lake import CURRENT_RELEASE_KEY, raw_prefix, release_prefix, uri
from fruit_contract.regions import require_eu_region
from fruit_pipeline.cluster_request import cluster_request
from fruit_pipeline.lake_reader import MissingObjectError
from fruit_pipeline.run_plan import RunPlan, plan_of_listing
from fruit_pipeline.steps import extract_features_step, refresh_pca_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fruit_pipeline.lake_reader import Lake
    from fruit_pipeline.settings import Settings


class NoReleaseError(RuntimeError):
    """There is no published code to run."""


@dataclass(frozen=True)
class PlannedRun:
    """A plan, and the requests that carry it out. `listed_at` is when the batch was listed."""

    plan: RunPlan
    release: str
    listed_at: datetime
    cluster_request: dict[str, Any]
    extract_features_steps: list[dict[str, Any]]
    refresh_pca_steps: list[dict[str, Any]]

    def as_xcoms(self) -> dict[str, Any]:
        """Ids, addresses and small summaries: what the other tasks need."""
        return {
            "ingest_date": self.plan.ingest_date,
            "categories": self.plan.categories,
            "release": self.release,
            "listed_at": self.listed_at.isoformat(),
            "plan": self.plan.as_dict(),
            "cluster_request": self.cluster_request,
            "extract_features_steps": self.extract_features_steps,
            "refresh_pca_steps": self.refresh_pca_steps,
        }


def plan_run(
    settings: Settings, connect: Callable[[Settings], Lake], run_id: str, ingest_date: str, categories: Sequence[str], listed_at: datetime
) -> PlannedRun:
    """Plans one run. Nothing is created.

    Raises RegionNotAllowedError (before the lake is touched) for a region outside the EU, NoReleaseError if no release is published.
    """
    require_eu_region(settings.region)
    lake = connect(settings)
    release = published_release(lake, settings.release)
    plan = plan_of_listing(ingest_date, lake.list_objects(raw_prefix(ingest_date)), categories, settings)
    return PlannedRun(
        plan=plan,
        release=release,
        listed_at=listed_at,
        cluster_request=cluster_request(settings, release, run_id, ingest_date),
        extract_features_steps=[extract_features_step(settings, release, run_id, [ingest_date], categories)],
        refresh_pca_steps=[refresh_pca_step(settings, release, run_id)],
    )


def published_release(lake: Lake, pinned: str) -> str:
    """The release to run: the pinned one, else the one `code/current.json` names. Its manifest must be there."""
    release = pinned
    if not release:
        try:
            release = str(lake.read_json(CURRENT_RELEASE_KEY)["release"])
        except MissingObjectError as error:
            raise NoReleaseError(f"No release is published: {error} Run `make publish`.") from error
    manifest_key = f"{release_prefix(release)}{release_layout.RELEASE_MANIFEST}"
    try:
        manifest = lake.read_json(manifest_key)
    except MissingObjectError as error:
        remedy = (
            "Set FRUITS_RELEASE to a published release, or leave it empty, and run `make publish`."
            if pinned
            else "Run `make publish` again."
        )
        raise NoReleaseError(f"Release '{release}' is not complete: {error} {remedy}") from error
    there = {stored.key for stored in lake.list_objects(release_prefix(release))}
    missing = sorted(name for name in manifest["files"] if f"{release_prefix(release)}{name}" not in there)
    if missing:
        address = uri(lake.bucket, release_prefix(release))
        raise NoReleaseError(f"Release '{release}' is not complete: {address} lacks {', '.join(missing)}. Run `make publish` again.")
    return release
