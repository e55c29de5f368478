"""Says what a commit changes in a date's ledger: which rows stay, leave or are added, and which files are rewritten."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fruit_contract import lake, tables
from fruit_contract.commit import file_name
from fruit_features.extraction.rewriting import plan_merges, renamed
from fruit_features.lake import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fruit_features.extraction.rewriting import Rewritten
    from fruit_features.lake.commit import Ledger


@dataclass(frozen=True)
class Change:
    """Holds the rows that stay in a ledger, those that leave it and those that are added.

    Every image whose row leaves is gone or is added anew. `restored` are the keys of images whose files are there
    already, and `new_files` are the files that tasks have written, with their numbers of rows.
    """

    embedder_id: str
    staying: pa.Table
    leaving: pa.Table
    added: pa.Table
    restored: frozenset[str]
    new_files: dict[str, int]

    @classmethod
    def of(
        cls, before: Ledger, done: pa.Table, restored: pa.Table, gone: NDArray[np.int64], embedder_id: str
    ) -> Change:
        computed = done.select(files.LEDGER.names)
        added = pa.concat_tables([computed, restored])
        is_replaced = pc.is_in(before.rows.column(tables.IMAGE_KEY), added.column(tables.IMAGE_KEY).combine_chunks())
        leaves = is_replaced.combine_chunks().to_numpy(zero_copy_only=False).copy()
        leaves[gone] = True
        mask = pa.array(leaves)
        keys = frozenset(restored.column(tables.IMAGE_KEY).to_pylist())
        return cls(
            embedder_id,
            before.rows.filter(pc.invert(mask)),
            before.rows.filter(mask),
            added,
            keys,
            _rows_by_file(computed),
        )

    def rows(self, rewritten: Sequence[Rewritten]) -> pa.Table:
        """Returns the rows of the next ledger, sorted by key, which name the rewritten files by their new names."""
        rows = pa.concat_tables([self.staying, self.added])
        if rows.num_rows:
            rows = rows.sort_by(tables.IMAGE_KEY)
        return files.with_ledger_columns(rows, {tables.FILE: renamed(rows.column(tables.FILE), rewritten)})

    def leaving_of(self, embedder_id: str) -> dict[str, set[str]]:
        """Returns the keys of images whose features of this embedder must go, by category.

        For the embedder of this step, these are all that leave and are not restored. For another embedder, an image
        that was only computed again keeps its features, because readers of that embedder's PCA versions use them.
        """
        contents = dict(contents_of(self.added)) if embedder_id != self.embedder_id else {}
        kept = self.restored if embedder_id == self.embedder_id else frozenset()
        keys: defaultdict[str, set[str]] = defaultdict(set)
        columns = (
            self.leaving.column(name).to_pylist() for name in (tables.IMAGE_KEY, tables.CATEGORY, tables.CONTENT_SHA256)
        )
        for image_key, category, content_sha256 in zip(*columns, strict=True):
            if image_key not in kept and (image_key not in contents or contents[image_key] != content_sha256):
                keys[category].add(image_key)
        return keys

    def rewrites(
        self,
        embedder_id: str,
        file_rows: Mapping[str, int],
        before: Ledger,
        versions: Mapping[str, frozenset[str]],
        *,
        merging: bool,
    ) -> list[tuple[list[str], dict[str, frozenset[str]]]]:
        """Returns the groups of an embedder's files that become one file each, and the images that leave each file.

        With `merging`, small files are merged if they have projections under the same `versions`.
        """
        leaving = self.leaving_of(embedder_id)
        affected = {
            name: frozenset(leaving[_category(name)])
            for name in self._affected(embedder_id, file_rows, before, leaving)
        }
        new = self.new_files if embedder_id == self.embedder_id else {}
        groups = plan_merges({**file_rows, **new}, versions) if merging else []
        grouped = {name for group in groups for name in group}
        groups += [[name] for name in sorted(affected) if name not in grouped]
        return [(group, {name: affected[name] for name in group if name in affected}) for group in groups]

    def _affected(
        self, embedder_id: str, file_rows: Mapping[str, int], before: Ledger, leaving: Mapping[str, set[str]]
    ) -> set[str]:
        """Returns the files that may hold an image of `leaving`.

        They are the files that the ledger names for these images. If the embedder's files also hold images for which
        the ledger does not name them, all files of the category may hold one.
        """
        named = (
            self.leaving.filter(pc.equal(self.leaving.column(tables.EMBEDDER_ID), embedder_id))
            .column(tables.FILE)
            .drop_null()
        )
        found = {file_name(key) for key in named.unique().to_pylist()}
        known = before.commit.embedders.get(embedder_id) if before.commit else None
        if known is not None and known.n_images < known.n_rows:
            found |= {name for name in file_rows if leaving.get(_category(name))}
        return found & file_rows.keys()


def _rows_by_file(rows: pa.Table) -> dict[str, int]:
    counts = rows.column(tables.FILE).drop_null().value_counts().to_pylist()
    return {file_name(found["values"]): found["counts"] for found in counts}


def featurised_by(rows: pa.Table, embedder_id: str) -> pa.Table:
    return rows.filter(
        pc.and_(pc.equal(rows.column(tables.EMBEDDER_ID), embedder_id), pc.is_valid(rows.column(tables.FILE)))
    )


def contents_of(rows: pa.Table) -> Iterator[tuple[str, str | None]]:
    """Yields the key and the SHA-256 of each image."""
    for batch in rows.select([tables.IMAGE_KEY, tables.CONTENT_SHA256]).to_batches(max_chunksize=8192):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _category(name: str) -> str:
    return lake.unescape_partition_value(name.partition("/")[0].partition("=")[2])
