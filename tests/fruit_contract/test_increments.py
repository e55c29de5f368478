from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.increments import Fate, KnownImage, ListedImage, UnsortedImagesError, compare

PREFIX = "raw/ingest_date=2026-11-22/"
CATEGORIES = st.sampled_from(["Kiwi", "Lemon", "Äpfel 50%"])
NAMES = st.tuples(CATEGORIES, st.integers(0, 8))
LISTED = st.dictionaries(NAMES, st.sampled_from(["e1", "e2"]))
LINE = st.fixed_dictionaries(
    {
        "etag": st.sampled_from(["e1", "e2"]),
        "status_and_reason": st.sampled_from(
            [("featurised", None), ("rejected", "truncated"), ("rejected", "vanished")]
        ),
        "embedder_id": st.sampled_from(["m", "old", None]),
        "has_features": st.booleans(),
    }
)
KNOWN = st.dictionaries(NAMES, LINE)


def key(name: tuple[str, int]) -> str:
    return f"{PREFIX}{name[0]}/{name[1]}.jpg"


def listing(images: dict[tuple[str, int], str]) -> list[ListedImage]:
    return sorted(ListedImage(key(name), etag, 10, name[0]) for name, etag in images.items())


def known_image(name: tuple[str, int], line: dict[str, Any]) -> KnownImage:
    status, reason = line["status_and_reason"]
    return KnownImage(key(name), line["etag"], name[0], status, reason, line["embedder_id"], line["has_features"])


def ledger(images: dict[tuple[str, int], dict[str, Any]]) -> list[KnownImage]:
    return sorted(known_image(name, line) for name, line in images.items())


def fates(*arguments: Any, **options: Any) -> dict[str, Fate]:
    """Returns the fate of each image by its key, and checks that each has only one."""
    found: dict[str, Fate] = {}
    for fate, image, line in compare(*arguments, **options):
        image_key = image.key if image else line.image_key if line else ""
        assert image_key not in found
        found[image_key] = fate
    return found


def is_as_it_was(etag: str, line: KnownImage, *, retry_rejected: bool) -> bool:
    """Says the rule in other words than the code's."""
    if line.status == "rejected" and (retry_rejected or line.reason == "vanished"):
        return False
    return (line.etag, line.embedder_id, line.has_features) == (etag, "m", True)


@given(listed=LISTED, known=KNOWN, scope=st.sets(CATEGORIES), retry_rejected=st.booleans())
def test_every_image_has_exactly_one_fate(listed: dict, known: dict, scope: set[str], *, retry_rejected: bool) -> None:
    found = fates(listing(listed), ledger(known), "m", scope, retry_rejected=retry_rejected)

    def expected(name: tuple[str, int]) -> Fate | None:
        if scope and name[0] not in scope:
            return Fate.CARRIED if name in known else None
        if name not in known:
            return Fate.NEW
        if name not in listed:
            return Fate.REMOVED
        same = is_as_it_was(listed[name], known_image(name, known[name]), retry_rejected=retry_rejected)
        return Fate.UNCHANGED if same else Fate.CHANGED

    wanted = {key(name): expected(name) for name in listed.keys() | known.keys()}
    assert found == {image_key: fate for image_key, fate in wanted.items() if fate is not None}


@pytest.mark.slow
@given(listed=LISTED, known=KNOWN, scope=st.sets(CATEGORIES))
def test_fates_come_in_the_order_of_keys(listed: dict, known: dict, scope: set[str]) -> None:
    """So that the rows of the next ledger do."""
    found = compare(listing(listed), ledger(known), "m", scope)
    keys = [image.key if image else line.image_key if line else "" for _, image, line in found]
    assert keys == sorted(keys)


@given(listed=LISTED, known=KNOWN)
def test_fates_come_with_what_they_are_of(listed: dict, known: dict) -> None:
    images, lines = {image.key: image for image in listing(listed)}, {line.image_key: line for line in ledger(known)}
    found = list(compare(images.values(), lines.values(), "m"))

    keys = [image.key if image else line.image_key if line else "" for _, image, line in found]
    assert keys == sorted(images.keys() | lines.keys())
    for image_key, (fate, image, line) in zip(keys, found, strict=True):
        assert line == lines.get(image_key)
        assert image == images.get(image_key)
        assert (image is None) == (fate is Fate.REMOVED)
        assert (line is None) == (fate is Fate.NEW)


