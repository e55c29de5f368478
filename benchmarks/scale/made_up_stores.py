"""Holds stores for the benchmarks: one writes straight into the folder beneath a bucket, the other has a date that
nobody delivered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_features.lake.store import Store, listed_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from obstore import Bytes

    from fruit_contract.listing import ListedObject

# A page of S3's listings has so many keys.
_PAGE: Final = 1000


@dataclass(frozen=True)
class FolderStore(Store):
    """Writes what a step would write, without a server in between, because a history of a thousand dates is several
    hundred thousand objects.
    """

    folder: Path

    def write(self, key: str, content: bytes | memoryview) -> None:
        place = self.folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def replace(self, key: str, content: bytes | memoryview, etag: str | None) -> str:  # noqa: ARG002 - nobody else writes here
        self.write(key, content)
        return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class MadeUpDate(Store):
    """Shows a step one date that exists nowhere: its images as a listing has them, what else lies in the lake, and the
    ledger.
    """

    images: tuple[ListedObject, ...]
    objects: tuple[ListedObject, ...] = ()
    ledger: Bytes | None = None

    def list_images(self, prefix: str) -> pa.Table:
        return listed_table(self._pages(prefix))

    def list_objects(self, prefix: str) -> list[ListedObject]:
        return [entry for entry in self.objects if entry.key.startswith(prefix)]

    def _pages(self, prefix: str) -> Iterator[list[ListedObject]]:
        for start in range(0, len(self.images), _PAGE):
            yield [entry for entry in self.images[start : start + _PAGE] if entry.key.startswith(prefix)]

    def find_with_etag(self, key: str) -> tuple[Bytes, str] | None:  # noqa: ARG002 - there is one such object
        return None if self.ledger is None else (self.ledger, "ledger")
