from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.commit import (
    METADATA_KEY,
    SCHEMA_VERSION,
    Commit,
    CommitFormatError,
    EmbedderFiles,
    MomentsObject,
    commit_from_json,
    commit_from_metadata,
    commit_to_json,
    digest_text,
    file_key,
    file_name,
    image_digest,
    images_digest,
)
from fruit_contract.lake import parse_features_file

DAY = "2026-11-22"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 10**9)
MOMENTS = st.builds(MomentsObject, TEXT, COUNTS, st.integers(0, 2**64 - 1).map(digest_text))
EMBEDDERS = st.dictionaries(
    TEXT, st.builds(EmbedderFiles, COUNTS, st.dictionaries(TEXT, COUNTS, max_size=4), st.none() | MOMENTS), max_size=3
)
COMMITS = st.builds(Commit, st.just(DAY), TEXT, COUNTS, COUNTS, EMBEDDERS)
IMAGES = st.sets(st.tuples(TEXT, st.none() | TEXT), max_size=12)


@given(COMMITS)
def test_a_commit_is_read_as_it_was_written(commit: Commit) -> None:
    assert commit_from_json(commit_to_json(commit)) == commit


@given(COMMITS)
def test_the_same_commit_is_written_in_the_same_way(commit: Commit) -> None:
    turned = Commit(
        DAY, commit.write, commit.n_images, commit.n_rejected, dict(reversed(list(commit.embedders.items())))
    )
    assert commit_to_json(turned) == commit_to_json(commit)


def test_what_a_later_release_wrote_is_refused_and_it_is_said_of_which_date() -> None:
    text = json.dumps(
        json.loads(commit_to_json(Commit(DAY, "w", 0, 0))) | {"schema_version": SCHEMA_VERSION + 1, "more": 1}
    )
    with pytest.raises(CommitFormatError, match=f"ledger of {DAY} was written by a later release.*Use that release"):
        commit_from_json(text)


@pytest.mark.parametrize("metadata", [None, {}, {b"pandas": b"{}"}])
def test_metadata_without_a_commit_are_refused_by_the_file_s_address(metadata: dict[bytes, bytes] | None) -> None:
    with pytest.raises(CommitFormatError, match=r"^s3://b/l holds no commit.*Remove it, and run its date again"):
        commit_from_metadata("s3://b/l", metadata)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b"\xff", b'{"schema_version": "1"}', b'{"schema_version": 1, "embedders": 3}']
)
def test_a_commit_that_is_not_as_it_was_written_is_refused_by_the_file_s_address(text: bytes) -> None:
    with pytest.raises(
        CommitFormatError, match=r"^s3://b/l holds a commit that can't be read \(.*Remove it, and run its date again"
    ):
        commit_from_metadata("s3://b/l", {METADATA_KEY.encode(): text})


def test_names_the_files_of_all_embedders() -> None:
    old = EmbedderFiles(0, {"category=Kiwi/a-0.parquet": 3}, MomentsObject("moments/old", 3, "00"))
    new = EmbedderFiles(
        5, {"category=Kiwi/b-0.parquet": 2, "category=Fig/b-1.parquet": 3}, MomentsObject("moments/new", 5, "01")
    )
    commit = Commit(DAY, "w", 6, 1, {"old": old, "new": new})
    assert commit.files() == {
        "category=Kiwi/a-0.parquet": 3,
        "category=Kiwi/b-0.parquet": 2,
        "category=Fig/b-1.parquet": 3,
    }
    assert commit.features_keys() == {f"features/ingest_date={DAY}/{name}" for name in commit.files()}
    assert commit.moments_keys() == {"moments/old", "moments/new"}
    assert (old.n_rows, new.n_rows) == (3, 5)
    assert Commit(DAY, "w", 1, 1, {"m": EmbedderFiles(0, {}, None)}).moments_keys() == set()


@given(st.text("abc é%", min_size=1))
def test_a_files_name_and_key_are_made_of_each_other(category: str) -> None:
    name = f"category={category}/w-0.parquet"
    assert file_name(file_key(DAY, name)) == name
    assert parse_features_file(file_key(DAY, name)) is not None


@given(IMAGES, IMAGES)
def test_the_digest_of_two_sets_is_that_of_both_together(first: set, second: set) -> None:
    both = first ^ second  # of what is in both, nothing is left
    assert images_digest(first) ^ images_digest(second) == images_digest(both)
    assert images_digest(sorted(first, key=str)) == images_digest(sorted(first, key=str, reverse=True))
    assert images_digest(()) == 0


@given(IMAGES, st.tuples(TEXT, st.none() | TEXT))
def test_an_image_more_or_another_content_is_another_digest(images: set, image: tuple) -> None:
    assert (images_digest(images | {image}) == images_digest(images)) == (image in images)


def test_a_digest_names_key_and_content_and_is_the_same_for_ever() -> None:
    """Commits hold it."""
    assert digest_text(image_digest(f"raw/ingest_date={DAY}/Kiwi/1.jpg", "00ff")) == DIGEST_OF_A_KIWI
    assert image_digest("a", "bc") != image_digest("ab", "c")
    assert image_digest("a", None) != image_digest("a", "")
    assert digest_text(255) == "00000000000000ff"


DIGEST_OF_A_KIWI = "6406ecff13d9a960"