@given(listed=LISTED, known=KNOWN, scope=st.sets(CATEGORIES), retry_rejected=st.booleans())
def test_when_it_is_done_nothing_is_left_to_do(
    listed: dict, known: dict, scope: set[str], *, retry_rejected: bool
) -> None:
    """Everything that is new is featurised, and what has vanished leaves the ledger."""
    after = []
    for fate, image, line in compare(listing(listed), ledger(known), "m", scope, retry_rejected=retry_rejected):
        if image is not None and fate is not Fate.UNCHANGED:
            after.append(KnownImage(image.key, image.etag, image.category, "featurised", None, "m"))
        elif line is not None and fate is not Fate.REMOVED:
            after.append(line)

    # A reject that has been looked at again may be one again: what is asked for once is not asked for for ever.
    again = fates(listing(listed), after, "m", scope, retry_rejected=False)
    assert set(again.values()) <= {Fate.UNCHANGED, Fate.CARRIED}


@pytest.mark.slow
@given(listed=LISTED, known=KNOWN, scope=st.sets(CATEGORIES, min_size=1))
def test_a_scope_says_of_its_categories_what_the_whole_would(listed: dict, known: dict, scope: set[str]) -> None:
    chosen, everything = (fates(listing(listed), ledger(known), "m", of) for of in (scope, ()))
    inside = {key(name) for name in listed.keys() | known.keys() if name[0] in scope}
    assert {image_key: fate for image_key, fate in chosen.items() if fate is not Fate.CARRIED} == {
        image_key: everything[image_key] for image_key in inside
    }


def test_a_featurised_image_is_not_done_again_when_rejected_ones_are() -> None:
    name = ("Kiwi", 1)
    line = {"etag": "e1", "status_and_reason": ("featurised", None), "embedder_id": "m", "has_features": True}
    broken = line | {"status_and_reason": ("rejected", "truncated")}
    for retry_rejected, of_line, expected in (
        (True, line, Fate.UNCHANGED),
        (False, broken, Fate.UNCHANGED),
        (True, broken, Fate.CHANGED),
    ):
        assert fates(listing({name: "e1"}), ledger({name: of_line}), "m", retry_rejected=retry_rejected) == {
            key(name): expected
        }


@given(names=st.lists(NAMES, min_size=2, max_size=6), of_ledger=st.booleans())
def test_what_does_not_ascend_is_refused(names: list[tuple[str, int]], *, of_ledger: bool) -> None:
    images = [ListedImage(key(name), "e", 1, name[0]) for name in names]
    lines = [KnownImage(image.key, "e", image.category, "featurised", None, "m") for image in images]
    keys = [image.key for image in images]

    def run() -> Counter[Fate]:
        return Counter(fate for fate, _, _ in (compare([], lines, "m") if of_ledger else compare(images, [], "m")))

    if keys == sorted(set(keys)):
        assert run() == {Fate.REMOVED if of_ledger else Fate.NEW: len(names)}
        return
    before, after = next(pair for pair in pairwise(keys) if pair[1] <= pair[0])
    with pytest.raises(UnsortedImagesError) as caught:
        run()
    assert str(caught.value).startswith(f"'{after}' comes after '{before}'")


def test_order_is_that_of_code_points() -> None:
    """As S3 lists: UTF-8 sorts as code points do, UTF-16 (Java's order) does not."""
    names = ["Z", "a", "é", "\uffff", "\U0001f34e"]
    assert [
        image.key for _, image, _ in compare([ListedImage(name, "e", 1, "Kiwi") for name in names], [], "m") if image
    ] == names
    assert sorted(names, key=str.encode) == names


def test_millions_of_images_take_no_memory() -> None:
    def peak(n: int) -> int:
        images = (ListedImage(f"raw/{number:07}", "e", 1, "Kiwi") for number in range(n))
        lines = (KnownImage(f"raw/{number:07}", "e", "Kiwi", "featurised", None, "m") for number in range(0, n, 3))
        tracemalloc.start()
        assert sum(1 for _ in compare(images, lines, "m")) == n
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(30_000) < peak(300) + 10_000
