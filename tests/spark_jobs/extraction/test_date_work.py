"""Checks what a date needs, from its listing, its ledger and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from fruit_contract import lake
from fruit_contract.commit import Commit, EmbedderFiles, MomentsObject, file_key
from fruit_contract.increments import Fate
from fruit_contract.listing import ListedObject
from fruit_features.extraction.date_work import FORMER, DateWork, _compared, plan_date, plan_dates
from fruit_features.lake.commit import DateFiles, Ledger, no_ledger
from fruit_features.lake.store import LISTED, listed_table
from tests.spark_jobs.written_dates import Files, ledger_rows, put_features, write_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.spark_jobs.lake_folder import LakeFolder

DAY = "2026-11-22"
KIWI, LEMON = "category=Kiwi/w1-000000.parquet", "category=Lemon/w1-000000.parquet"
NAMED: Files = {KIWI: ("1.jpg", "2.jpg"), LEMON: ("1.jpg",)}
REJECTED = {"Kiwi/cut.jpg": "truncated", "Lemon/gone.jpg": "vanished"}


def ledger_of(named: Files, rejected: Mapping[str, str] | None = None, embedder_id: str = "m") -> Ledger:
    n_rows = sum(map(len, named.values()))
    moments = MomentsObject(lake.moments_key(DAY, "w1", embedder_id), n_rows, "0" * 16)
    found = EmbedderFiles(n_rows, {name: len(images) for name, images in named.items()}, moments)
    rows = ledger_rows(DAY, {embedder_id: named}, rejected)
    commit = Commit(DAY, "w1", rows.num_rows, len(rejected or {}), {embedder_id: found} if named else {})
    return Ledger(DAY, rows, commit, "e")


def there_of(ledger: Ledger) -> DateFiles:
    """Returns all files that the ledger names."""
    commit = ledger.commit
    if commit is None:
        return DateFiles(DAY, *[frozenset()] * 5)
    rejected = {lake.rejected_key(DAY, commit.write)} if commit.n_rejected else set()
    own = {lake.ledger_key(DAY)}
    return DateFiles(
        DAY,
        frozenset(commit.features_keys()),
        frozenset(rejected),
        frozenset(commit.moments_keys()),
        frozenset(own),
        frozenset(),
    )


def listed_of(*images: str, **etags: str) -> list[ListedObject]:
    """Returns objects by `<category>/<image>`, as the ledger knows them unless another ETag is given."""
    keys = {image: lake.raw_prefix(DAY) + image for image in images}
    return sorted(
        (
            ListedObject(key, etags.get(image.partition("/")[2].partition(".")[0], f"etag of {key}"), 7)
            for image, key in keys.items()
        ),
        key=lambda entry: entry.key,
    )


ALL = ("Kiwi/1.jpg", "Kiwi/2.jpg", "Lemon/1.jpg")


def plan_of(
    listed: Sequence[ListedObject],
    ledger: Ledger,
    there: DateFiles | None = None,
    *,
    embedder_id: str = "m",
    scope: Sequence[str] = (),
    retry_rejected: bool = False,
) -> DateWork:
    return _compared(
        DAY,
        listed_table([listed]),
        ledger,
        there or there_of(ledger),
        FORMER.empty_table(),
        embedder_id,
        scope,
        retry_rejected=retry_rejected,
    )


def asked(plan: DateWork) -> list[str]:
    return [key.removeprefix(lake.raw_prefix(DAY)) for key in plan.images.column("image_key").to_pylist()]


def gone(plan: DateWork) -> list[str]:
    keys = plan.ledger.rows.column("image_key").take(pa.array(plan.gone)).to_pylist()
    return [key.removeprefix(lake.raw_prefix(DAY)) for key in keys]


def changed(plan: DateWork) -> list[str]:
    return [key.removeprefix(lake.raw_prefix(DAY)) for key in plan.changed.column("image_key").to_pylist()]


def test_of_a_new_date_all_images_are_computed_in_the_order_of_their_keys() -> None:
    listed = [*listed_of(*ALL), ListedObject(f"{lake.raw_prefix(DAY)}_SUCCESS", "e", 0), ListedObject("raw/x", "e", 1)]

    plan = plan_of(listed, no_ledger(DAY))

    assert asked(plan) == list(ALL)
    assert plan.images.schema == LISTED
    assert (plan.images.column("size_bytes").to_pylist(), plan.images.column("etag").to_pylist()[0]) == (
        [7] * 3,
        listed[0].etag,
    )
    assert (gone(plan), changed(plan), plan.is_touched) == ([], [], True)
    assert (plan.counts[Fate.NEW], plan.counts[Fate.UNCHANGED].total()) == ({"Kiwi": 2, "Lemon": 1}, 0)


def test_of_a_date_that_is_as_the_ledger_says_nothing_is_done() -> None:
    plan = plan_of(listed_of(*ALL, "Kiwi/cut.jpg"), ledger_of(NAMED, {"Kiwi/cut.jpg": "truncated"}))
    assert (asked(plan), gone(plan), changed(plan), plan.is_touched) == ([], [], [], False)
    assert plan.counts[Fate.UNCHANGED] == {"Kiwi": 3, "Lemon": 1}


def test_an_empty_date_needs_nothing() -> None:
    assert not plan_of([], no_ledger(DAY)).is_touched


def test_new_replaced_and_vanished_images_are_told_apart() -> None:
    plan = plan_of(listed_of("Kiwi/2.jpg", "Kiwi/3.jpg", "Lemon/1.jpg"), ledger_of(NAMED))
    assert (asked(plan), gone(plan), changed(plan)) == (["Kiwi/3.jpg"], ["Kiwi/1.jpg"], [])

    replaced = plan_of(listed_of(*ALL, **{"2": "another"}), ledger_of(NAMED))
    # A replaced image keeps its row until its successor is there.
    assert (asked(replaced), gone(replaced), changed(replaced)) == (["Kiwi/2.jpg"], [], ["Kiwi/2.jpg"])
    assert replaced.counts[Fate.CHANGED] == {"Kiwi": 1}


def test_an_image_whose_file_is_lost_is_computed_again_and_its_row_goes() -> None:
    ledger = ledger_of(NAMED)
    there = there_of(ledger)
    there = DateFiles(
        DAY, there.features - {file_key(DAY, KIWI)}, there.rejected, there.moments, there.ledger, there.projections
    )

    plan = plan_of(listed_of(*ALL), ledger, there)

    assert plan.lost_files == {file_key(DAY, KIWI)}
    assert (asked(plan), gone(plan), changed(plan)) == (["Kiwi/1.jpg", "Kiwi/2.jpg"],) * 3
    assert plan.is_touched


@pytest.mark.parametrize("scope", [("Lemon",), ("Plum",)])
def test_out_of_scope_the_rows_of_a_lost_file_go_and_its_images_wait(scope: tuple[str, ...]) -> None:
    """No ledger may name a file that is gone; the next run of the category computes them."""
    ledger = ledger_of(NAMED)
    there = there_of(ledger)
    there = DateFiles(
        DAY, there.features - {file_key(DAY, KIWI)}, there.rejected, there.moments, there.ledger, there.projections
    )

    plan = plan_of(listed_of(*ALL), ledger, there, scope=scope)

    assert (asked(plan), gone(plan), changed(plan), plan.is_touched) == ([], ["Kiwi/1.jpg", "Kiwi/2.jpg"], [], True)
    assert plan.counts[Fate.CARRIED] == {"Kiwi": 2} | ({"Lemon": 1} if scope == ("Plum",) else {})


def test_only_the_chosen_categories_are_looked_at() -> None:
    plan = plan_of(listed_of("Kiwi/3.jpg", "Lemon/2.jpg"), ledger_of(NAMED), scope=("Lemon",))

    assert (asked(plan), gone(plan)) == (["Lemon/2.jpg"], ["Lemon/1.jpg"])
    assert plan.counts[Fate.CARRIED] == {"Kiwi": 2}
    assert plan.counts[Fate.NEW] == {"Lemon": 1}


def test_images_of_another_embedder_are_computed_and_their_rows_stay_until_then() -> None:
    plan = plan_of(listed_of(*ALL), ledger_of(NAMED, embedder_id="former"))
    assert (asked(plan), gone(plan), changed(plan)) == (list(ALL), [], list(ALL))


def test_rejected_images_are_looked_at_again_if_that_is_asked_for_or_they_had_vanished() -> None:
    ledger, listed = ledger_of(NAMED, REJECTED), listed_of(*ALL, *REJECTED)
    assert asked(plan_of(listed, ledger)) == ["Lemon/gone.jpg"]
    assert asked(plan_of(listed, ledger, retry_rejected=True)) == list(REJECTED)


def test_numbers_of_rows_are_the_ledger_s_however_many_new_images_lie_between() -> None:
    named: Files = {KIWI: tuple(f"{number:05}.jpg" for number in range(0, 20_000, 2))}
    listed = listed_of(*(f"Kiwi/{number:05}.jpg" for number in range(1, 20_000, 2)), "Kiwi/10000.jpg")

    plan = plan_of(listed, ledger_of(named))

    assert gone(plan) == [f"Kiwi/{number:05}.jpg" for number in range(0, 20_000, 2) if number != 10_000]
    assert plan.images.num_rows == 10_000


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("features", f"features/ingest_date={DAY}/category=Kiwi/other.parquet"),
        ("rejected", f"rejected/ingest_date={DAY}/other.parquet"),
        ("moments", f"moments/_parts/ingest_date={DAY}/w0-000000.bin"),
        ("ledger", f"ledger/ingest_date={DAY}/part-0.parquet"),
        ("projections", f"projections/pca_version=v1/ingest_date={DAY}/category=Kiwi/other.parquet"),
    ],
)
def test_what_an_interrupted_run_has_left_touches_the_date(table: str, key: str) -> None:
    ledger = ledger_of(NAMED)
    there = there_of(ledger)
    more = DateFiles(**(vars(there) | {table: getattr(there, table) | {key}}))
    assert not plan_of(listed_of(*ALL), ledger, there).is_touched
    assert plan_of(listed_of(*ALL), ledger, more).is_touched


def test_what_is_lost_beside_the_features_touches_the_date_and_no_image() -> None:
    ledger = ledger_of(NAMED, {"Kiwi/cut.jpg": "truncated"})
    there, listed = there_of(ledger), listed_of(*ALL, "Kiwi/cut.jpg")
    for table in ("rejected", "moments"):
        plan = plan_of(listed, ledger, DateFiles(**(vars(there) | {table: frozenset()})))
        assert (plan.is_touched, asked(plan), gone(plan)) == (True, [], [])
        assert plan.lost_moments == ({"m"} if table == "moments" else set())


def test_a_date_has_an_earlier_ledger_until_nothing_of_it_is_left() -> None:
    part = f"ledger/ingest_date={DAY}/part-0.snappy.parquet"

    def has_earlier(of: Ledger, *keys: str) -> bool:
        return plan_of(
            [], of, DateFiles(DAY, frozenset(), frozenset(), frozenset(), frozenset(keys), frozenset())
        ).has_earlier_ledger

    assert has_earlier(no_ledger(DAY), part)
    assert has_earlier(no_ledger(DAY), part, f"ledger/ingest_date={DAY}/_SUCCESS")
    # It was taken over, and that was cut off.
    assert has_earlier(ledger_of(NAMED), part, lake.ledger_key(DAY))
    assert not has_earlier(ledger_of(NAMED), lake.ledger_key(DAY))
    assert not has_earlier(no_ledger(DAY))
    assert not has_earlier(no_ledger(DAY), f"ledger/ingest_date={DAY}/_SUCCESS")


def test_dates_are_planned_from_the_lake_in_their_order(test_lake: LakeFolder) -> None:
    days = ["2026-11-23", DAY, "2026-11-21"]
    for day in days[:2]:
        test_lake.deliver(day, {"Kiwi/1.jpg": b"x"})
    write_date(test_lake.store, DAY, {KIWI: ("2.jpg",)})
    put_features(test_lake.store, DAY, LEMON, ("garbage.jpg",))

    plans = plan_dates(test_lake.store, days, "m", (), (), retry_rejected=False)

    assert [plan.ingest_date for plan in plans] == days
    assert [plan.images.num_rows for plan in plans] == [1, 1, 0]
    assert [plan.is_touched for plan in plans] == [True, True, False]
    assert gone(plans[1]) == ["Kiwi/2.jpg"]
    assert plans[1].there.garbage(plans[1].ledger.commit) == [file_key(DAY, LEMON)]
    assert plan_date(test_lake.store, DAY, "m", (), (), retry_rejected=False).ledger == plans[1].ledger
