"""Merges the moments of all dates while reading few of them: a tree of blocks of dates keeps its merged moments.

A block of level l covers 4^l consecutive days. The blocks that end in the last day change every day, so only their
beginning is kept: all children before the last one. For a day that comes after all others, one beginning a level is
read, and about one file is written. When an earlier day changes, the blocks that cover it are merged again from their
other children. Moments are only ever added up (see `algebra`), so nothing is lost by it. The kept blocks are a cache,
named by the states of the days that they cover: a block that does not fit, or is not there, is merged again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final, Protocol

from fruit_features.moments.algebra import merge_all

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fruit_features.moments.algebra import Moments

FANOUT: Final = 4
# Moments of 1280 features are 6.6 MB packed and 13 MB in use: this bounds what the driver holds at once.
READ_AT_ONCE: Final = 24


@dataclass(frozen=True)
class Block:
    """Stands for the days whose ordinal divided by 4^level, rounded down, is `index`. At level 0 it is one day.

    With fewer than four `n_children`, only the days of the first children belong to it.
    """

    level: int
    index: int
    n_children: int = FANOUT

    @property
    def name(self) -> str:
        beginning = f"-first={self.n_children}" if self.n_children < FANOUT else ""
        return f"level={self.level}/block={self.index}{beginning}"

    def children(self) -> list[Block]:
        return [Block(self.level - 1, self.index * FANOUT + number) for number in range(self.n_children)]

    def before(self, child: Block) -> Block:
        """Returns the block of all the children before `child`."""
        return Block(self.level, self.index, child.index - self.index * FANOUT)


@dataclass(frozen=True)
class Source:
    """Names moments to read: those of a day, or those of a kept block with its fingerprint."""

    day: str | None = None
    block: Block | None = None
    fingerprint: str = ""


class MomentsStorage(Protocol):
    """Reads and keeps moments."""

    def read(self, sources: Sequence[Source]) -> dict[Source, Moments]:
        """Returns the moments of those sources that are there and can be read."""
        ...

    def keep(self, block: Block, fingerprint: str, moments: Moments) -> None:
        """Keeps a block's moments."""
        ...


