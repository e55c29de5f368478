"""Describes a lake of a test and what lies in it, and draws pictures to put there."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fruit_contract import lake
from fruit_features.lake.store import Store, s3_client

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "testrelease"
EMBEDDER_ID = "mobilenetv2-test-p1"


@dataclass(frozen=True)
class LakeFolder:
    """Describes an empty lake behind a real S3 API; `folder` is the folder beneath it."""

    bucket: str
    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.bucket)

    def put(self, key: str, content: bytes) -> None:
        s3_client().put_object(Bucket=self.bucket, Key=key, Body=content)

    def deliver(self, ingest_date: str, files: dict[str, bytes]) -> None:
        """Delivers `files`, given by `<category>/<file>`, as the image batch of the date."""
        for name, content in files.items():
            self.put(lake.raw_prefix(ingest_date) + name, content)
        self.put(lake.success_marker_key(ingest_date), b"")

    def delete(self, key: str) -> None:
        s3_client().delete_object(Bucket=self.bucket, Key=key)


def jpeg(seed: int, *, width: int = 60, height: int = 40) -> bytes:
    """Returns a smooth random picture as a JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()
