from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.lake.listing_page import ListedPage, _take_objects, page_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), min_size=1, max_size=5)


def entry(key: str, etag: str = "&quot;e&quot;", size: str = "5", time: str = "2026-11-22T01:02:03.000Z") -> str:
    about = f"<LastModified>{time}</LastModified><ETag>{etag}</ETag><Size>{size}</Size>"
    return f"<Contents><Key>{key}</Key>{about}</Contents>"


def answer(entries: list[str], *, is_encoded: bool = True, more: str = "", status: int = 200) -> dict[str, Any]:
    encoding = "<EncodingType>url</EncodingType>" if is_encoded else ""
    body = f"<ListBucketResult><IsTruncated>true</IsTruncated>{encoding}{''.join(entries)}{more}</ListBucketResult>"
    return {"status_code": status, "body": body.encode()}


def taken(found: dict[str, Any]) -> ListedPage | None:
    """Returns what is read, or None if the answer is left to botocore, and then checks that it is unchanged."""
    before = dict(found)
    objects: dict[str, Any] = {}
    _take_objects(found, objects)
    if not objects:
        assert found == before
        return None
    assert b"<Contents>" not in found["body"]
    assert b"<IsTruncated>true</IsTruncated>" in found["body"]
    return page_of(objects)


@given(KEYS, st.sampled_from([quote, quote_plus, lambda key: quote(key, safe="/-_.*")]))
def test_an_encoded_key_is_read_byte_for_byte(keys: list[str], encode: Callable[[str], str]) -> None:
    page = taken(answer([entry(encode(key)) for key in keys]))
    assert page is not None
    assert page.keys == keys


def test_what_stands_beside_the_fields_does_not_matter() -> None:
    checksums = "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>"
    rest = "<Owner><ID>me</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    whole = entry("a").replace("<Size>", checksums).replace("</Contents>", rest)
    page = taken(answer([whole, entry("b")]))
    assert page is not None
    assert (page.keys, page.sizes) == (["a", "b"], [5, 5])


@given(KEYS)
def test_a_key_in_plain_xml_is_read_byte_for_byte_or_left_to_botocore(keys: list[str]) -> None:
    page = taken(answer([entry(escape(key)) for key in keys], is_encoded=False))
    assert page is None or page.keys == keys
    assert (page is None) == any(character in key for key in keys for character in "&<>")


@pytest.mark.parametrize("etag", ['"e"', "&quot;e&quot;", "&#34;e&#34;", "e"])
def test_etags_have_no_quotes(etag: str) -> None:
    page = taken(answer([entry("a", etag)]))
    assert page is not None
    assert (page.etags, page.sizes) == (["e"], [5])


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [("03Z", 0), ("03.5Z", None), ("03.456Z", 456000), ("03.456789Z", 456789), ("03.456789123Z", 456789)],
)
def test_times_are_the_stores_own(written: str, microseconds: int | None) -> None:
    page = taken(answer([entry("a", time=f"2026-11-22T01:02:{written}")]))
    if microseconds is None:
        assert page is None
    else:
        assert page is not None
        (stored,) = page.objects()
        assert stored.modified_at == datetime(2026, 11, 22, 1, 2, 3, microseconds, tzinfo=UTC)


@pytest.mark.parametrize(
    "found",
    [
        answer([entry("a")], status=503),
        answer([]),
        answer([entry("a", time="Sun, 22 Nov 2026")]),
        answer([entry("a", size="many")]),
        answer([entry("a").replace("<ETag>&quot;e&quot;</ETag>", "")]),
        answer([entry("a"), "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>", entry("c")]),
        answer([entry("%FF")]),
        {"status_code": 200, "body": b"<Error><Code>SlowDown</Code></Error>"},
    ],
)
def test_an_answer_of_another_form_is_left_to_botocore(found: dict[str, Any]) -> None:
    assert taken(found) is None


def test_what_botocore_has_read_is_the_same_page() -> None:
    moment = datetime(2026, 11, 22, 1, 2, 3, 456000, UTC)
    found = {"IsTruncated": False, "Contents": [{"Key": "ä", "ETag": '"e"', "Size": 5, "LastModified": moment}]}
    page = page_of(found)
    assert page == ListedPage(["ä"], ["e"], [5], ["2026-11-22T01:02:03.456000"], is_last=True)
    assert [stored.modified_at for stored in page.objects()] == [moment]
    assert page_of({"IsTruncated": False}) == ListedPage([], [], [], [], is_last=True)
