"""Checks what odd pictures do to a features step, with real workers."""

from __future__ import annotations

import os
import sys
import textwrap
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fruit_contract.tables import RejectReason
from fruit_features.embedding import isolation
from fruit_features.extraction import step as extraction_step
from fruit_features.extraction.step import extract_features
from fruit_features.extraction.task import FeaturesTask, TaskAccount
from fruit_features.lake.commit import read_ledger
from fruit_features.lake.store import Store
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder, jpeg

if TYPE_CHECKING:
    from pathlib import Path

    from fruit_features.embedding.preprocessing import DecodedImage, EncodedImage

pytestmark = pytest.mark.spark
DAY = "2026-11-22"
# Its width gives the picture away to a worker, and a note in it to the process that decodes apart.
DEADLY_WIDTH = 66
DEADLY_APART = """
    import os
    from fruit_features.embedding import preprocessing

    decode = preprocessing.decode_image
    preprocessing.decode_image = lambda content: os.abort() if b"deadly" in content else decode(content)
"""


@dataclass(frozen=True)
class DeadlyTask(FeaturesTask):
    """Has one picture end every process that decodes it. `folder` has what a process that decodes apart loads first."""

    folder: str = ""

    def __call__(self, images: bytes, attempt: int) -> TaskAccount:
        decode = isolation.decode_encoded  # type: ignore[attr-defined]

        def deadly(image: EncodedImage) -> DecodedImage:
            if image.container.width == DEADLY_WIDTH:
                os.abort()
            return decode(image)

        isolation.decode_encoded = deadly  # type: ignore[attr-defined]
        isolation.end_process()
        sys.path.insert(0, self.folder)
        try:
            return super().__call__(images, attempt)
        finally:
            sys.path.remove(self.folder)
            isolation.end_process()
            isolation.decode_encoded = decode  # type: ignore[attr-defined]


def test_a_picture_that_kills_its_worker_is_rejected_and_all_others_get_features(
    spark, published: LakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(DEADLY_APART), encoding="utf-8")
    monkeypatch.setattr(extraction_step, "FeaturesTask", partial(DeadlyTask, folder=str(tmp_path)))
    files = {f"Kiwi/{index}.jpg": jpeg(index) for index in range(40)}
    published.deliver(DAY, {**files, "Kiwi/deadly.jpg": jpeg(99, width=DEADLY_WIDTH) + b"deadly"})

    summary = extract_features(
        spark, extraction_step.ExtractionRequest(published.bucket, RELEASE, "run-1", (DAY,), (), "litert")
    )

    assert summary["rejected_by_reason"] == {RejectReason.CRASHED_THE_DECODER: 1}
    rows = read_ledger(Store(published.bucket), DAY).rows.to_pylist()
    rejected = {row["image_key"]: row["detail"] for row in rows if row["reason"]}
    assert rejected == {f"raw/ingest_date={DAY}/Kiwi/deadly.jpg": "the process that decoded it was killed by SIGABRT"}
    assert len(rows) == 41
