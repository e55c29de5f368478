"""Checks the proxy that makes S3 as distant as a real one: each request waits for itself, and nothing else changes."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
import pytest

from local_cloud.stack.latency import LatencyProxy, main, request_kind
from local_cloud.stack.ports import LOOPBACK
from tests.local_cloud.running_s3 import running_s3
from tests.local_cloud.s3_requests import BUCKET, client, connect, signed_head, status_of, store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.local_cloud.running_s3 import RunningS3

SECONDS = 0.06
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"GET /lake/x HTTP/1.1\r\nHost: s3\r\n\r\n"


@pytest.fixture(scope="module")
def distant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    root = tmp_path_factory.mktemp("s3")
    with running_s3(root, buckets=[BUCKET], latency_milliseconds=SECONDS * 1000) as running:
        yield running


class Behind:
    """Serves requests behind the proxy: it notes what reaches it and answers every GET, and every PUT when its body is
    there.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.n_bytes = 0
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                left = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
                while left:
                    content = await reader.read(min(left, 65536))
                    if not content:
                        return
                    left -= len(content)
                    self.n_bytes += len(content)
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            pass
        finally:
            self.hung_up.set()
            writer.close()


def with_proxy(
    test: Callable[[LatencyProxy, Behind, tuple[str, int]], Awaitable[None]], sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Runs a test against a proxy that waits as the test says, in front of a server that notes everything."""

    async def run() -> None:
        behind = Behind()
        async with await asyncio.start_server(behind.serve, LOOPBACK, 0) as server:
            proxy = LatencyProxy(server.sockets[0].getsockname()[:2], SECONDS, sleep)
            async with await proxy.start((LOOPBACK, 0)) as listening:
                await asyncio.wait_for(test(proxy, behind, listening.sockets[0].getsockname()[:2]), 30)
                await connections_end()

    asyncio.run(run())


async def no_sleep(_: float) -> None:
    pass


async def connections_end() -> None:
    """Returns when every connection's task has ended, as it does when its client has hung up."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # what is waited for happens at the other end of a socket
        await asyncio.sleep(0.001)


def test_requests_of_many_connections_wait_side_by_side_and_none_is_handed_on_before() -> None:
    asked: list[float] = []
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await over.wait()

    async def test(_: LatencyProxy, behind: Behind, address: tuple[str, int]) -> None:
        connections = [await asyncio.open_connection(*address) for _ in range(200)]
        for _reader, writer in connections:
            writer.write(REQUEST)
        # All of them wait at once, each the whole latency: one after the other they never would.
        await until(lambda: len(asked) == len(connections))
        assert asked == [SECONDS] * len(connections)
        assert behind.requests == []
        over.set()
        for reader, writer in connections:
            assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()
        assert behind.requests == [REQUEST] * len(connections)

    with_proxy(test, sleep)


def test_every_request_of_a_kept_connection_waits_once_however_it_is_cut() -> None:
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    async def test(proxy: LatencyProxy, behind: Behind, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        put = b"PUT /lake/x HTTP/1.1\r\nHost: s3\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nGET /"
        for request in (REQUEST, put, REQUEST, put):
            for place in range(0, len(request), 7):
                writer.write(request[place : place + 7])
                await writer.drain()
                await asyncio.sleep(0)
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert asked == [SECONDS] * 4
        assert len(behind.requests) == 4
        assert proxy.counts == {"GET": 2, "PUT": 2}
        writer.close()

    with_proxy(test, sleep)


def test_a_large_body_streams_through_while_it_comes_and_waits_only_once() -> None:
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    async def test(_: LatencyProxy, behind: Behind, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        piece, n_pieces = b"x" * 1_000_000, 20
        writer.write(b"PUT /lake/x HTTP/1.1\r\nHost: s3\r\nContent-Length: %d\r\n\r\n" % (len(piece) * n_pieces))
        for number in range(n_pieces):
            writer.write(piece)
            await writer.drain()
            await until(lambda number=number: behind.n_bytes == (number + 1) * len(piece))  # type: ignore[misc]
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert asked == [SECONDS]
        writer.close()

    with_proxy(test, sleep)


def test_a_client_that_hangs_up_is_hung_up_on_behind_the_proxy() -> None:
    async def test(_: LatencyProxy, behind: Behind, address: tuple[str, int]) -> None:
        _reader, writer = await asyncio.open_connection(*address)
        writer.write(b"PUT /lake/x HTTP/1.1\r\nHost: s3\r\nContent-Length: 1000\r\n\r\nhalf")
        await until(lambda: behind.n_bytes == 4)
        assert not behind.hung_up.is_set()
        writer.close()
        await behind.hung_up.wait()
        assert behind.n_bytes == 4

    with_proxy(test, no_sleep)


def test_a_server_that_is_not_there_hangs_up_on_the_client() -> None:
    async def run() -> None:
        proxy = LatencyProxy((LOOPBACK, 1), 0)
        async with await proxy.start((LOOPBACK, 0)) as listening:
            reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            await connections_end()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        ("GET", "/", "LIST"),
        ("GET", "/lake", "LIST"),
        ("GET", "/lake/?list-type=2&prefix=raw/ingest_date=1/", "LIST"),
        ("GET", "/lake/raw/x.jpg", "GET"),
        ("HEAD", "/lake/raw/x.jpg", "HEAD"),
        ("HEAD", "/lake", "HEAD"),
        ("PUT", "/lake/x?partNumber=1&uploadId=2", "PUT"),
        ("POST", "/lake/?delete", "POST"),
        ("DELETE", "/lake/x", "DELETE"),
    ],
)
def test_kinds_of_requests(method: str, target: str, kind: str) -> None:
    assert request_kind(method, target) == kind


def test_it_listens_nowhere_but_on_the_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--listen", "0.0.0.0:1", "--to", f"{LOOPBACK}:2", "--milliseconds", "1"])
    assert "0.0.0.0:1 is not 127.0.0.1:PORT" in capsys.readouterr().err


# --- in front of the local S3 ---


def test_a_request_takes_at_least_the_latency(distant: RunningS3) -> None:
    through = client(distant)
    through.put_object(Bucket=BUCKET, Key="x", Body=b"x")
    for ask in (
        lambda: through.get_object(Bucket=BUCKET, Key="x"),
        lambda: through.head_object(Bucket=BUCKET, Key="x"),
        lambda: through.put_object(Bucket=BUCKET, Key="x", Body=b"y" * 300_000),
        lambda: through.list_objects_v2(Bucket=BUCKET),
    ):
        begun = time.monotonic()
        ask()
        assert time.monotonic() - begun >= SECONDS


def test_requests_on_many_connections_take_far_less_than_one_after_the_other(distant: RunningS3) -> None:
    client(distant).put_object(Bucket=BUCKET, Key="many", Body=b"content")
    connections = [connect(distant) for _ in range(200)]
    head = signed_head(distant, "GET", "many")
    begun = time.monotonic()
    for connection in connections:
        connection.sendall(head)
    for connection in connections:
        assert status_of(connection.recv(1000)) == 200
        connection.close()
    # One after the other they would take 12 seconds.
    assert SECONDS <= time.monotonic() - begun < SECONDS * len(connections)


def test_bodies_are_intact_in_both_directions(distant: RunningS3) -> None:
    content = random.Random(0).randbytes(30_000_000)
    through = client(distant)
    through.put_object(Bucket=BUCKET, Key="large", Body=content)
    body = through.get_object(Bucket=BUCKET, Key="large")["Body"].read()
    assert hashlib.sha256(body).digest() == hashlib.sha256(content).digest()
    obstore.put(store(distant), "parts", content)
    assert bytes(obstore.get(store(distant), "parts").bytes()) == content


def test_requests_are_counted_by_kind(distant: RunningS3) -> None:
    def counted(ask: Callable[[], Any]) -> dict[str, int]:
        before = distant.request_counts()
        ask()
        after = distant.request_counts()
        return {kind: n - before.get(kind, 0) for kind, n in after.items() if n != before.get(kind, 0)}

    through = client(distant)
    assert counted(lambda: [through.put_object(Bucket=BUCKET, Key=f"n/{n}", Body=b"x") for n in range(3)]) == {"PUT": 3}
    assert counted(lambda: through.get_object(Bucket=BUCKET, Key="n/0")) == {"GET": 1}
    assert counted(lambda: through.head_object(Bucket=BUCKET, Key="n/1")) == {"HEAD": 1}
    assert counted(lambda: through.list_objects_v2(Bucket=BUCKET, Prefix="n/")) == {"LIST": 1}
    assert counted(lambda: through.delete_object(Bucket=BUCKET, Key="n/1")) == {"DELETE": 1}
    assert counted(lambda: through.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "n/2"}]})) == {"POST": 1}
    assert counted(lambda: None) == {}


@pytest.mark.slow
def test_without_a_latency_there_is_no_proxy_unless_requests_are_to_be_counted(tmp_path: Any) -> None:
    with running_s3(tmp_path / "near", buckets=[BUCKET]) as near:
        client(near).list_objects_v2(Bucket=BUCKET)
        with pytest.raises(RuntimeError, match="count_requests"):
            near.request_counts()
    with running_s3(tmp_path / "counted", buckets=[BUCKET], count_requests=True) as counted:
        client(counted).list_objects_v2(Bucket=BUCKET)
        assert counted.request_counts() == {"LIST": 1}
    assert urlsplit(near.url).hostname == urlsplit(counted.url).hostname == LOOPBACK
    for gone in (near, counted):
        with pytest.raises(ConnectionRefusedError):
            connect(gone)
