"""Holds in one record what a run was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_contract.pca import RefreshPolicy
    from fruit_pipeline.request.params import RunDates


@dataclass(frozen=True)
class RunRequest:
    """Holds what a run was asked for, and the id of the Airflow that it is a run of. If `pca_policy` is None, the
    settings' policy holds.
    """

    run_id: str
    dates: RunDates
    categories: Sequence[str] = ()
    pca_policy: RefreshPolicy | None = None
    retry_rejected: bool = False
    accept_rejects: bool = False
    switch_embedder: bool = False
    over_budget_allowed: bool = False
    airflow_id: str = ""
