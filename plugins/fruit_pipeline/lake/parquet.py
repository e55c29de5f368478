"""Opens the lake's Parquet files, and names one that is not as it was written."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fruit_contract.failures.causes import LAKE_DAMAGED
from fruit_contract.lake import uri
from fruit_pipeline.errors import DamagedFileError, MissingObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_pipeline.lake.facts import DatedObject
    from fruit_pipeline.lake.store import Lake


@contextmanager
def open_parquet(
    lake: Lake, stored: DatedObject, *, ranges_only: bool = False, **options: Any
) -> Iterator[pq.ParquetFile]:
    """Opens a file, with pyarrow's `options`. Pages that carry a checksum are compared with it as they are read.

    With `ranges_only` only what is asked for is fetched; without it 4 MB are at once, so that a small file takes one
    request. Raises DamagedFileError if something in the file can't be read within the context, MissingObjectError if
    the file is gone.
    """
    stream: Any = lake.open_ranges(stored) if ranges_only else lake.open(stored)
    try:
        with stream, pq.ParquetFile(stream, page_checksum_verification=True, **options) as file:
            yield file
    except MissingObjectError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # An error of the system, as with a connection, has a number; an error of Arrow about a file has none.
        if getattr(error, "errno", None) is not None:
            raise
        raise DamagedFileError(
            f"{uri(lake.bucket, stored.key)} is not as it was written: {error}. {LAKE_DAMAGED.what_to_do}"
        ) from error
