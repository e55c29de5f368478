"""Holds the rule that no image is lost: every listed image ends in exactly one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fruit_contract.tables import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The books count these, by ingest date, category and column.
Books = dict[str, dict[str, dict[str, int]]]
COLUMNS: Final = ("listed", "new", "unchanged", "reused", "removed", Status.FEATURISED.value, Status.REJECTED.value)


def unbalanced(books: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Iterator[str]:
    """Yields a sentence for each category of a date that breaks the rule listed = new + unchanged + reused = featurised
    + rejected.
    """
    for ingest_date, categories in books.items():
        for category, count in categories.items():
            origins = count["new"] + count["unchanged"] + count["reused"]
            ends = count[Status.FEATURISED] + count[Status.REJECTED]
            if not count["listed"] == origins == ends:
                yield (
                    f"The books of '{category}' of {ingest_date} do not balance: {count['listed']:,} listed, "
                    f"{count['new']:,} new + {count['unchanged']:,} unchanged + {count['reused']:,} reused, "
                    f"{count[Status.FEATURISED]:,} featurised + {count[Status.REJECTED]:,} rejected."
                )
