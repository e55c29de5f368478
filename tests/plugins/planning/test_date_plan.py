from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.increments import KnownImage
from fruit_contract.lake import LakeNameError, image_key
from fruit_pipeline.lake.dates.image_rows import KNOWN, LISTED
from fruit_pipeline.lake.dates.range_walk import RangeWalker
from fruit_pipeline.lake.facts import REFUSED_CATEGORIES_NAMED, STRAYS_NAMED, DatedObject
from fruit_pipeline.lake.listing_page import ListedPage
from fruit_pipeline.planning.date_counts import count_images
from fruit_pipeline.planning.date_plan import DateCounts, FileState, plan_date, refuse_categories, waiting_for_pca

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.planning.date_plan import DatePlan

DAY = "2026-11-22"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def stored(key: str, size_bytes: int = 1000, etag: str = "etag") -> DatedObject:
    return DatedObject(key, etag, size_bytes, NOW)


def image(category: str, name: object) -> DatedObject:
    return stored(image_key(DAY, category, f"{name}.jpg"))


def line(
    image: DatedObject,
    category: str = "Kiwi",
    status: str = "featurised",
    embedder_id: str = "m",
    reason: str | None = None,
) -> KnownImage:
    return KnownImage(image.key, image.etag, category, status, reason, embedder_id)


def counts(
    objects: list[DatedObject],
    ledger: tuple[KnownImage, ...] = (),
    categories: tuple[str, ...] = (),
    *,
    retry_rejected: bool = False,
) -> DateCounts:
    """Counts objects and lines that come in any order."""
    listed = pa.Table.from_pylist(
        [vars(stored) for stored in sorted(objects, key=lambda stored: stored.key)], schema=LISTED
    )
    known = pa.Table.from_pylist([line._asdict() for line in sorted(ledger)], schema=KNOWN)
    return count_images(DAY, listed, known, "m", categories, retry_rejected=retry_rejected)


def plan(*arguments: Any, files: FileState | None = None, **options: Any) -> DatePlan:
    return plan_date(DAY, counts(*arguments, **options), files or FileState())


def test_counts_images_and_bytes_by_category() -> None:
    objects = [image("Kiwi", n) for n in range(3)] + [stored(image_key(DAY, "Äpfel 50%", "a/b.jpg"), 500)]
    found = plan(objects)
    assert (found.images, found.new, found.size_bytes) == (4, 4, 3500)
    assert found.images_by_category == found.new_by_category == {"Kiwi": 3, "Äpfel 50%": 1}
    assert found.n_strays == 0
    assert found.has_work


def test_what_the_ledger_knows_is_not_new() -> None:
    images = [image("Kiwi", n) for n in range(3)]
    found = plan(images, (line(images[0]), line(images[1])))
    assert (found.images, found.new, found.unchanged, found.size_bytes) == (3, 1, 2, 1000)
    assert found.new_by_category == {"Kiwi": 1}
    everything = plan(images, tuple(line(one) for one in images))
    assert not everything.has_work
    assert everything.images_by_category == {"Kiwi": 3}


def test_replaced_vanished_and_otherwise_embedded_images_are_work() -> None:
    kept, gone = image("Kiwi", 1), image("Kiwi", 2)
    assert plan([replace(kept, etag="other")], (line(kept),)).new == 1
    assert plan([kept], (line(kept, embedder_id="old"),)).new == 1
    found = plan([kept], (line(kept), line(gone)))
    assert (found.new, found.removed, found.has_work) == (0, 1, True)


def test_an_image_that_vanished_while_it_was_fetched_and_is_back_is_new() -> None:
    back = image("Kiwi", 1)
    gone_then = line(back, status="rejected", reason="vanished")
    assert plan([back], (gone_then,)).new == 1


def test_what_has_vanished_from_a_category_that_was_not_asked_for_is_no_work() -> None:
    plum = image("Plum", 1)
    assert not plan([], (line(plum, "Plum"),), ("Kiwi",)).has_work
    assert plan([], (line(plum, "Plum"),), ("Plum",)).removed == 1


def test_rejected_images_are_new_only_on_request() -> None:
    broken = image("Kiwi", 1)
    assert not plan([broken], (line(broken, status="rejected"),)).has_work
    assert plan([broken], (line(broken, status="rejected"),), retry_rejected=True).new == 1


@pytest.mark.parametrize("state", [{"lost": 1}, {"unswept": 1}, {"unprojected": 1}, {"of_earlier_form": True}])
def test_files_that_are_not_as_the_ledger_says_are_work(state: dict[str, Any]) -> None:
    known = image("Kiwi", 1)
    found = plan([known], (line(known),), files=FileState(**state))
    assert (found.images, found.new, found.has_work) == (1, 0, True)
    assert not plan([known], (line(known),), files=FileState(n_featurised=1)).has_work


def test_an_image_whose_features_are_lost_is_new() -> None:
    images = [image("Kiwi", 1), image("Kiwi", 2)]
    lost = line(images[0])._replace(has_features=False)
    found = plan(images, (lost, line(images[1])))
    assert (found.new, found.unchanged) == (1, 1)


