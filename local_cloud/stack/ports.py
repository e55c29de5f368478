"""Chooses ports of the loopback address, and keeps proxies away from it."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

LOOPBACK: Final = "127.0.0.1"
_ANSWERS_WITHIN_SECONDS: Final = 5.0
NO_PROXY_VARIABLES: Final = ("NO_PROXY", "no_proxy")
_THIS_MACHINE: Final = (LOOPBACK, "localhost", "::1")


class NoLoopbackError(RuntimeError):
    """Raised if this machine can't be reached at 127.0.0.1. The message says what to do."""


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Adds this machine's addresses to the environment's no_proxy, so that HTTP clients reach it without a proxy."""
    for name in NO_PROXY_VARIABLES:
        hosts = [host for host in environment.get(name, "").split(",") if host]
        if hosts != ["*"]:
            environment[name] = ",".join(dict.fromkeys([*hosts, *_THIS_MACHINE]))


def choose_ports(preferred: Sequence[int]) -> list[int]:
    """Returns each preferred port if it is free, else another free one in its place; 0 asks for any.

    No port is returned twice. Raises NoLoopbackError if this machine has no loopback of IPv4.
    """
    with contextlib.ExitStack() as stack:
        # All stay bound until the last is chosen.
        return [_bind(stack.enter_context(socket.socket()), port) for port in preferred]


def _bind(listener: socket.socket, preferred: int) -> int:
    # With this option, which servers set too, a port whose last connection has just been closed counts as free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    refusal: OSError | None = None
    for port in (preferred, 0):
        try:
            listener.bind((LOOPBACK, port))
            # On Linux two sockets with SO_REUSEADDR may be bound to one port as long as none listens.
            listener.listen(1)
            # Where the loopback is down, a process can listen, but nobody can connect.
            socket.create_connection(listener.getsockname(), timeout=_ANSWERS_WITHIN_SECONDS).close()
        except OSError as error:
            refusal = error
        else:
            return int(listener.getsockname()[1])
    raise NoLoopbackError(
        f"This machine does not get to itself on {LOOPBACK} ({refusal}), which the local cloud needs. "
        f"Give the loopback its address of IPv4, as root: `ip link set lo up && ip address add {LOOPBACK}/8 dev lo`."
    )
