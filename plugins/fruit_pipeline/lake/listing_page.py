"""Reads pages of S3's listings fast. For a date of a million images there are a thousand of them, and botocore takes 60
ms for each.

The requests are botocore's own, so its credentials, retries, proxies and redirects hold for a listing, too. Only the
objects of an answer are read here. An answer that looks in any way unfamiliar is left to botocore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from fruit_contract.newer_python import UTC
from fruit_pipeline.lake.facts import DatedObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OBJECTS: Final = "FruitsObjects"
_BEGIN, _END = b"<Contents>", b"</Contents>"
# One pattern for all of an object takes half the time of one for each field. Of a time's fraction, Python's older
# versions read three and six digits only.
_OBJECT: Final = re.compile(
    rb"<Contents><Key>([^<]*)</Key>"
    rb"<LastModified>(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}(?:\d{3})?)?)\d*Z</LastModified>"
    rb'<ETag>(?:"|&quot;|&#34;)?([^<"&]*)(?:"|&quot;|&#34;)?</ETag>'
    rb"(?:<Checksum\w+>[^<]*</Checksum\w+>)*"
    rb"<Size>(\d+)</Size>"
)
# Most keys have no other escapes than these. To replace these one after the other is several times faster than the
# general way.
_USUAL_ESCAPES: Final = ((b"+", b" "), (b"%3D", b"="), (b"%20", b" "))
# UTF-8 has no such byte.
_BETWEEN: Final = b"\xff"


@dataclass(frozen=True)
class ListedPage:
    """Holds the objects of one page, column by column. ETags have no quotes, and `times` (ISO 8601 in UTC) no zone."""

    keys: list[str]
    etags: list[str]
    sizes: list[int]
    times: list[str]
    is_last: bool

    def objects(self) -> Iterator[DatedObject]:
        """Yields the objects one by one."""
        moments = (datetime.fromisoformat(time).replace(tzinfo=UTC) for time in self.times)
        return map(DatedObject, self.keys, self.etags, self.sizes, moments)


def read_listings_fast(client: Any) -> None:
    """Has the answers to an S3 client's listings read here before botocore reads them."""
    # Handlers of such a pattern come before botocore's own, of which one reads the whole answer to see whether it is an
    # error.
    client.meta.events.register("before-parse.*.ListObjectsV2", _take_objects, unique_id="fruits-read-listings-fast")


def page_of(answer: Mapping[str, Any]) -> ListedPage:
    """Returns the objects of an answer to ListObjectsV2, whoever has read them."""
    keys, etags, sizes, times = answer.get(_OBJECTS) or _columns_of(answer.get("Contents", ()))
    return ListedPage(keys, etags, sizes, times, is_last=not answer.get("IsTruncated", False))


def _take_objects(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Takes the objects out of an answer, and leaves the rest of it to botocore."""
    body = response_dict["body"]
    begin, end = body.find(_BEGIN), body.rfind(_END) + len(_END)
    if response_dict["status_code"] >= 300 or begin < 0:
        return
    columns = _read(body[begin:end], is_encoded=b"<EncodingType>url</EncodingType>" in body[:begin] + body[end:])
    if columns is not None:
        response_dict["body"] = body[:begin] + body[end:]
        customized_response_dict[_OBJECTS] = columns


def _read(entries: bytes, *, is_encoded: bool) -> tuple[list[str], list[str], list[int], list[str]] | None:
    """Returns the columns of the objects, or None if anything is not as S3 writes it."""
    found = _OBJECT.findall(entries)
    if len(found) != entries.count(_BEGIN) or b"<CommonPrefixes>" in entries:
        return None
    keys, times, etags, sizes = zip(*found, strict=True)
    joined = _BETWEEN.join(keys)
    if b"&" in joined:
        return None
    try:
        names = _decoded(joined) if is_encoded else joined
        keys_read = [name.decode() for name in names.split(_BETWEEN)]
    except UnicodeDecodeError:
        return None
    if len(keys_read) != len(keys):
        return None
    return keys_read, b"\n".join(etags).decode().split("\n"), [*map(int, sizes)], b"\n".join(times).decode().split("\n")


def _decoded(encoded: bytes) -> bytes:
    for escaped, byte in _USUAL_ESCAPES:
        encoded = encoded.replace(escaped, byte)
    return unquote_to_bytes(encoded) if b"%" in encoded else encoded


def _columns_of(entries: Any) -> tuple[list[str], list[str], list[int], list[str]]:
    times = [entry["LastModified"].astimezone(UTC).replace(tzinfo=None).isoformat() for entry in entries]
    return (
        [entry["Key"] for entry in entries],
        [entry["ETag"].strip('"') for entry in entries],
        [entry["Size"] for entry in entries],
        times,
    )
