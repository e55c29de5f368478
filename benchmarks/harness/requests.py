"""Requests to S3 by their kind, as the proxy before the local S3 counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# In the order of a table. A LIST is a page of up to a thousand keys; POST deletes up to a thousand objects.
KINDS: Final = ("LIST", "GET", "HEAD", "PUT", "POST", "DELETE")


def requests_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """How many of each kind came between two counts; kinds without any are left out."""
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}


def kinds_of(counts: Iterable[Mapping[str, float]]) -> list[str]:
    """The kinds that occur, in a table's order."""
    found = {kind for count in counts for kind in count}
    return [*(kind for kind in KINDS if kind in found), *sorted(found.difference(KINDS))]
