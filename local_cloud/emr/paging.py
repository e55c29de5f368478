"""Long lists in pages, as EMR's List actions tell them.

moto pages by an attribute of what is listed, which botocore does not name for EMR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE_SIZE: Final = 50


def page_of(
    everything: Sequence[Any], marker: str | None, is_wanted: Callable[[Any], bool], page_size: int = PAGE_SIZE
) -> tuple[list[Any], str | None]:
    """One page of what is wanted, and the marker of the next one, or None after the last.

    The marker is the id of the last thing told. It is looked for in everything: the list may have got longer at its
    front since, and what it names may be no longer wanted. Raises ValueError for a marker that was never given.
    """
    ids = [thing.id for thing in everything]
    start = ids.index(marker) + 1 if marker else 0
    wanted = [thing for thing in everything[start:] if is_wanted(thing)]
    page = wanted[:page_size]
    return page, page[-1].id if len(wanted) > page_size else None
