"""Choosing ports of the loopback address."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK: Final = "127.0.0.1"


def choose_ports(preferred: Sequence[int]) -> list[int]:
    """For each preferred port that port if it is free, else another free one; 0 asks for any. No port is given twice."""
    with contextlib.ExitStack() as stack:
        # All stay bound until the last is chosen.
        return [_bind(stack.enter_context(socket.socket()), port) for port in preferred]


def _bind(listener: socket.socket, preferred: int) -> int:
    # A port whose last connection has just been closed is free: servers set this too.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for port in (preferred, 0):
        with contextlib.suppress(OSError):
            listener.bind((LOOPBACK, port))
            # On Linux two sockets with SO_REUSEADDR may be bound to one port as long as none listens.
            listener.listen(1)
            break
    return int(listener.getsockname()[1])