@dataclass
class HistoryTree:
    """Merges the moments of days, of which `states` has each day's state.

    `kept` has the fingerprints of the blocks that the storage holds. `n_read` counts the moments that were read.
    """

    states: Mapping[str, str]
    kept: dict[str, str]
    storage: MomentsStorage
    n_features: int
    n_read: int = 0
    _days: dict[Block, list[str]] = field(default_factory=dict)
    _fingerprints: dict[Block, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._top_level = _level_of(self.states)
        for day in sorted(self.states):
            for block in _path(day, self._top_level):
                self._days.setdefault(block, []).append(day)
        self._last_day = max(self.states, default="")

    def merge_all(self) -> Moments:
        """Returns the moments of all days together, and keeps the blocks that had to be merged.

        Raises LostMomentsError if those of a day are not there, and LostBlockError if those of a kept block are not.
        """
        tops = sorted((block for block in self._days if block.level == self._top_level), key=lambda block: block.index)
        return merge_all((self._merge(block) for block in tops), self.n_features)

    def used_blocks(self) -> set[str]:
        """Returns the names of the kept blocks that a later day may need. Others may be forgotten."""
        beginnings = {self._before_last(block) for block in self._days if self._is_last(block)}
        return {block.name for block in beginnings | self._days.keys() if self._is_kept(block)}

    def _days_of(self, block: Block) -> list[str]:
        if block.n_children == FANOUT:
            return self._days[block]
        return [day for child in self._children(block) for day in self._days[child]]

    def _children(self, block: Block) -> list[Block]:
        return [child for child in block.children() if child in self._days] if block.level else []

    def _is_last(self, block: Block) -> bool:
        """Says whether the block holds several days and ends in the last one, so that it will change tomorrow."""
        return block.level > 0 and block.n_children == FANOUT and self._days[block][-1] == self._last_day

    def _before_last(self, block: Block) -> Block:
        return block.before(self._children(block)[-1])

    def _narrowed(self, block: Block) -> Block:
        """Returns the smallest block with the same days. A larger one would keep the same moments again."""
        children = self._children(block)
        return self._narrowed(children[0]) if len(children) == 1 else block

    def _parts(self, block: Block) -> list[Block]:
        """Returns the blocks from which a block of several children is merged.

        They are its longest kept beginning, if there is one, and the children after it.
        """
        children = self._children(block)
        if self._is_last(block):
            return [self._before_last(block), children[-1]]
        for number in range(len(children) - 1, 1, -1):
            beginning = block.before(children[number])
            if self._is_kept(beginning):
                return [beginning, *children[number:]]
        return children

    def _merge(self, block: Block) -> Moments:
        block = self._narrowed(block)
        sources = self._sources(block)
        if len(sources) <= READ_AT_ONCE:
            self.n_read += len(sources)
            return self._combine(block, self.storage.read(sources))
        return self._joined(block, [self._merge(part) for part in self._parts(block)])

    def _sources(self, block: Block) -> list[Source]:
        block = self._narrowed(block)
        source = self._source(block)
        return (
            [source]
            if source is not None
            else [source for part in self._parts(block) for source in self._sources(part)]
        )

    def _source(self, block: Block) -> Source | None:
        """Returns the source of the whole block's moments, if the block is one day or is kept, else None."""
        days = self._days_of(block)
        if len(days) == 1:
            return Source(day=days[0])
        return Source(block=block, fingerprint=self._fingerprint(block)) if self._is_kept(block) else None

    def _combine(self, block: Block, read: Mapping[Source, Moments]) -> Moments:
        block = self._narrowed(block)
        source = self._source(block)
        if source is None:
            return self._joined(block, [self._combine(part, read) for part in self._parts(block)])
        if source in read:
            return read[source]
        if source.day is None:
            raise LostBlockError(f"The merged moments {block.name} are gone or damaged.")
        raise LostMomentsError(source.day)

    def _joined(self, block: Block, merged: Sequence[Moments]) -> Moments:
        moments = merge_all(merged, self.n_features)
        if not self._is_last(block):
            fingerprint = self._fingerprint(block)
            self.storage.keep(block, fingerprint, moments)
            self.kept[block.name] = fingerprint
        return moments

    def _is_kept(self, block: Block) -> bool:
        return block.name in self.kept and self.kept[block.name] == self._fingerprint(block)

    def _fingerprint(self, block: Block) -> str:
        if block not in self._fingerprints:
            text = "\n".join(f"{day} {self.states[day]}" for day in self._days_of(block))
            self._fingerprints[block] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._fingerprints[block]


class LostBlockError(RuntimeError):
    """Raised if a kept block can't be read. Forget the kept blocks then, and merge again."""


class LostMomentsError(RuntimeError):
    """Raised if the moments of `ingest_date` are gone or can't be read."""

    def __init__(self, ingest_date: str) -> None:
        super().__init__(f"The moments of {ingest_date} are gone or can't be read.")
        self.ingest_date = ingest_date


def states_digest(states: Mapping[str, str]) -> str:
    """Returns one fingerprint for the states of all days. It says on what a PCA version was fitted."""
    return hashlib.sha256("\n".join(f"{day} {state}" for day, state in sorted(states.items())).encode()).hexdigest()[
        :16
    ]


def _level_of(days: Collection[str]) -> int:
    """Returns the lowest level whose blocks are at least as long as the time from the first to the last day."""
    span = _ordinal(max(days)) - _ordinal(min(days)) + 1 if days else 1
    level = 0
    while FANOUT**level < span:
        level += 1
    return level


def _path(day: str, top_level: int) -> list[Block]:
    ordinal = _ordinal(day)
    return [Block(level, ordinal // FANOUT**level) for level in range(top_level + 1)]


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()
