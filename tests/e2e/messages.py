"""Runs a queue and a topic as `make deploy` makes them in an account: moto's, over HTTP, which note who asks them for
what.
"""

from __future__ import annotations

import io
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from fruit_contract.lake import success_marker_key
from fruit_contract.regions import DEFAULT_REGION, require_eu_region
from local_cloud.keys import KeyRing, Role
from local_cloud.signature import Credentials
from tests.bootstrap.recording import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from local_cloud.stack.secrets import LocalSecrets

_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/")


@dataclass(frozen=True)
class Messages:
    """Holds the queue that starts runs and the topic that tells people. `topic_arn` has a second queue as its
    subscriber.
    """

    url: str
    queue_url: str
    topic_arn: str
    asked: set[Asked]
    _sqs: Any = field(repr=False)
    _subscriber_url: str = field(repr=False)

    def tell_of_marker(self, bucket: str, ingest_date: str) -> None:
        """Sends what S3 sends to a queue when a batch's marker was written.

        Source: Amazon S3 User Guide, "Event message structure": keys are encoded as in a form.
        """
        placed = {"bucket": {"name": bucket}, "object": {"key": quote_plus(success_marker_key(ingest_date), safe="/")}}
        record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": placed}
        self._sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps({"Records": [record]}))

    def told(self) -> list[dict[str, Any]]:
        """Returns what the topic has sent since the last call, as its subscriber gets it."""
        found = []
        while messages := self._sqs.receive_message(QueueUrl=self._subscriber_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._subscriber_url, ReceiptHandle=message["ReceiptHandle"])
        return found


@contextmanager
def running_messages(secrets: LocalSecrets) -> Iterator[Messages]:
    """Runs a queue and a topic in an account to which these are the keys."""
    owner = Credentials(secrets.access_key_id, secrets.secret_access_key)
    asked: set[Asked] = set()
    application = _Noting(DomainDispatcherApplication(create_backend_app), KeyRing(owner), asked)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.port}"
    session = boto3.Session(owner.access_key_id, owner.secret_access_key, region_name=DEFAULT_REGION)
    sqs, sns = (session.client(name, endpoint_url=url) for name in ("sqs", "sns"))
    try:
        batches, alerts = (
            str(sqs.create_queue(QueueName=name)["QueueUrl"]) for name in ("fruits-image-batches", "fruits-alerts")
        )
        topic = str(sns.create_topic(Name="fruits-alerts")["TopicArn"])
        arn = sqs.get_queue_attributes(QueueUrl=alerts, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        yield Messages(url, batches, topic, asked, sqs, alerts)
    finally:
        for client in (sqs, sns):
            client.close()
        server.shutdown()
        server.server_close()


class _Noting:
    """Lets an application answer, and notes what the parts of the product ask it for.

    Their own clients compare the requests with AWS' models.
    """

    def __init__(self, application: Any, keys: KeyRing, asked: set[Asked]) -> None:
        self._application = application
        self._keys = keys
        self._asked = asked

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        assert signed, "A request without a signature."
        role = self._keys.roles[signed["key"]]
        if role is not Role.OWNER:
            require_eu_region(signed["region"])
            # SQS speaks JSON, SNS has its parameters in a form.
            action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2] or parse_qs(body.decode())["Action"][0]
            # To do a thing for several messages takes the right to do it for one.
            action = action.removesuffix("Batch")
            resource = {"sqs": "queue", "sns": "topic"}[signed["service"]]
            self._asked.add(Asked(role, f"{signed['service']}:{action}", resource))
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...
