"""Cuts long lists into pages, as EMR's List actions do.

moto's own paging needs to know which attribute identifies a listed thing, and botocore does not name it for EMR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE_SIZE: Final = 50


def page_of(
    everything: Sequence[Any], marker: str | None, is_wanted: Callable[[Any], bool], page_size: int = PAGE_SIZE
) -> tuple[list[Any], str | None]:
    """Returns one page of what is wanted, and the marker of the next page, or None after the last.

    A marker is the id of the last thing of a page. It is looked up in everything, because by then the list may have
    grown at its front, and the thing may not be wanted any more. Raises ValueError for a marker that was never given.
    """
    ids = [thing.id for thing in everything]
    start = ids.index(marker) + 1 if marker else 0
    wanted = [thing for thing in everything[start:] if is_wanted(thing)]
    page = wanted[:page_size]
    return page, page[-1].id if len(wanted) > page_size else None
