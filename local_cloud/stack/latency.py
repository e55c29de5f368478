"""A distant S3 for tests and benchmarks: hands requests on to another address after some milliseconds, and counts them.

python -m local_cloud.stack.latency --listen 127.0.0.1:PORT --to 127.0.0.1:PORT --milliseconds 60

Each connection has a connection of its own behind it and waits for itself alone. A request is held back when its head
has come, so its answer can't begin before the latency has passed; bodies and answers then stream through as they come.
`GET /_requests`, which can be no bucket's address, answers with how many requests of each kind there have been.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Final

from local_cloud.stack.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COUNTS_PATH: Final = "/_requests"
BACKLOG: Final = 1024
CHUNK_BYTES: Final = 256 << 10

Address = tuple[str, int]


class LatencyProxy:
    def __init__(self, to: Address, seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._to = to
        self._seconds = seconds
        self._sleep = sleep
        self.counts: Counter[str] = Counter()

    async def start(self, listen: Address) -> asyncio.Server:
        return await asyncio.start_server(self._serve, *listen, limit=CHUNK_BYTES, backlog=BACKLOG)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client until it or the server hangs up; the other is then hung up on, too."""
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._to, limit=CHUNK_BYTES)
        except OSError:
            writer.close()
            return
        answers = asyncio.create_task(_stream(behind_reader, writer))
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                while True:
                    await self._pass_request(reader, behind_writer, writer)
        finally:
            behind_writer.close()
            await answers

    async def _pass_request(
        self, reader: asyncio.StreamReader, behind: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, length = _parsed(head)
        if target == COUNTS_PATH:
            content = json.dumps(self.counts).encode()
            client.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(content), content)
            )
            return
        self.counts[request_kind(method, target)] += 1
        await self._sleep(self._seconds)
        behind.write(head)
        while length:
            content = await reader.read(min(length, CHUNK_BYTES))
            if not content:
                raise asyncio.IncompleteReadError(b"", length)
            length -= len(content)
            behind.write(content)
            await behind.drain()


def request_kind(method: str, target: str) -> str:
    """Names what a request is: its method, and LIST for a GET of a bucket or of all buckets."""
    is_of_object = "/" in target.partition("?")[0].strip("/")
    return "LIST" if method == "GET" and not is_of_object else method


def request_counts(url: str) -> dict[str, int]:
    """Returns how many requests of each kind have come through the proxy at `url` so far."""
    with urllib.request.urlopen(url + COUNTS_PATH) as answer:  # noqa: S310  # an address of our own, on the loopback
        counts: dict[str, int] = json.load(answer)
    return counts


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while content := await reader.read(CHUNK_BYTES):
            writer.write(content)
            await writer.drain()
    writer.close()


def _parsed(head: bytes) -> tuple[str, str, int]:
    """Returns a request's method, its target and the length of its body."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return method, target, int(headers.get("content-length", "0"))


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if host != LOOPBACK:
        raise argparse.ArgumentTypeError(f"{text} is not {LOOPBACK}:PORT")
    return host, int(port)


async def _run(listen: Address, proxy: LatencyProxy) -> None:
    async with await proxy.start(listen) as server:
        await server.serve_forever()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="local_cloud.stack.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--listen", type=_address, required=True, metavar=f"{LOOPBACK}:PORT", help="where clients connect"
    )
    parser.add_argument("--to", type=_address, required=True, metavar=f"{LOOPBACK}:PORT", help="where S3 is")
    parser.add_argument("--milliseconds", type=float, required=True, help="what a request waits before it is handed on")
    arguments = parser.parse_args(argv)
    asyncio.run(_run(arguments.listen, LatencyProxy(arguments.to, arguments.milliseconds / 1000)))


if __name__ == "__main__":
    main()
