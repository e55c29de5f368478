"""Takes in the body of an object, plain or in the chunks of AWS's clients, and checks that it is what was sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from local_cloud.s3.errors import S3Error, invalid_argument
from local_cloud.s3.signature import PAYLOAD_HASH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local_cloud.s3.connection import Body, Request
    from local_cloud.s3.objects import Upload

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


async def receive(request: Request, upload: Upload) -> None:
    """Writes the request's body to an upload. Raises S3Error if it is not what the request's headers say."""
    declared = request.headers[PAYLOAD_HASH]
    in_chunks = declared.startswith("STREAMING-")
    sha256 = hashlib.sha256() if _SHA256.fullmatch(declared) else None
    async for content in _decoded(request.body) if in_chunks else request.body.chunks():
        upload.write(content)
        if sha256:
            sha256.update(content)
    if sha256 and sha256.hexdigest() != declared:
        raise S3Error(400, "XAmzContentSHA256Mismatch", "The body is not the one that was signed.")
    length = request.headers.get("x-amz-decoded-content-length") if in_chunks else None
    if length is not None and length != str(upload.size):
        raise S3Error(400, "IncompleteBody", "The body has another length than it says.")
    if (md5 := request.headers.get("content-md5")) is not None and _hex(md5) != upload.etag:
        raise S3Error(400, "BadDigest", "The body is not the one that Content-MD5 names.")


async def _decoded(body: Body) -> AsyncIterator[bytes]:
    """Yields the content of `aws-chunked` pieces. Their own signatures are not checked, but that of the request is."""
    while True:
        size, _, _ = (await body.read_line()).partition(b";")
        try:
            left = int(size, 16)
        except ValueError:
            raise invalid_argument("The body is not in AWS's chunks.") from None
        if not left:
            break
        while left:
            content = await body.read(left)
            if not content:
                raise S3Error(400, "IncompleteBody", "The body is shorter than it says.")
            left -= len(content)
            yield content
        await body.read_line()
    # Checksums of the whole content may follow. They are read and ignored.
    async for _ in body.chunks():
        pass


def _hex(encoded: str) -> str | None:
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except binascii.Error:
        return None
