"""Commits the faults of EMR's API: refuses requests, and loses, falsifies or delays answers."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Final

from local_cloud.emr.errors import error_response
from local_cloud.faults import API_KINDS, FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from werkzeug.wrappers import Request, Response

    from local_cloud.faults import FaultBook

_ID_NAMES: Final = ("ClusterId", "JobFlowId", "ResourceId")


def answer_with_faults(
    faults: FaultBook,
    request: Request,
    action: str,
    *,
    answer: Callable[[], Response],
    names_of: Callable[[Iterable[str]], Sequence[str]],
) -> Response:
    """Returns what `answer` does, unless a fault strikes. `names_of` gives the names of clusters by their ids.

    Raises ConnectionAbortedError when the client is to get no answer at all; the connection is closed by then.
    """
    # Without faults, a request is read no further than its answer needs.
    if not faults.has_any():
        return answer()
    fault = faults.strike(API_KINDS, cluster_names(request.get_data(), names_of), action=action)
    if fault is None:
        return answer()
    if fault.kind is FaultKind.THROTTLE:
        return error_response("ThrottlingException", "Rate exceeded")
    if fault.kind is FaultKind.REFUSE:
        return error_response(
            "InternalServerException", f"An internal error occurred (fault '{fault.id}').", status=500
        )
    given = answer()
    if fault.kind is FaultKind.ACCEPT_THEN_ERROR:
        return error_response(
            "InternalServerException", f"An internal error occurred (fault '{fault.id}').", status=500
        )
    if fault.kind is FaultKind.ACCEPT_THEN_DROP:
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError(f"fault '{fault.id}' keeps the answer back")
    faults.outlast(fault)
    return given


def cluster_names(body: bytes, names_of: Callable[[Iterable[str]], Sequence[str]]) -> Sequence[str]:
    """Returns the names of the clusters that a request is about.

    A request asks for a new cluster by its name, or names others by their ids, or is about none (ListClusters).
    """
    request = _read(body)
    # Only RunJobFlow names a cluster that has no id yet.
    return [str(request["Name"])] if "Name" in request and "Instances" in request else names_of(cluster_ids(body))


def cluster_ids(body: bytes) -> list[str]:
    """Returns the ids of clusters that stand in the body of a request."""
    request = _read(body)
    alone = [request[name] for name in _ID_NAMES if name in request]
    return [str(cluster_id) for cluster_id in (*alone, *(request.get("JobFlowIds") or ()))]


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}
