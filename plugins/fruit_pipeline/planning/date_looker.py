"""Looks at the dates of a run: compares their listings with their ledgers and their files with what these name, and
says what to expect of the PCA.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from fruit_contract import lake as lake_layout
from fruit_contract.pca import RefreshPolicy
from fruit_pipeline.lake.dates.date_files import (
    lost_features,
    lost_moments,
    lost_rejects,
    unprojected_files,
    unswept_files,
)
from fruit_pipeline.lake.dates.date_listing import list_date_files, projected_versions
from fruit_pipeline.lake.facts import LakeHistory
from fruit_pipeline.lake.history import read_history, read_pca_state
from fruit_pipeline.planning.date_plan import DateCounts, FileState, plan_date, waiting_for_pca
from fruit_pipeline.planning.pca_state import PcaOutlook

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from fruit_pipeline.lake.dates.date_ledger import DateLedger
    from fruit_pipeline.lake.dates.range_walk import RangeWalker
    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.date_plan import DatePlan
    from fruit_pipeline.request.run_request import RunRequest
    from fruit_pipeline.settings import Settings

_DATES_AT_ONCE: Final = 16


@dataclass(frozen=True)
class DatesSeen:
    """Holds the plans of the dates that have a complete batch, the dates asked for without one, and what is to be
    expected of the PCA.
    """

    asked: list[DatePlan]
    looked_back: list[DatePlan]
    not_delivered: list[str]
    outlook: PcaOutlook


class DateLooker:
    """Looks at dates for one run and one release's embedder."""

    def __init__(self, lake: Lake, request: RunRequest, embedder_id: str, settings: Settings) -> None:
        self._lake = lake
        self._request = request
        self._embedder_id = embedder_id
        self._policy = settings.pca_rules(request.pca_policy)
        self._pca = read_pca_state(lake)
        self._versions = projected_versions(lake)

    def at(self, asked: Sequence[str], looked_back: Sequence[str]) -> DatesSeen:
        """Looks at the dates that were asked for and at those to look back at, several at once."""
        from fruit_pipeline.lake.dates.range_walk import (
            RangeWalker,  # pyarrow loads with the task, not with the DAG file
        )

        days = [*asked, *looked_back]
        with RangeWalker(self._lake) as walker, ThreadPoolExecutor(_DATES_AT_ONCE) as pool:
            plans = dict(zip(days, pool.map(partial(self._plan_if_delivered, walker), days), strict=True))
        seen = {day: plan for day, plan in plans.items() if plan is not None}
        outlook = self._outlook(list(seen.values()))
        if outlook.lacks_version():
            seen = {plan.ingest_date: plan for plan in waiting_for_pca(seen.values())}
        return DatesSeen(
            asked=[seen[day] for day in asked if day in seen],
            looked_back=[seen[day] for day in looked_back if day in seen],
            not_delivered=[day for day in asked if day not in seen],
            outlook=outlook,
        )

    def _outlook(self, plans: Sequence[DatePlan]) -> PcaOutlook:
        """Returns what is to be expected of the PCA. It reads the history only where that matters, so a run without
        anything to do costs only its dates' listings.
        """
        other_embedder = self._pca.embedder_id != self._embedder_id
        matters = (
            any(plan.has_work for plan in plans)
            or self._policy.policy is RefreshPolicy.ALWAYS
            or bool(self._pca.version and other_embedder)
            or (other_embedder and self._policy.policy is not RefreshPolicy.NEVER and bool(plans))
        )
        history = read_history(self._lake) if matters else LakeHistory()
        return PcaOutlook(self._pca, history, self._embedder_id, self._policy, self._request.switch_embedder)

    def _plan_if_delivered(self, walker: RangeWalker, ingest_date: str) -> DatePlan | None:
        if not self._lake.is_there(lake_layout.success_marker_key(ingest_date)):
            return None
        from fruit_pipeline.lake.dates.date_ledger import find_ledger

        lake = self._lake
        ledger = find_ledger(lake, ingest_date)
        if ledger.is_of_earlier_form:
            return self._plan(walker, ingest_date, ledger, FileState(of_earlier_form=True), frozenset())
        listed = list_date_files(lake, ingest_date, self._versions, ledger.leftovers)
        commit = ledger.commit
        lost = lost_features(commit, listed)
        own = commit.embedders.get(self._embedder_id) if commit else None
        state = FileState(
            lost=len(lost) + len(lost_moments(commit, listed)) + len(lost_rejects(commit, listed)),
            unswept=len(unswept_files(commit, listed)),
            unprojected=len(unprojected_files(commit, listed, self._pca.version, self._pca.embedder_id))
            if self._pca.version
            else 0,
            n_featurised=own.n_images if own else 0,
        )
        return self._plan(walker, ingest_date, ledger, state, lost)

    def _plan(
        self, walker: RangeWalker, ingest_date: str, ledger: DateLedger, state: FileState, lost: frozenset[str]
    ) -> DatePlan:
        from fruit_pipeline.lake.dates.date_ledger import known_batches
        from fruit_pipeline.planning.date_counts import count_images

        def count(listed: pa.Table, known: pa.Table) -> DateCounts:
            request = self._request
            return count_images(
                ingest_date, listed, known, self._embedder_id, request.categories, retry_rejected=request.retry_rejected
            )

        counts = walker.walk(
            lake_layout.raw_prefix(ingest_date), lambda: known_batches(self._lake, ledger, lost), count
        )
        return plan_date(ingest_date, sum(counts, DateCounts()), state)
