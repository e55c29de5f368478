"""Says whether so many images are rejected that the fault is rather the decoder's than theirs. It does no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import tables
from fruit_contract.tables import RejectReason, Status
from fruit_features.lake import files

# A step looks at so many images (or all, if there are fewer) before it commits any.
FEWEST_IMAGES: Final = 100


class UnusualRejectsError(RuntimeError):
    """Raised if so many images were rejected for one reason that the step should commit nothing more."""


@dataclass
class _Group:
    """Counts images of which at most the share `most` should be rejected for one reason, once there are `fewest`."""

    whose: str
    fewest: int
    most: float
    n_images: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, rows: pa.Table) -> None:
        self.n_images += rows.num_rows
        self.reasons.update(files.rejected_rows(rows).column(tables.REASON).to_pylist())

    def complaint(self) -> str | None:
        for reason, count in self.reasons.most_common():
            # Images that vanished while the step ran are nobody's fault.
            if reason != RejectReason.VANISHED and self.n_images >= self.fewest and count > self.most * self.n_images:
                return f"{count:,} of {self.n_images:,} images {self.whose} were rejected as '{reason}'."
        return None


class RejectWatch:
    """Counts what became of images, and says when it is unusual."""

    def __init__(self) -> None:
        self.n_seen = 0
        # These bytes were decoded before. The same decoder would reject none of them.
        self._same = _Group("whose content had features before", 3, 0.05)
        self._replaced = _Group("that were replaced", 10, 0.5)
        self._new = _Group("of this run", FEWEST_IMAGES, 0.5)

    def add(self, rows: pa.Table, before: pa.Table) -> None:
        """Counts images. Both tables have the columns of the ledger.

        `rows` say what became of the images, and `before` says what the ledger said of those that it knew.
        """
        featurised = before.filter(pc.equal(before.column(tables.STATUS), Status.FEATURISED.value))
        is_known = pc.is_in(rows.column(tables.IMAGE_KEY), featurised.column(tables.IMAGE_KEY).combine_chunks())
        is_same = pc.is_in(_contents(rows), _contents(featurised).combine_chunks())
        self.n_seen += rows.num_rows
        self._new.add(rows)
        self._same.add(rows.filter(is_same))
        self._replaced.add(rows.filter(pc.and_not(is_known, is_same)))

    def complaint(self) -> str | None:
        """Returns a sentence for people, or None if nothing is unusual."""
        return self._same.complaint() or self._replaced.complaint() or self._new.complaint()


def _contents(rows: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(rows.column(tables.IMAGE_KEY), rows.column(tables.CONTENT_SHA256), "\n")