def test_tells_how_many_images_lose_the_features_that_the_ledger_names() -> None:
    kiwis = [image("Kiwi", n) for n in range(5)]
    known = [
        line(kiwis[0]),
        line(kiwis[1], embedder_id="old"),
        line(kiwis[2], status="rejected"),
        line(kiwis[3])._replace(etag="before"),
    ]
    gone = [line(image("Kiwi", 8)), line(image("Kiwi", 9), embedder_id="old")]
    found = plan(kiwis, (*known, *gone), retry_rejected=True)
    assert (found.new, found.removed, found.n_leaving) == (4, 2, {"m": 2, "old": 2})


def test_dates_with_features_wait_for_a_pca() -> None:
    featurised, empty = plan([], files=FileState(n_featurised=1)), plan([])
    assert [one.has_work for one in waiting_for_pca([featurised, empty])] == [True, False]


def test_counts_and_names_what_is_no_image() -> None:
    prefix = f"raw/ingest_date={DAY}/"
    strays = ["loose.jpg", "Kiwi/.DS_Store", "_old/1.jpg", "a\nb/1.jpg"]
    own = ["_SUCCESS", "_manifest.csv", "Kiwi/"]
    found = plan([stored(prefix + name) for name in strays + own])
    assert (found.images, found.n_strays) == (0, 4)
    assert sorted(found.strays) == sorted(prefix + name for name in strays)


def test_names_folders_of_images_that_can_be_no_category() -> None:
    prefix = f"raw/ingest_date={DAY}/"
    listed = [
        stored(prefix + name)
        for name in ("a\tb/1.jpg", "a\tb/2.jpg", f"{'%' * 90}/1.jpg", "Kiwi/1.jpg", "_old/a\tb/1.jpg")
    ]
    found = plan(listed)
    assert (found.images, found.n_strays) == (1, 4)
    assert sorted(found.refused_categories) == ["%" * 90, "a\tb"]
    assert plan(listed, categories=("Kiwi",)).refused_categories == {}


def test_a_refusal_names_each_folder_in_a_line_of_its_own_and_says_what_to_do() -> None:
    refused = plan(
        [stored(f"raw/ingest_date={DAY}/{n}\t/1.jpg") for n in range(3)]
        + [stored(f"raw/ingest_date={DAY}/{'é' * 200}/1.jpg")]
    )
    with pytest.raises(LakeNameError) as caught:
        refuse_categories([plan([image("Kiwi", 1)]), refused], "fruits-lake")
    *lines, remedy = str(caught.value).splitlines()
    assert len(lines) == 4
    assert (
        rf"s3://fruits-lake/raw/ingest_date={DAY}/ holds '0\t', which is no category: it holds a control character"
        in lines[0]
    )
    assert "409 bytes, and 255 are the most" in lines[3]
    assert remedy.startswith("Nothing was started. Rename these folders")


def test_a_refusal_of_very_many_folders_stays_short() -> None:
    plans = [plan([stored(f"raw/ingest_date={DAY}/{n:03}\t/1.jpg") for n in range(100)]) for _ in range(3)]
    with pytest.raises(LakeNameError) as caught:
        refuse_categories(plans, "fruits-lake")
    assert str(caught.value).count("which is no category") == REFUSED_CATEGORIES_NAMED
    assert "And 40 more." in str(caught.value)


def test_nothing_is_refused_where_all_folders_are_categories() -> None:
    refuse_categories([plan([image("Kiwi", 1)]), plan([])], "fruits-lake")


def test_names_only_the_first_strays_so_that_the_plan_stays_small() -> None:
    found = plan([stored(f"raw/ingest_date={DAY}/{n}.jpg") for n in range(5000)])
    assert found.n_strays == 5000
    assert len(found.strays) == STRAYS_NAMED


def test_a_choice_of_categories_leaves_the_others_alone() -> None:
    found = plan([image(category, 1) for category in ("Kiwi", "Plum", "007")], categories=("007", "Fig"))
    assert found.images_by_category == {"007": 1}
    assert found.categories_there == {"Kiwi", "Plum", "007"}
    assert found.n_strays == 0


def test_images_of_another_date_are_not_counted() -> None:
    assert plan([stored(image_key("2026-11-21", "Kiwi", "1.jpg"))]).images == 0


@given(
    st.lists(st.tuples(st.sampled_from(["Kiwi", "Plum", "_x", "007"]), st.integers(0, 9)), unique=True),
    st.sets(st.sampled_from(["Kiwi", "Plum", "007"])),
)
def test_every_object_is_an_image_a_stray_or_in_another_category(
    names: list[tuple[str, int]], chosen: set[str]
) -> None:
    found = plan(
        [stored(f"raw/ingest_date={DAY}/{category}/{n}.jpg") for category, n in names], categories=tuple(sorted(chosen))
    )
    elsewhere = sum(category != "_x" and bool(chosen) and category not in chosen for category, _ in names)
    assert found.images + found.n_strays + elsewhere == len(names)
    assert found.images == sum(found.images_by_category.values()) == found.new + found.unchanged


