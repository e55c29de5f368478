"""Decodes so that no picture can end a worker: costly or odd pictures go to a process with bounds on memory and time.

Modest JPEG and PNG files are decoded in the worker itself, because nothing in them can take long. Should one of them
kill or stall the worker all the same, Spark tries its task again, and then every picture is decoded in the other
process: the one at fault becomes a reject, and all others get features.

This module is that process's program, too: `python -m fruit_features.embedding.isolation <file descriptor>`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, cast

from fruit_contract.tables import RejectReason
from fruit_features.embedding.preprocessing import (
    MAX_DECODING_BYTES,
    DecodedImage,
    UnreadableImageError,
    decode_encoded,
    decode_image,
    find_encoded,
)

# A picture with more pixels to go over is decoded apart. A worker holds at most 12 bytes for each.
MOST_PIXELS_IN_WORKER: Final = 13_000_000
# These are seconds of CPU time, so that no picture becomes a reject because the machine is busy.
DECODING_SECONDS: Final = 10
# A picture with fewer pixels is decoded without a watch, which costs a twentieth of a millisecond.
_WATCHED_PIXELS: Final = 500_000
# A worker that stalls ends after so long, and its task is tried again. It waits as long for a picture that is decoded
# apart.
_STALLED_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
# The allocator may leave so much unused beside what decoding takes.
_SPARE_BYTES: Final = 60_000_000

_Answer = DecodedImage | tuple[RejectReason, str]


def decode(content: bytes, *, apart: bool = False) -> DecodedImage:
    """Does what `decode_image` does, and also raises UnreadableImageError if a picture crashes a decoder or takes long.

    With `apart`, every picture is decoded in the other process, which stays for the next picture.
    """
    if apart:
        return _decode_apart(content)
    image = find_encoded(content)
    if image.n_pixels is None or image.n_pixels > MOST_PIXELS_IN_WORKER:
        return _decode_apart(content)
    if image.n_pixels < _WATCHED_PIXELS:
        return decode_encoded(image)
    faulthandler.dump_traceback_later(_STALLED_SECONDS, exit=True, file=2)
    try:
        return decode_encoded(image)
    finally:
        faulthandler.cancel_dump_traceback_later()


def end_process() -> int:
    """Ends the process that decodes apart, if there is one, and returns its status, which is negative for a signal."""
    ending = _processes.pop() if _processes else None
    return 0 if ending is None else ending.end()


def _decode_apart(content: bytes) -> DecodedImage:
    if not _processes:
        _processes.append(_DecodingProcess())
    try:
        answer = _processes[0].ask(content)
    except TimeoutError:
        _processes[0].kill()
        end_process()
        raise UnreadableImageError(
            RejectReason.TOO_COSTLY, f"decoding it takes more than {_STALLED_SECONDS:g} seconds"
        ) from None
    except (EOFError, OSError):
        status = end_process()
        if status == -signal.SIGXCPU:
            raise UnreadableImageError(
                RejectReason.TOO_COSTLY, f"decoding it takes more than {DECODING_SECONDS} seconds of a core"
            ) from None
        ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise UnreadableImageError(RejectReason.CRASHED_THE_DECODER, f"the process that decoded it {ended}") from None
    if isinstance(answer, DecodedImage):
        return answer
    raise UnreadableImageError(*answer)


class _DecodingProcess:
    """Starts the process that decodes apart, and keeps the connection to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # The other process must find the same modules, which may lie in a step's library zip.
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OPENBLAS_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        self._connection = Connection(ours.detach())
        try:
            if not self._connection.poll(_START_SECONDS):
                raise TimeoutError
            self._connection.recv()
        except (EOFError, OSError):
            self.kill()
            status = self.end()
            raise ChildProcessError(
                f"The process that decodes odd images did not start (status {status}): its own words are in this "
                "worker's stderr."
            ) from None

    def ask(self, content: bytes) -> _Answer:
        """Sends a picture and returns the answer.

        Raises TimeoutError if none comes in time, and EOFError or OSError if the process ends.
        """
        self._connection.send_bytes(content)
        if not self._connection.poll(_STALLED_SECONDS):
            raise TimeoutError
        return cast("_Answer", self._connection.recv())

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        """Ends the process if it has not ended by itself, and returns its status, which is negative for a signal."""
        self._connection.close()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


# A worker that has needed such a process keeps one here. It ends when its worker does.
_processes: Final[list[_DecodingProcess]] = []


def _serve(connection: Connection) -> None:
    """Decodes the pictures that come over the connection until the other end closes it."""
    _bound_memory()
    connection.send(None)
    with contextlib.suppress(EOFError):
        while True:
            content = connection.recv_bytes()
            _bound_time()
            try:
                answer: _Answer = decode_image(content)
            except UnreadableImageError as error:
                answer = (error.reason, error.detail)
            connection.send(answer)


def _bound_memory() -> None:
    """Bounds the memory of this process. A decoder that needs more raises MemoryError, or ends only this process."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    here = int(statm.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = here + MAX_DECODING_BYTES + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _bound_time() -> None:
    """Bounds the CPU time of the next picture. One that takes longer ends this process with SIGXCPU."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + DECODING_SECONDS, most))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
