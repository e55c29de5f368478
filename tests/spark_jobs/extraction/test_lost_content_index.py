"""An index of contents that is lost costs the computing of what it pointed to, and is written anew. Tasks run in this
process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake
from fruit_features.extraction.step import ExtractionRequest, extract_features
from tests.spark_jobs.lake_folder import EMBEDDER_ID, RELEASE, jpeg
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process

if TYPE_CHECKING:
    from tests.spark_jobs.lake_folder import LakeFolder

DAY, LATER = "2026-11-22", "2026-11-23"


def extract(published: LakeFolder, day: str) -> None:
    extract_features(NoSpark(), ExtractionRequest(published.bucket, RELEASE, "run", (day,), (), "litert", task_slots=2))  # type: ignore[arg-type]


@pytest.mark.parametrize("is_gone", [True, False])
def test_the_next_commit_of_the_date_writes_the_whole_index_anew(
    published: LakeFolder, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    deal_in_this_process(monkeypatch)
    published.deliver(DAY, {f"Kiwi/{number}.jpg": jpeg(number) for number in range(3)})
    extract(published, DAY)
    key = lake.content_index_key(EMBEDDER_ID, DAY)
    whole = bytes(published.store.read(key))
    published.delete(key) if is_gone else published.put(key, whole[:-3])

    # A batch of another date goes by it.
    published.deliver(LATER, {"Kiwi/0.jpg": jpeg(100)})
    extract(published, LATER)
    published.deliver(DAY, {"Kiwi/3.jpg": jpeg(3)})
    extract(published, DAY)

    mended = bytes(published.store.read(key))
    entries = {mended[start : start + 8] for start in range(0, len(mended), 8)}
    assert len(entries) == 4
    assert {whole[start : start + 8] for start in range(0, len(whole), 8)} < entries
