"""Decides who may work on what, by the claims that runs have made.

A claim is on names: ingest dates, each of which one run at a time may write, or the turn at the PCA (`PCA_TURN`). It
counts as long as the run that made it, or a cluster of that run, lives, so a claim that nobody gives back holds nobody
up. A run that is refused keeps nothing, so no two runs wait for each other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PCA_TURN: Final = "pca"
_NAMED: Final = 8


@dataclass(frozen=True)
class Claim:
    """Says what a run holds, since when (ISO time), and by which of its clusters, if it names one."""

    run_id: str
    names: tuple[str, ...]
    since: str
    cluster_id: str = ""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Claim:
        """Returns the claim that `as_dict` wrote. Raises ValueError if it is something else."""
        try:
            claim = cls(fields["run_id"], tuple(fields["names"]), fields["since"], fields["cluster_id"])
            datetime.fromisoformat(claim.since)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a claim lacks something, or holds something else ({error!r})") from error
        if not all(isinstance(text, str) for text in (claim.run_id, claim.cluster_id, *claim.names)):
            raise ValueError("a claim holds something else than text")
        return claim

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Wish:
    """Says what a run wants: all of `needed` or nothing, and with it whatever of `welcome` is free."""

    run_id: str
    needed: tuple[str, ...]
    welcome: tuple[str, ...] = ()
    cluster_id: str = ""


@dataclass(frozen=True)
class ClaimAnswer:
    """Holds the claims as they are after a wish, what its run holds after it, and which names others hold.

    Nothing is held if something needed is among `busy`.
    """

    claims: tuple[Claim, ...]
    held: tuple[str, ...]
    busy: Mapping[str, Claim]


def answer_wish(claims: Sequence[Claim], wish: Wish, lives: Callable[[str], bool], now: str) -> ClaimAnswer:
    """Returns what becomes of a wish. `lives` tells of another run whether it may still write; it is asked only about
    those in the way.

    The whole claim of a run that has ended goes, because what it still held may have changed.
    """
    ended = {
        run_id for run_id in {claim.run_id for claim in held_by_others(claims, wish).values()} if not lives(run_id)
    }
    others = tuple(claim for claim in claims if claim.run_id != wish.run_id and claim.run_id not in ended)
    busy = held_by_others(others, wish)
    if any(name in busy for name in wish.needed):
        return ClaimAnswer(others, (), busy)
    held = tuple(sorted({*wish.needed, *wish.welcome} - busy.keys()))
    before = claim_of(claims, wish.run_id)
    own = Claim(wish.run_id, held, before.since if before else now, wish.cluster_id)
    return ClaimAnswer((*others, own) if held else others, held, busy)


def held_by_others(claims: Iterable[Claim], wish: Wish) -> dict[str, Claim]:
    """Returns those names of a wish that other runs claim, each with their claim."""
    wanted = {*wish.needed, *wish.welcome}
    return {name: claim for claim in claims if claim.run_id != wish.run_id for name in claim.names if name in wanted}


def claim_of(claims: Iterable[Claim], run_id: str) -> Claim | None:
    return next((claim for claim in claims if claim.run_id == run_id), None)


def narrowed(claims: Iterable[Claim], run_id: str, names: Iterable[str]) -> tuple[Claim, ...]:
    """Returns the claims with only `names` left of the run's own, and without that claim if nothing is left."""
    kept = frozenset(names)
    cut = (
        Claim(claim.run_id, tuple(name for name in claim.names if name in kept), claim.since, claim.cluster_id)
        if claim.run_id == run_id
        else claim
        for claim in claims
    )
    return tuple(claim for claim in cut if claim.names)


def made_before(claims: Iterable[Claim], moment: datetime) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if datetime.fromisoformat(claim.since) < moment)


def who_holds(busy: Mapping[str, Claim]) -> str:
    """Returns in words who holds what, and since when: `2026-11-21 (manual__a, since 2026-11-22T08:00:00+00:00)`."""
    shown = (f"{name} ({claim.run_id}, since {claim.since})" for name, claim in sorted(busy.items())[:_NAMED])
    more = f" and {len(busy) - _NAMED:,} more" if len(busy) > _NAMED else ""
    return f"{', '.join(shown)}{more}"
