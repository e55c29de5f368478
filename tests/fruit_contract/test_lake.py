from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_contract.lake import ImageKey, LakeNameError

CATEGORY = st.text(
    st.characters(exclude_characters="/", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60
).filter(lambda text: text[0] not in "._" and len(lake.escape_partition_value(text).encode()) <= 246)
FILE_NAME = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text[0] != "."
)


@given(category=CATEGORY, file_name=FILE_NAME)
def test_an_image_key_is_taken_apart_into_what_it_was_made_of(category: str, file_name: str) -> None:
    key = lake.image_key("2026-11-22", category, file_name)

    assert lake.parse_image_key(key) == ImageKey("2026-11-22", category, file_name)
    assert lake.check_category(category) == category


@given(value=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_a_partition_value_survives_its_folder_name(value: str) -> None:
    folder = lake.escape_partition_value(value)

    assert lake.unescape_partition_value(folder) == value
    assert "/" not in folder
    assert lake.partition_values(f"features/category={folder}/part.parquet") == {"category": value}


def test_partition_folders_are_named_as_spark_names_them() -> None:
    assert (
        lake.partition_prefix("features", "2026-11-22", "Äpfel 50%")
        == "features/ingest_date=2026-11-22/category=Äpfel 50%25/"
    )
    assert lake.escape_partition_value("a=b:c") == "a%3Db%3Ac"


@pytest.mark.parametrize(
    "key",
    [
        "raw/ingest_date=2026-11-22/_SUCCESS",
        "raw/ingest_date=2026-11-22/_manifest.csv",
        "raw/ingest_date=2026-11-22/Kiwi/",
        "raw/ingest_date=2026-11-22/Kiwi/.DS_Store",
        "raw/ingest_date=2026-11-22/Kiwi/_tmp/1.jpg",
        "raw/ingest_date=2026-11-22/_Kiwi/1.jpg",
        "raw/ingest_date=2026-11-22/stray.jpg",
        "raw/ingest_date=22-11-2026/Kiwi/1.jpg",
        "raw/Kiwi/1.jpg",
        "raw/ingest_date=2026-11-22/Ki\nwi/1.jpg",
        "raw/ingest_date=2026-11-22/Ki\twi/1.jpg",
        f"raw/ingest_date=2026-11-22/{'%' * 83}/1.jpg",
        "raw/ingest_date=2026-11-22/Kiwi/.cache/1.jpg",
        "raw/ingest_date=2026-11-22/Kiwi/2026/_old/1.jpg",
        "raw/ingest_date=2026-11-22/_SUCCESS/",
        "features/ingest_date=2026-11-22/Kiwi/1.jpg",
    ],
)
def test_what_is_no_image_is_told_from_one(key: str) -> None:
    assert lake.parse_image_key(key) is None


@pytest.mark.parametrize("file_name", ["_DSC0001.JPG", "_MG_0815.CR2.jpg", "left/_P1020304.JPG", "_", "_SUCCESS"])
def test_names_that_cameras_begin_with_an_underscore_are_images(file_name: str) -> None:
    assert lake.parse_image_key(f"raw/ingest_date=2026-11-22/Kiwi/{file_name}") == ImageKey(
        "2026-11-22", "Kiwi", file_name
    )


@pytest.mark.parametrize("text", ["2026-02-30", "2026-1-1", "22.11.2026", "", "2026-11-22 ", "２０２６-11-22"])
def test_only_calendar_days_are_ingest_dates(text: str) -> None:
    with pytest.raises(LakeNameError, match="yyyy-mm-dd"):
        lake.parse_ingest_date(text)


REFUSED = [
    "a\nb",
    "a\rb",
    "a\x00",
    "tab\there",
    "\x1b[31mred",
    "del\x7f",
    "next line\x85",
    "\x9f",
    "x" * 247,
    "é" * 124,
    "a%" * 62,
]


@pytest.mark.parametrize("category", ["", ".hidden", "_private", "a/b", "\udc80", *REFUSED])
def test_what_can_be_no_category_is_refused_in_one_line(category: str) -> None:
    with pytest.raises(LakeNameError, match="is not a category") as caught:
        lake.check_category(category)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("category", REFUSED)
def test_images_of_what_can_be_no_category_are_told_from_what_is_no_image(category: str) -> None:
    key = f"raw/ingest_date=2026-11-22/{category}/1.jpg"
    assert lake.parse_image_key(key) is None
    found = lake.refused_category(key)
    assert found is not None
    assert found[0] == category


@pytest.mark.parametrize("name", ["Kiwi/1.jpg", "_old/a\tb/1.jpg", "a\tb/.DS_Store", "a\tb/", "_SUCCESS"])
def test_what_is_an_image_or_hidden_is_of_no_refused_category(name: str) -> None:
    assert lake.refused_category(f"raw/ingest_date=2026-11-22/{name}") is None


@pytest.mark.parametrize(
    "category",
    ["x" * 246, "é" * 123, "%" * 82, "a, b", " Kiwi ", "Kiwi.", "CON", "-x", "‛", "a／b", "e\u0301", "\u200d"],
)
def test_odd_names_that_a_folder_can_have_are_categories(category: str) -> None:
    assert lake.check_category(category) == category
    assert len(lake.partition_prefix("features", "2026-11-22", category).split("/")[-2].encode()) <= 255


def test_names_that_look_the_same_have_the_same_looks() -> None:
    assert len({lake.looks_of(name) for name in ("\xc9 1", "e\u0301 1", " \xe9 1", "\uff25\u0301 1")}) == 1
    assert lake.looks_of("Kiwi") != lake.looks_of("Kiwi 1")


@given(run_id=st.text(min_size=1))
def test_a_run_id_becomes_a_safe_key(run_id: str) -> None:
    name = lake.run_key(run_id).removeprefix("runs/").removesuffix(".json")

    assert name
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=-")


def test_an_address_is_split_into_bucket_and_key() -> None:
    assert lake.split_uri("s3://bucket/a/b c") == ("bucket", "a/b c")
    assert lake.split_uri(lake.uri("b", "k")) == ("b", "k")
    for address in ("https://bucket/key", "s3:///key", "bucket/key"):
        with pytest.raises(LakeNameError, match="not an S3 address"):
            lake.split_uri(address)


def test_caches_of_contents_lie_together() -> None:
    assert lake.content_index_key("m", "2026-11-22").startswith(lake.content_index_prefix("m"))
    assert lake.content_index_prefix("m").startswith(lake.content_indexes_prefix())


def test_a_dates_objects_lie_below_its_date() -> None:
    day = "2026-11-22"
    assert lake.ledger_key(day) == "ledger/ingest_date=2026-11-22/ledger.parquet"
    assert lake.rejected_key(day, "w") == "rejected/ingest_date=2026-11-22/w.parquet"
    assert lake.moments_key(day, "w", "m") == "moments/ingest_date=2026-11-22/w-m.parquet"
    assert lake.projections_date_prefix("v", day) == "projections/pca_version=v/ingest_date=2026-11-22/"
    for key in (lake.ledger_key(day), lake.rejected_key(day, "w"), lake.moments_key(day, "w", "m")):
        assert lake.ingest_date_of(key) == day


@pytest.mark.parametrize(
    "key", ["ledger/_content/m/2026-11-22.bin", "ledger/ingest_date=22/ledger.parquet", "ingest_date=2026-11-22", ""]
)
def test_other_keys_are_of_no_date(key: str) -> None:
    assert lake.ingest_date_of(key) is None


@given(category=CATEGORY, version=st.text("0123456789abcdefTZ-", min_size=1))
def test_a_file_of_projections_is_called_like_its_file_of_features(category: str, version: str) -> None:
    features = f"{lake.partition_prefix(lake.FEATURES, '2026-11-22', category)}w-0.parquet"
    projections = lake.projections_file_key(version, features)
    assert projections == f"{lake.projections_partition_prefix(version, '2026-11-22', category)}w-0.parquet"
    assert projections.startswith(lake.projections_date_prefix(version, "2026-11-22"))
    assert lake.partition_values(projections) == {
        "pca_version": version,
        "ingest_date": "2026-11-22",
        "category": category,
    }


def test_what_is_kept_beside_a_tables_partitions_is_hidden_from_its_readers() -> None:
    """Readers pass over names that begin with '_'."""
    keys = (
        lake.content_index_key("m", "2026-11-22"),
        lake.moments_parts_prefix("2026-11-22"),
        lake.compacted_moments_prefix("m") + "index.json",
        lake.pca_cache_key(),
        lake.dates_claims_key(),
        lake.pca_claims_key(),
    )
    assert all(any(part.startswith("_") for part in key.split("/")) for key in keys)


@given(category=st.text(min_size=1).filter(lambda text: "/" not in text and "\n" not in text))
def test_a_file_of_features_is_taken_apart_into_date_category_and_name(category: str) -> None:
    key = f"{lake.partition_prefix(lake.FEATURES, '2026-11-22', category)}part-0.parquet"
    assert lake.parse_features_file(key) == ("2026-11-22", category, "part-0.parquet")


@pytest.mark.parametrize(
    "key",
    [
        "moments/ingest_date=2026-11-22/moments.parquet",
        "features/ingest_date=2026-11-22/part-0.parquet",
        "features/ingest_date=22/category=Kiwi/part-0.parquet",
        "projections/ingest_date=2026-11-22/category=Kiwi/part-0.parquet",
        "features/category=Kiwi/ingest_date=2026-11-22/part-0.parquet",
    ],
)
def test_other_files_are_no_files_of_features(key: str) -> None:
    assert lake.parse_features_file(key) is None
