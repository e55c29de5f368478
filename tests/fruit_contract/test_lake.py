from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract import lake
from fruit_contract.lake import ImageKey, LakeNameError
from fruit_contract.release import embedder_id

CATEGORY = st.text(st.characters(exclude_characters="/\x00\n\r", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: text[0] not in "._"
)
FILE_NAME = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1).filter(lambda text: text[0] not in "._")


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
    assert lake.partition_prefix("features", "2026-11-22", "Äpfel 50%") == "features/ingest_date=2026-11-22/category=Äpfel 50%25/"
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
        "features/ingest_date=2026-11-22/Kiwi/1.jpg",
    ],
)
def test_what_is_no_image_is_told_from_one(key: str) -> None:
    assert lake.parse_image_key(key) is None


@pytest.mark.parametrize("text", ["2026-02-30", "2026-1-1", "22.11.2026", "", "2026-11-22 ", "２０２６-11-22"])
def test_only_calendar_days_are_ingest_dates(text: str) -> None:
    with pytest.raises(LakeNameError, match="yyyy-mm-dd"):
        lake.parse_ingest_date(text)


@pytest.mark.parametrize("category", ["", ".hidden", "_private", "a/b", "a\nb", "a\x00"])
def test_what_can_be_no_category_is_refused(category: str) -> None:
    with pytest.raises(LakeNameError, match="is not a category"):
        lake.check_category(category)


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


@given(
    day=st.dates().map(lambda day: day.isoformat()),
    tensors=st.text("0123456789abcdef", min_size=12, max_size=64),
    preprocessing=st.integers(1, 99),
    n_samples=st.integers(1, 10**12),
    digest=st.integers(0, 2**64 - 1),
)
def test_a_state_of_moments_is_taken_apart_into_what_it_was_made_of(
    day: str, tensors: str, preprocessing: int, n_samples: int, digest: int
) -> None:
    embedder, fingerprint = embedder_id(tensors, preprocessing), f"{n_samples}-{digest:016x}"
    key = lake.moments_state_key(day, embedder, fingerprint)

    assert lake.parse_moments_state_key(key) == (day, embedder, fingerprint)
    assert key.startswith(lake.moments_state_prefix(day))
    assert not key.startswith(lake.moments_state_prefix("2026-11-2"))


def test_each_run_has_a_claim_and_each_date_a_marker_of_its_own() -> None:
    assert lake.claim_key("manual__2026-11-22T08:00:00+00:00") == "runs/_claims/manual__2026-11-22T08_00_00_00_00.json"
    assert lake.claim_key("a").startswith(lake.claims_prefix())
    assert lake.in_progress_key("2026-11-22") == f"{lake.in_progress_prefix()}2026-11-22.json"
    assert lake.content_index_key("m", "2026-11-22").startswith(lake.content_index_prefix("m"))
    assert lake.content_index_prefix("m").startswith(lake.content_indexes_prefix())
    assert lake.projected_record_key("v").startswith(lake.projections_prefix("v"))


def test_the_state_of_moments_is_read_from_its_key() -> None:
    key = lake.moments_state_key("2026-11-22", "mobilenetv2-0123456789ab-p1", "42-00ff")

    assert key.startswith(lake.moments_state_prefix("2026-11-22"))
    assert key.startswith(lake.moments_state_prefix())
    assert lake.parse_moments_state_key(key) == ("2026-11-22", "mobilenetv2-0123456789ab-p1", "42-00ff")
    assert lake.parse_moments_state_key("moments/ingest_date=2026-11-22/part-0.parquet") is None
    assert lake.parse_moments_state_key("moments/_states/what") is None


def test_what_is_kept_beside_a_tables_partitions_is_hidden_from_its_readers() -> None:
    """Readers pass over names that begin with '_'."""
    keys = (
        lake.in_progress_key("2026-11-22"),
        lake.content_index_key("m", "2026-11-22"),
        lake.moments_state_key("2026-11-22", "m", "1-a"),
        lake.compacted_moments_prefix("m") + "index.json",
        lake.projected_record_key("v").removeprefix(lake.projections_prefix("v")),
        lake.claim_key("run"),
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
