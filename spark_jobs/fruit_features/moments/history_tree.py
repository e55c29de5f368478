"""Merging the moments of all dates while reading few of them: a tree of blocks of dates, whose merged moments are kept.

A block of level l covers 4^l consecutive days. A day's new moments make only the blocks above that day stale: a refresh reads what
stands beside the path from the day to the root, and writes the path again. Merges only ever add (see `moments`), so this is exact.
Blocks are a cache, named by the states of the days they cover: one that does not fit, or is not there, is merged again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final, Protocol

from fruit_features.moments.algebra import merge_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_features.moments.algebra import Moments

FANOUT: Final = 4
# Moments of 1280 features are 6.6 MB packed and 13 MB in use: this bounds what the driver holds at once.
READ_AT_ONCE: Final = 24


@dataclass(frozen=True)
class Block:
    """Days whose ordinal divided by 4^level is `index`. At level 0 a block is a day."""

    level: int
    index: int

    @property
    def name(self) -> str:
        return f"level={self.level}/block={self.index}"

    def children(self) -> list[Block]:
        return [Block(self.level - 1, self.index * FANOUT + number) for number in range(FANOUT)]


@dataclass(frozen=True)
class Source:
    """Moments to read: a day's own, or a kept block's by its fingerprint."""

    day: str | None = None
    block: Block | None = None
    fingerprint: str = ""


class MomentsStorage(Protocol):
    """Where moments lie."""

    def read(self, sources: Sequence[Source]) -> dict[Source, Moments]:
        """The sources that are there and can be read."""
        ...

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        """Keeps a block's moments."""
        ...


@dataclass
class HistoryTree:
    """`states` by day; `kept` are the fingerprints of blocks by name that the storage holds. `n_read` counts moments read."""

    states: Mapping[str, str]
    kept: dict[str, str]
    storage: MomentsStorage
    n_features: int
    n_read: int = 0
    _days: dict[Block, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for day in sorted(self.states):
            for block in _path(day, self._top_level()):
                self._days.setdefault(block, []).append(day)

    def merge_all(self) -> Moments:
        """The moments of all days together. Blocks that had to be merged are kept.

        Raises LostMomentsError if those of a day are not there, and LostBlockError if those of a kept block are not.
        """
        tops = sorted((block for block in self._days if block.level == self._top_level()), key=lambda block: block.index)
        return merge_all((self._merge(block) for block in tops), self.n_features)

    def used_blocks(self) -> set[str]:
        """The names of the blocks that fit the states: others may be forgotten."""
        return {block.name for block, days in self._days.items() if self.kept.get(block.name) == self._fingerprint(days)}

    def _narrowed(self, block: Block) -> Block:
        """The smallest block with the same days: a larger one would keep the same numbers again."""
        children = [child for child in block.children() if child in self._days] if block.level else []
        return self._narrowed(children[0]) if len(children) == 1 else block

    def _merge(self, block: Block) -> Moments:
        block = self._narrowed(block)
        sources = self._sources(block)
        if len(sources) <= READ_AT_ONCE:
            self.n_read += len(sources)
            return self._combine(block, self.storage.read(sources))
        return self._joined(block, [self._merge(child) for child in block.children() if child in self._days])

    def _sources(self, block: Block) -> list[Source]:
        block = self._narrowed(block)
        days = self._days[block]
        source = self._source(block, days)
        if source is not None:
            return [source]
        return [source for child in block.children() if child in self._days for source in self._sources(child)]

    def _source(self, block: Block, days: Sequence[str]) -> Source | None:
        """What the block can be read from in one piece, if there is such a thing."""
        if len(days) == 1:
            return Source(day=days[0])
        fingerprint = self._fingerprint(days)
        return Source(block=block, fingerprint=fingerprint) if self.kept.get(block.name) == fingerprint else None

    def _combine(self, block: Block, read: Mapping[Source, Moments]) -> Moments:
        block = self._narrowed(block)
        source = self._source(block, self._days[block])
        if source is None:
            return self._joined(block, [self._combine(child, read) for child in block.children() if child in self._days])
        if source in read:
            return read[source]
        if source.day is None:
            raise LostBlockError(f"The merged moments {block.name} are gone or damaged.")
        raise LostMomentsError(source.day)

    def _joined(self, block: Block, merged: Sequence[Moments]) -> Moments:
        moments = merge_all(merged, self.n_features)
        fingerprint = self._fingerprint(self._days[block])
        self.storage.keep(block, fingerprint, moments)
        self.kept[block.name] = fingerprint
        return moments

    def _fingerprint(self, days: Sequence[str]) -> str:
        text = "\n".join(f"{day} {self.states[day]}" for day in days)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _top_level(self) -> int:
        """The lowest level whose blocks are as long as the whole of history."""
        if not self.states:
            return 0
        span = _ordinal(max(self.states)) - _ordinal(min(self.states)) + 1
        level = 0
        while FANOUT**level < span:
            level += 1
        return level


class LostBlockError(RuntimeError):
    """A kept block can't be read. Forget the kept blocks and merge again."""


class LostMomentsError(RuntimeError):
    """The moments of `ingest_date` are gone or can't be read."""

    def __init__(self, ingest_date: str) -> None:
        super().__init__(f"The moments of {ingest_date} are gone or can't be read.")
        self.ingest_date = ingest_date


def states_digest(states: Mapping[str, str]) -> str:
    """One fingerprint for the states of all days: what a PCA version was fitted on."""
    return hashlib.sha256("\n".join(f"{day} {state}" for day, state in sorted(states.items())).encode()).hexdigest()[:16]


def _path(day: str, top_level: int) -> list[Block]:
    ordinal = _ordinal(day)
    return [Block(level, ordinal // FANOUT**level) for level in range(top_level + 1)]


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()
