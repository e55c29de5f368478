from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.increments import LedgerLine, category_of, plan_increment
from fruit_features.lake.store import ListedObject

DAY = "2026-11-22"
PREFIX = f"raw/ingest_date={DAY}/"
CATEGORIES = st.sampled_from(["Kiwi", "Lemon", "Äpfel 50%"])
IMAGES = st.dictionaries(st.tuples(CATEGORIES, st.integers(0, 8)), st.sampled_from(["e1", "e2"]))


def key(category: str, index: int) -> str:
    return f"{PREFIX}{category}/{index}.jpg"


def listing(images: dict[tuple[str, int], str]) -> list[ListedObject]:
    return [ListedObject(key(*name), etag, 10) for name, etag in images.items()]


def ledger(images: dict[tuple[str, int], str], embedder_id: str = "m") -> list[LedgerLine]:
    return [LedgerLine(key(*name), etag, name[0], "featurised", embedder_id) for name, etag in images.items()]


@given(listed=IMAGES, known=IMAGES, scope=st.sets(CATEGORIES))
def test_the_books_balance(listed: dict, known: dict, scope: set[str]) -> None:
    increment = plan_increment(DAY, listing(listed), ledger(known), "m", scope)

    in_scope = {name for name in listed if not scope or name[0] in scope}
    counts = increment.counts()
    assert counts["listed"].total() == len(in_scope) == len(increment.new) + len(increment.unchanged)
    for category in {name[0] for name in in_scope}:
        assert counts["listed"][category] == counts["new"][category] + counts["unchanged"][category]
    after = {entry.key for entry in increment.new} | {line.image_key for line in increment.kept}
    out_of_scope = {key(*name) for name in known if scope and name[0] not in scope}
    assert after == {key(*name) for name in in_scope} | out_of_scope
    assert {line.image_key for line in increment.removed} == {key(*name) for name in known} - after


@given(listed=IMAGES, known=IMAGES)
def test_only_categories_with_a_difference_are_touched(listed: dict, known: dict) -> None:
    increment = plan_increment(DAY, listing(listed), ledger(known), "m")

    different = {name[0] for name in listed.keys() | known.keys() if listed.get(name) != known.get(name)}
    assert increment.touched == different
    assert increment.is_empty == (listed == known)


def test_an_image_that_had_vanished_and_is_back_is_new() -> None:
    line = LedgerLine(key("Kiwi", 1), "e1", "Kiwi", "rejected", "m", "vanished")

    increment = plan_increment(DAY, listing({("Kiwi", 1): "e1"}), [line], "m")

    assert [entry.key for entry in increment.new] == [key("Kiwi", 1)]


def test_another_embedder_makes_every_image_new() -> None:
    images = {("Kiwi", 1): "e", ("Kiwi", 2): "e"}

    increment = plan_increment(DAY, listing(images), ledger(images, "old"), "new")

    assert len(increment.new) == 2


def test_markers_manifests_and_folders_are_no_images() -> None:
    names = ["_SUCCESS", "_manifest.csv", "Kiwi/", "Kiwi/.DS_Store", "Kiwi/_tmp/1.jpg", "stray.jpg", ".git/x"]

    increment = plan_increment(DAY, [ListedObject(PREFIX + name, "e", 1) for name in names], [], "m")

    assert not increment.new
    assert increment.is_empty


def test_rejected_images_are_new_again_on_request() -> None:
    line = LedgerLine(key("Kiwi", 1), "e1", "Kiwi", "rejected", "m", "truncated")
    images = listing({("Kiwi", 1): "e1"})

    assert plan_increment(DAY, images, [line], "m").is_empty
    assert [entry.key for entry in plan_increment(DAY, images, [line], "m", retry_rejected=True).new] == [key("Kiwi", 1)]


def test_an_interrupted_write_puts_the_whole_date_in_scope_and_its_categories_are_written_again() -> None:
    images = {("Kiwi", 1): "e", ("Lemon", 1): "e"}

    increment = plan_increment(DAY, listing(images), ledger(images), "m", ["Kiwi"], interrupted=["Lemon"])

    assert (increment.touched, increment.carried, increment.is_empty) == ({"Lemon"}, (), False)
    assert len(increment.unchanged) == 2


@given(listed=IMAGES, known=IMAGES, scope=st.sets(CATEGORIES), interrupted=st.none() | st.sets(CATEGORIES, min_size=1), retry=st.booleans())
def test_when_it_is_done_nothing_is_left_to_do(
    listed: dict, known: dict, scope: set[str], interrupted: set[str] | None, retry: bool
) -> None:
    increment = plan_increment(DAY, listing(listed), ledger(known), "m", scope, retry_rejected=retry, interrupted=interrupted)
    done = [LedgerLine(entry.key, entry.etag, category_of(entry), "featurised", "m") for entry in increment.new]

    after = plan_increment(DAY, listing(listed), [*increment.kept, *done], "m", scope, retry_rejected=retry)

    assert after.is_empty


@given(listed=IMAGES, known=IMAGES, scope=st.sets(CATEGORIES), interrupted=st.sets(CATEGORIES, min_size=1))
def test_an_interrupted_write_makes_the_scope_the_whole_date(listed: dict, known: dict, scope: set[str], interrupted: set[str]) -> None:
    chosen = plan_increment(DAY, listing(listed), ledger(known), "m", scope, interrupted=interrupted)
    everything = plan_increment(DAY, listing(listed), ledger(known), "m")

    assert (chosen.new, chosen.unchanged, chosen.removed) == (everything.new, everything.unchanged, everything.removed)
    assert chosen.touched == everything.touched | interrupted
    assert not chosen.is_empty


def test_a_featurised_image_is_not_done_again_when_rejected_ones_are() -> None:
    images = {("Kiwi", 1): "e"}

    assert plan_increment(DAY, listing(images), ledger(images), "m", retry_rejected=True).is_empty


def test_rejected_images_out_of_scope_are_carried_and_not_looked_at_again() -> None:
    line = LedgerLine(key("Kiwi", 1), "e1", "Kiwi", "rejected", "m", "truncated")

    increment = plan_increment(DAY, listing({("Kiwi", 1): "e1"}), [line], "m", ["Lemon"], retry_rejected=True)

    assert (increment.carried, increment.is_empty) == ((line,), True)


def test_images_of_another_date_are_not_this_dates() -> None:
    assert plan_increment("2026-11-21", listing({("Kiwi", 1): "e"}), [], "m").is_empty
