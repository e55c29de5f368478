"""Speaks HTTP/1.1 as S3's clients do: requests come one after the other on a connection, and bodies have a length."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from local_cloud.s3.errors import S3Error, invalid_argument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from local_cloud.s3.objects import Version

CHUNK_BYTES: Final = 256 << 10

_REASONS: Final = {200: "OK", 204: "No Content", 206: "Partial Content", 304: "Not Modified", 100: "Continue"}

logger = logging.getLogger(__name__)


class Body:
    """Reads the body of a request as it arrives."""

    def __init__(self, reader: asyncio.StreamReader, length: int, invite: Callable[[], None] | None) -> None:
        self._reader = reader
        self._left = length
        self._invite = invite
        self.length = length

    @property
    def is_awaited(self) -> bool:
        """Says whether the client still waits to be told that its body is wanted."""
        return self._invite is not None and self._left > 0

    async def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Returns some bytes, or none at the end. Raises IncompleteReadError if the client hangs up before the end."""
        if not self._left:
            return b""
        self._begin()
        content = await self._reader.read(min(most, self._left))
        if not content:
            raise asyncio.IncompleteReadError(b"", self._left)
        self._left -= len(content)
        return content

    async def read_exactly(self, length: int) -> bytes:
        if length > self._left:
            raise S3Error(400, "IncompleteBody", "The body is shorter than it says.")
        self._begin()
        content = await self._reader.readexactly(length)
        self._left -= length
        return content

    async def read_line(self) -> bytes:
        self._begin()
        line = await self._reader.readuntil(b"\r\n")
        if len(line) > self._left:
            raise S3Error(400, "IncompleteBody", "The body is shorter than it says.")
        self._left -= len(line)
        return line[:-2]

    async def read_all(self, most: int) -> bytes:
        """Returns the rest of the body. Raises S3Error if that is more than `most` bytes."""
        if self._left > most:
            raise S3Error(400, "EntityTooLarge", f"A body of this request may have {most} bytes.")
        return await self.read_exactly(self._left)

    async def chunks(self) -> AsyncIterator[bytes]:
        while content := await self.read():
            yield content

    def _begin(self) -> None:
        if self._invite:
            self._invite()
            self._invite = None


@dataclass(frozen=True)
class Request:
    """Holds a request as it came: `path` and `query` are not decoded, and names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Body


@dataclass(frozen=True)
class Response:
    """Holds an answer: `content`, or `length` bytes of `version` from `start` on. HEAD is sent only the headers.

    `keys` are the objects that it is about, where the request's path names none.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    version: Version | None = None
    start: int = 0
    length: int = 0
    keys: tuple[str, ...] = ()

    def head(self, *, is_last: bool) -> bytes:
        length = self.length if self.version else len(self.content)
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Error')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        if is_last:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    """Serves one client's connection until the client hangs up."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer

    async def serve(self) -> None:
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                while await self._serve_one():
                    pass
        finally:
            self._writer.close()

    async def _serve_one(self) -> bool:
        """Answers one request and returns whether another may follow."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        try:
            request = self._request(head)
        except S3Error as error:
            self._writer.write(Response(error.status).head(is_last=True))
            await self._writer.drain()
            return False
        response = await self._answer(request)
        try:
            # A client that was not asked for its body may still send it, so the next bytes need not be a request.
            is_last = request.body.is_awaited or request.headers.get("connection", "").lower() == "close"
            await self._send(response, is_last=is_last, only_head=request.method == "HEAD")
        finally:
            if response.version:
                response.version.close()
        if not is_last:
            async for _ in request.body.chunks():
                pass
        return not is_last

    def _request(self, head: bytes) -> Request:
        try:
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            method, target, protocol = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise invalid_argument("This is no request of HTTP.") from None
        if protocol != "HTTP/1.1" or length < 0 or "transfer-encoding" in headers or not target.startswith("/"):
            raise S3Error(411, "MissingContentLength", "Requests are HTTP/1.1, with a Content-Length.")
        path, _, query = target.partition("?")
        invite = self._invite if headers.get("expect", "").lower() == "100-continue" else None
        return Request(method, path, query, headers, Body(self._reader, length, invite))

    def _invite(self) -> None:
        self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _send(self, response: Response, *, is_last: bool, only_head: bool) -> None:
        head = response.head(is_last=is_last)
        if only_head:
            self._writer.write(head)
        elif response.version is None:
            self._writer.write(head + response.content)
        else:
            await self._send_version(head, response.version.descriptor, response.start, response.length)
        await self._writer.drain()

    async def _send_version(self, head: bytes, descriptor: int, start: int, length: int) -> None:
        content = os.pread(descriptor, min(length, CHUNK_BYTES), start)
        self._writer.write(head + content)
        sent = len(content)
        while content and sent < length:
            await self._writer.drain()
            content = os.pread(descriptor, min(length - sent, CHUNK_BYTES), start + sent)
            self._writer.write(content)
            sent += len(content)
        if sent < length:
            # Someone has cut the file short. The client must see that it hasn't got everything.
            self._writer.transport.abort()
            raise ConnectionAbortedError
