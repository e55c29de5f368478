"""EMR on one machine: the API over HTTP, clusters that live, steps that really run.

    AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_ENDPOINT_URL_S3=http://... \\
        python -m local_cloud.emr.server --home FOLDER --port PORT

`GET /health` answers without a signature; everything else must be signed with the credentials of the environment.
State is kept in memory: clusters end with the server. Faults that FOLDER/faults.json asks for are committed (see
`faults`).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moto.core.request import Request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from fruit_contract.regions import DEFAULT_REGION
from local_cloud.access_log import AccessLog
from local_cloud.cluster.spark_environment import Node
from local_cloud.emr.api import REGION_HEADER, LocalEmrResponse
from local_cloud.emr.api_faults import answer_with_faults, cluster_ids
from local_cloud.emr.backend import EmrSettings, LocalEmrBackend, cluster_names, cluster_tags, local_emr_backends
from local_cloud.emr.errors import error_response
from local_cloud.emr.model import problems
from local_cloud.emr.signature import CODES, SignedRequest, verified_caller
from local_cloud.faults import FaultBook
from local_cloud.keys import KeyRing, Role, credentials_of
from local_cloud.signature import Credentials, SignatureError
from local_cloud.stack.java import JavaNotFoundError, find_java
from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

END_SECONDS: Final = 20.0

logger = logging.getLogger(__name__)


class EmrApplication:
    """Serves EMR's API as a WSGI application: checks who asks, then lets the API answer."""

    def __init__(self, keys: KeyRing, faults: FaultBook, log: AccessLog | None = None) -> None:
        self._keys = keys
        self._faults = faults
        self._log = log

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self.answer(Request(environ))
        return response(environ, start_response)

    def answer(self, request: Request) -> Response:
        if request.method == "GET" and request.path == "/health":
            return Response("ok\n", content_type="text/plain")
        signed = SignedRequest(
            method=request.method,
            path=request.path,
            query=request.query_string.decode("ascii", errors="replace"),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.get_data(),
        )
        try:
            caller = verified_caller(signed, self._keys)
        except SignatureError as error:
            return error_response(CODES[error.fault], str(error), status=403)
        request.environ["HTTP_" + REGION_HEADER.upper().replace("-", "_")] = caller.region
        action, body = self.action_of(request), request.get_data()
        if found := problems(action, body):
            logger.info("%s is refused: %s", action, found)
            return error_response("ValidationException", f"EMR's service model knows no such {action}: {found}")
        if self._log:
            self._log.note(caller, action=action, body=json.loads(body or b"{}"), tags=cluster_tags(cluster_ids(body)))
        return answer_with_faults(
            self._faults, request, action, answer=lambda: _dispatch(request), names_of=cluster_names
        )

    @staticmethod
    def action_of(request: Request) -> str:
        return str(request.headers.get("X-Amz-Target", request.path)).rpartition(".")[2]


def _dispatch(request: Request) -> Response:
    action = EmrApplication.action_of(request)
    try:
        status, headers, body = LocalEmrResponse.dispatch(request, request.url, request.headers)
    except NotImplementedError:
        return error_response("InvalidRequestException", f"The local EMR does not offer {action}.")
    except HTTPException as error:
        return error_response("ValidationException", str(error.description))
    except Exception as error:
        logger.exception("%s failed", action)
        return error_response(
            "InternalServerException",
            f"The local EMR broke on {action}: {error!r}. Its log has the details.",
            status=500,
        )
    if status >= 400 or not action.startswith(("Describe", "List", "Get")):
        logger.info("%s %s %s", action, status, body if status >= 400 else "")
    # The server that sends the response adds these itself.
    return Response(
        body,
        status=status,
        headers={name: value for name, value in headers.items() if name.lower() not in {"date", "server"}},
    )


class _QuietHandler(WSGIRequestHandler):
    """Logs no requests: a waiting DAG asks every few seconds, and `_dispatch` logs what matters."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


def node_from(environment: Mapping[str, str], home: Path) -> Node:
    """Returns the machine as this process finds it.

    Raises KeyError if a credential or the address of S3 is missing, ModuleNotFoundError without pyspark and
    JavaNotFoundError without Java.
    """
    spark = find_spec("pyspark")
    if spark is None or spark.origin is None:
        raise ModuleNotFoundError("pyspark is not installed: run `make setup`.")
    return Node(
        home=home.resolve(),
        s3_url=environment["AWS_ENDPOINT_URL_S3"],
        region=environment.get("AWS_REGION", DEFAULT_REGION),
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        python=Path(sys.prefix) / "bin" / "python",
        java_home=find_java(environment),
        spark_home=Path(spark.origin).parent,
        cores=environment.get("FRUITS_LOCAL_SPARK_CORES", "*"),
        driver_memory=environment.get("FRUITS_LOCAL_SPARK_MEMORY", "2g"),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="local_cloud.emr.server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--home",
        type=Path,
        required=True,
        help="the folder of the local cloud; buckets are in its s3/, clusters get its emr/",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--second-lasts",
        type=float,
        default=1.0,
        help="how long a second of an idle timeout lasts, for tests (default: %(default)s)",
    )
    parser.add_argument("--access-log", type=Path, help="a file to which each request is noted")
    arguments = parser.parse_args(argv)
    keep_loopback_direct(os.environ)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        owner = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        of_nodes = credentials_of(Role.NODES, owner)
        keys = {"AWS_ACCESS_KEY_ID": of_nodes.access_key_id, "AWS_SECRET_ACCESS_KEY": of_nodes.secret_access_key}
        node = node_from({**os.environ, **keys}, arguments.home)
    except KeyError as missing:
        print(
            f"error: set {missing}: the local EMR needs the credentials and the address of the local S3.",
            file=sys.stderr,
        )
        return 1
    except (JavaNotFoundError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    node.buckets_folder.mkdir(parents=True, exist_ok=True)
    faults = FaultBook(node.home)
    LocalEmrBackend.settings = EmrSettings(node=node, faults=faults, second_lasts=arguments.second_lasts)
    application = EmrApplication(
        KeyRing(owner), faults, AccessLog(arguments.access_log) if arguments.access_log else None
    )
    server = make_server(arguments.host, arguments.port, application, threaded=True, request_handler=_QuietHandler)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    logger.info("EMR listens on http://%s:%s, Java is %s", arguments.host, server.port, node.java_home)
    server.serve_forever()
    for account in local_emr_backends.values():
        for backend in account.values():
            backend.end_all(END_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
