"""The runs' claims on ingest dates, as they lie in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.lake import claim_key, claims_prefix
from fruit_pipeline.planning.concurrent_runs import Claim, ClaimLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fruit_pipeline.lake.store import Lake


def living_claims(lake: Lake, run_id: str, ingest_dates: Collection[str], is_active: Callable[[str], bool]) -> list[Claim]:
    """The claims of other runs on any of `ingest_dates`, if they have not ended; those of runs that have are removed.

    A run that failed keeps its claim until another one wants its dates, so that it can be gone on with.
    """
    living = []
    for stored in list(lake.list_objects(claims_prefix())):
        found = lake.read_json_if_there(stored.key)
        if found is None or found["run_id"] == run_id or set(ingest_dates).isdisjoint(found["ingest_dates"]):
            continue
        if is_active(found["run_id"]):
            living.append(Claim(found["run_id"], tuple(found["ingest_dates"])))
        else:
            lake.delete(stored.key)
    return living


def claim(lake: Lake, run_id: str, ingest_dates: Sequence[str]) -> None:
    """Writes the run's claim in place of one it had."""
    lake.write_json(claim_key(run_id), {"run_id": run_id, "ingest_dates": list(ingest_dates)})


def give_up_claim(lake: Lake, run_id: str) -> None:
    """For a run that is done with its dates."""
    lake.delete(claim_key(run_id))


def require_claim(lake: Lake, run_id: str) -> None:
    """Raises ClaimLostError if another run has removed the claim, which it does when this run had ended."""
    if lake.read_json_if_there(claim_key(run_id)) is None:
        raise ClaimLostError(
            f"The run {run_id} had ended, and another run may have taken over its ingest dates: it can't be gone on with. "
            "Trigger a new run for these dates."
        )
