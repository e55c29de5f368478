from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fruit_contract.lake import CURRENT_PCA_KEY, content_index_key, ledger_key, pca_cache_key, pca_provenance_key
from fruit_pipeline.checks.output import kept_versions
from fruit_pipeline.lake.facts import EmbedderHistory, LakeHistory, PcaState
from fruit_pipeline.lake.history import read_history, read_pca_state
from tests.plugins.sample_lake import BUCKET, DAY, EMBEDDER, NEXT_EMBEDDER, VERSION, MemoryS3

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake

NEXT_DAY = "2026-11-23"


def test_adds_up_what_all_ledgers_say(sample_lake: SampleLake) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.put_image(content_index_key(EMBEDDER, DAY), b"hashes")
    commit = sample_lake.commit(NEXT_DAY)
    own = commit.embedders[EMBEDDER]
    sample_lake.put_commit(
        replace(commit, embedders={EMBEDDER: replace(own, n_images=0), NEXT_EMBEDDER: own}), NEXT_DAY
    )
    assert read_history(sample_lake.lake) == LakeHistory(
        {EMBEDDER: EmbedderHistory(42, 14, (DAY,)), NEXT_EMBEDDER: EmbedderHistory(42, 7, (NEXT_DAY,))}
    )


def test_dates_of_the_earlier_form_are_counted_by_themselves(sample_lake: SampleLake) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.write_earlier_ledger(sample_lake.images, NEXT_DAY)
    history = read_history(sample_lake.lake)
    assert history.of_earlier_form == EmbedderHistory(43, 1, (NEXT_DAY,))
    assert history.of(EMBEDDER) == EmbedderHistory(42, 7, (DAY,))
    assert history.of("another") == EmbedderHistory()


def test_an_empty_lake_has_no_history(empty_lake: SampleLake) -> None:
    assert read_history(empty_lake.lake) == LakeHistory()
    assert read_pca_state(empty_lake.lake) == PcaState()


def test_what_the_cache_knows_as_it_is_now_is_not_read(
    sample_lake: SampleLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_lake.add_date(NEXT_DAY)
    etags = {day: sample_lake.etag(ledger_key(day)) for day in (DAY, NEXT_DAY)}
    of = {"n_images": 5, "n_files": 1}
    commits = {
        DAY: {"etag": etags[DAY], "embedders": {EMBEDDER: of}},
        NEXT_DAY: {"etag": "of an earlier commit", "embedders": {EMBEDDER: of}},
    }
    sample_lake.lake.write_json(pca_cache_key(), {"commits": commits})
    read: list[str] = []
    get_object = MemoryS3.get_object
    monkeypatch.setattr(
        MemoryS3,
        "get_object",
        lambda client, **options: (read.append(options["Key"]), get_object(client, **options))[1],
    )
    assert read_history(sample_lake.lake).of(EMBEDDER) == EmbedderHistory(47, 8, (DAY, NEXT_DAY))
    assert ledger_key(DAY) not in read


def test_a_cache_that_does_not_tell_the_files_is_passed_over(sample_lake: SampleLake) -> None:
    entry = {"etag": sample_lake.etag(ledger_key(DAY)), "embedders": {EMBEDDER: {"n_images": 5}}}
    sample_lake.lake.write_json(pca_cache_key(), {"commits": {DAY: entry}})
    assert read_history(sample_lake.lake).of(EMBEDDER).n_images == 42


@pytest.mark.parametrize("content", [b"{", b"[1]", b"null"])
def test_a_cache_that_cannot_be_read_is_passed_over(sample_lake: SampleLake, content: bytes) -> None:
    sample_lake.lake.write(pca_cache_key(), content, "application/json")
    assert read_history(sample_lake.lake).of(EMBEDDER).n_images == 42


def test_tells_the_current_version_and_one_that_is_on_its_way(sample_lake: SampleLake) -> None:
    state = PcaState(VERSION, EMBEDDER, 42, 0.95)
    assert read_pca_state(sample_lake.lake) == state
    for version, embedder_id in (
        ("20251122T080000Z-aa", EMBEDDER),
        ("20271122T080000Z-bb", EMBEDDER),
        ("20281122T080000Z-cc", "other"),
    ):
        sample_lake.lake.write_json(pca_provenance_key(version), {"version": version, "embedder_id": embedder_id})
    assert read_pca_state(sample_lake.lake) == replace(state, pending="20271122T080000Z-bb")
    sample_lake.client.delete_object(Bucket=BUCKET, Key=CURRENT_PCA_KEY)
    assert read_pca_state(sample_lake.lake) == PcaState()


@pytest.mark.parametrize("content", [b'{"version": "2027', None], ids=["cut off", "gone"])
def test_a_version_whose_provenance_cannot_be_read_is_none(sample_lake: SampleLake, content: bytes | None) -> None:
    state = read_pca_state(sample_lake.lake)
    pending, current = pca_provenance_key("20271122T080000Z-bb"), pca_provenance_key(VERSION)
    sample_lake.client.put_object(Bucket=BUCKET, Key=pending, Body=b"{")
    assert read_pca_state(sample_lake.lake) == state
    assert [version.version for version in kept_versions(sample_lake.lake)] == [VERSION]
    if content is None:
        sample_lake.client.delete_object(Bucket=BUCKET, Key=current)
    else:
        sample_lake.client.put_object(Bucket=BUCKET, Key=current, Body=content)
    assert read_pca_state(sample_lake.lake) == PcaState()
    assert kept_versions(sample_lake.lake) == []
