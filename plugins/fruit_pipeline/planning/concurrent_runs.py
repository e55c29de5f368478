"""Two runs must not write the same ingest date at the same time. Pure.

A run claims its dates in the lake before it asks for a cluster. Claims are taken one run at a time (`plan_run` runs in one run at a
time), and count as long as the run that made them, or a cluster of it, lives: one that nobody gives back holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


class DateIsBusyError(RuntimeError):
    """Another run is working on an ingest date that this one was asked for. It passes: the task is tried again."""


class ClaimLostError(RuntimeError):
    """A run that had ended was set going again, and another run has taken its dates over meanwhile."""


@dataclass(frozen=True)
class Claim:
    """The ingest dates that a run works on."""

    run_id: str
    ingest_dates: tuple[str, ...]


def busy_dates(claims: Iterable[Claim], run_id: str, ingest_dates: Collection[str]) -> dict[str, str]:
    """Of `ingest_dates`, those that the living `claims` of other runs hold, with the run that holds each."""
    wanted = frozenset(ingest_dates)
    return {day: claim.run_id for claim in claims if claim.run_id != run_id for day in claim.ingest_dates if day in wanted}


def refuse_busy_dates(busy: Mapping[str, str]) -> None:
    """Raises DateIsBusyError if there are any."""
    if busy:
        shown = ", ".join(f"{day} ({run_id})" for day, run_id in sorted(busy.items())[:8])
        raise DateIsBusyError(f"Other runs are working on {len(busy):,} of the ingest dates asked for: {shown}. This one is tried again.")