@pytest.mark.slow
@given(
    st.dictionaries(st.tuples(st.sampled_from(["Kiwi", "Plum"]), st.integers(0, 5)), st.sampled_from(["e1", "e2"])),
    st.dictionaries(st.tuples(st.sampled_from(["Kiwi", "Plum"]), st.integers(0, 5)), st.sampled_from(["e1", "e2"])),
    st.sets(st.sampled_from(["Kiwi", "Plum"])),
)
def test_the_plan_is_the_difference_of_listing_and_ledger(listed: dict, known: dict, chosen: set[str]) -> None:
    def keep(images: dict) -> dict:
        return {name: etag for name, etag in images.items() if not chosen or name[0] in chosen}

    objects = [replace(image(*name), etag=etag) for name, etag in listed.items()]
    ledger = tuple(line(replace(image(*name), etag=etag), name[0]) for name, etag in known.items())
    found = plan(objects, ledger, tuple(sorted(chosen)))

    there, before = keep(listed), keep(known)
    new = [name for name, etag in there.items() if before.get(name) != etag]
    assert (found.images, found.new, found.removed) == (len(there), len(new), len(before.keys() - there.keys()))
    assert found.new_by_category == dict(sorted(Counter(category for category, _ in new).items()))
    assert found.size_bytes == 1000 * len(new)
    assert found.has_work == (there != before)


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["Kiwi", "Plum", "_x", "a\tb"]), st.integers(0, 9)), st.sampled_from(["etag", "e2"])
    ),
    st.dictionaries(
        st.tuples(st.sampled_from(["Kiwi", "Plum"]), st.integers(0, 9)), st.sampled_from(["m", "old", None])
    ),
    st.integers(0, 9),
    st.sets(st.sampled_from(["Kiwi", "Plum"])),
)
def test_the_counts_of_two_ranges_together_are_those_of_both(
    listed: dict, known: dict, border: int, chosen: set[str]
) -> None:
    objects = [stored(f"raw/ingest_date={DAY}/{category}/{n}", etag=etag) for (category, n), etag in listed.items()]
    lines = tuple(
        line(stored(image_key(DAY, category, str(n))), category, embedder_id=embedder_id)
        for (category, n), embedder_id in known.items()
    )
    point = f"raw/ingest_date={DAY}/Plum/{border}"
    before = counts(
        [one for one in objects if one.key <= point],
        tuple(one for one in lines if one.image_key <= point),
        tuple(chosen),
    )
    after = counts(
        [one for one in objects if one.key > point], tuple(one for one in lines if one.image_key > point), tuple(chosen)
    )
    assert before + after == counts(objects, lines, tuple(chosen))


class MillionsOfKiwis:
    """Lists Kiwi images as S3 does, and makes them up as it goes."""

    def __init__(self, n: int) -> None:
        self.n = n

    def list_pages(self, prefix: str, after: str = "") -> Iterator[ListedPage]:
        start = int(after.removesuffix(".jpg").rpartition("/")[2]) + 1 if after.endswith(".jpg") else 0
        for first in range(start, max(self.n, start + 1), 1000):
            numbers = range(first, min(first + 1000, self.n))
            keys = [f"{prefix}Kiwi/{number:09}.jpg" for number in numbers]
            etags, times = [f"{number:032}" for number in numbers], ["2026-11-22T01:02:03.000"] * len(keys)
            yield ListedPage(keys, etags, [*numbers], times, is_last=numbers.stop == self.n)

    def known(self) -> Iterator[pa.RecordBatch]:
        for page in self.list_pages(f"raw/ingest_date={DAY}/"):
            n = len(page.keys)
            words = [pa.repeat(pa.scalar(word, pa.string()), n) for word in ("Kiwi", "featurised", None, "m")]
            yield pa.record_batch(
                [pa.array(page.keys), pa.array(page.etags), *words, pa.repeat(pa.scalar(value=True), n)], schema=KNOWN
            )


def memory(what: str) -> int:
    """Returns the bytes of memory of this process, now (VmRSS) or at the peak since the last reset (VmHWM)."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith(f"{what}:")
    )
    return 1024 * int(line.split()[1])


@pytest.mark.slow
def test_a_date_of_half_a_million_images_takes_the_memory_of_the_ranges_at_work() -> None:
    """As Python's objects its listing and its ledger would take 500 MB, and in Arrow's columns 140."""
    kiwis = MillionsOfKiwis(500_000)

    def count(listed: pa.Table, known: pa.Table) -> DateCounts:
        return count_images(DAY, listed, known, "m", (), retry_rejected=False)

    with RangeWalker(cast("Lake", kiwis)) as walker:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = memory("VmRSS")
        found = sum(walker.walk(f"raw/ingest_date={DAY}/", kiwis.known, count), DateCounts())
        peak = memory("VmHWM") - before
    assert (found.images_by_category, found.new_by_category.total(), found.removed) == ({"Kiwi": 500_000}, 0, 0)
    assert peak < 80_000_000
