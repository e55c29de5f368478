"""Keeps two runs from writing the same ingest date at the same time, by claims on ingest dates that lie in the lake.

A run claims its dates in the lake before it asks for a cluster. Claims are taken one run at a time (`plan_run` runs in one run at a
time), and count as long as the run that made them, or a cluster of it, lives: one that nobody gives back holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_contract.lake import claim_key, claims_prefix
from fruit_pipeline.errors import ClaimLostError, DateIsBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from fruit_pipeline.lake.store import Lake


@dataclass(frozen=True)
class Claim:
    """The ingest dates that a run works on."""

    run_id: str
    ingest_dates: tuple[str, ...]


def busy_dates(claims: Iterable[Claim], run_id: str, ingest_dates: Collection[str]) -> dict[str, str]:
    """Returns those of `ingest_dates` that other runs claim, each with the run that does."""
    wanted = frozenset(ingest_dates)
    return {day: claim.run_id for claim in claims if claim.run_id != run_id for day in claim.ingest_dates if day in wanted}


def refuse_busy_dates(busy: Mapping[str, str]) -> None:
    """Raises DateIsBusyError if there are any."""
    if busy:
        shown = ", ".join(f"{day} ({run_id})" for day, run_id in sorted(busy.items())[:8])
        raise DateIsBusyError(f"Other runs are working on {len(busy):,} of the ingest dates asked for: {shown}. This one is tried again.")


def living_claims(lake: Lake, run_id: str, ingest_dates: Collection[str], is_active: Callable[[str], bool]) -> list[Claim]:
    """Returns the claims of other runs on any of `ingest_dates`, and removes those of runs that have ended.

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
    """Writes the run's claim, in place of one that it had."""
    lake.write_json(claim_key(run_id), {"run_id": run_id, "ingest_dates": list(ingest_dates)})


def give_up_claim(lake: Lake, run_id: str) -> None:
    """Removes the claim of a run that is done with its dates."""
    lake.delete(claim_key(run_id))


def require_claim(lake: Lake, run_id: str) -> None:
    """Raises ClaimLostError if another run has removed the claim, which it does when this run had ended."""
    if lake.read_json_if_there(claim_key(run_id)) is None:
        raise ClaimLostError(
            f"The run {run_id} had ended, and another run may have taken over its ingest dates: it can't be gone on with. "
            "Trigger a new run for these dates."
        )
