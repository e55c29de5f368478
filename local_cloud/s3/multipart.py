"""Takes in uploads in parts: keeps each part beside the buckets, and joins them when the client asks for the object."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local_cloud.s3.errors import S3Error, no_such_upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_cloud.s3.objects import Upload


@dataclass
class MultipartUpload:
    bucket: str
    key: str
    parts: dict[int, Upload] = field(default_factory=dict)

    def put(self, number: int, part: Upload) -> None:
        """Keeps a part, in place of an earlier one with this number."""
        part.finish()
        earlier = self.parts.pop(number, None)
        self.parts[number] = part
        if earlier:
            earlier.discard()

    def chosen(self, document: bytes) -> list[Upload]:
        """Returns the parts that a CompleteMultipartUpload names. Raises S3Error if they are out of order or gone."""
        wanted = list(named_parts(document))
        numbers = [number for number, _ in wanted]
        if not numbers or numbers != sorted(set(numbers)):
            raise S3Error(400, "InvalidPartOrder", "The parts must be named in the order of their numbers.")
        if any(number not in self.parts or self.parts[number].etag != etag for number, etag in wanted):
            raise S3Error(400, "InvalidPart", "A part that is named never arrived, or is another one.")
        return [self.parts[number] for number in numbers]

    def discard(self) -> None:
        for part in self.parts.values():
            part.discard()


class MultipartUploads:
    """Keeps the open uploads in parts. They end with the server, and what has arrived of them is lost then."""

    def __init__(self) -> None:
        self._open: dict[str, MultipartUpload] = {}

    def begin(self, bucket: str, key: str) -> str:
        upload_id = uuid.uuid4().hex
        self._open[upload_id] = MultipartUpload(bucket, key)
        return upload_id

    def find(self, upload_id: str, bucket: str, key: str) -> MultipartUpload:
        """Returns an upload. Raises S3Error unless it is open and belongs to this key."""
        upload = self._open.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise no_such_upload()
        return upload

    def end(self, upload_id: str) -> None:
        upload = self._open.pop(upload_id, None)
        if upload:
            upload.discard()


def named_parts(document: bytes) -> Iterator[tuple[int, str]]:
    """Yields the number and the ETag of each part that the XML names. Raises S3Error if it can't be read."""
    for part in elements(document, "Part"):
        number, etag = child(part, "PartNumber"), child(part, "ETag")
        if not number.isdecimal():
            raise malformed_xml()
        yield int(number), etag.strip('"')


def elements(document: bytes, name: str) -> Iterator[ET.Element]:
    """Yields the elements of this name in any namespace. Raises S3Error if the document is no XML."""
    try:
        root = ET.fromstring(document)  # noqa: S314  # only who holds the server's keys can send it anything
    except ET.ParseError:
        raise malformed_xml() from None
    yield from (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def child(parent: ET.Element, name: str) -> str:
    return next((element.text or "" for element in parent if element.tag.rpartition("}")[2] == name), "")


def malformed_xml() -> S3Error:
    return S3Error(400, "MalformedXML", "The request's XML is not what S3 expects.")
