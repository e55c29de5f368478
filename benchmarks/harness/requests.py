"""Counts requests to S3 by their kind, from what the proxy before the local S3 tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The kinds in the order of a table. A LIST is a page of up to a thousand keys; a POST deletes up to a thousand objects.
KINDS: Final = ("LIST", "GET", "HEAD", "PUT", "POST", "DELETE")


def requests_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Returns how many requests of each kind came between two counts, without kinds that had none."""
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}


def kinds_of(counts: Iterable[Mapping[str, float]]) -> list[str]:
    """Returns the kinds that occur in the counts, in the order of a table."""
    found = {kind for count in counts for kind in count}
    return [*(kind for kind in KINDS if kind in found), *sorted(found.difference(KINDS))]
