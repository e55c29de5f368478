from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from local_cloud.signature import Credentials, SignatureError, SignedRequest, verified_region

OURS = Credentials("LOCALKEY", "shh")


def signed(credentials: Credentials = OURS, region: str = "eu-west-3", path: str = "/", query: str = "") -> SignedRequest:
    """A request as botocore signs it."""
    url = f"http://127.0.0.1:9301{path}" + (f"?{query}" if query else "")
    request = AWSRequest("POST", url, headers={"X-Amz-Target": "ElasticMapReduce.ListClusters", "Host": "127.0.0.1:9301"}, data=b"{}")
    SigV4Auth(BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key), "elasticmapreduce", region).add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    return SignedRequest(method="POST", path=path, query=query, headers=headers, body=b"{}")


def test_tells_the_region_a_request_was_signed_for() -> None:
    assert verified_region(signed(), OURS) == "eu-west-3"


def test_understands_paths_and_queries() -> None:
    assert verified_region(signed(path="/a/b", query="z=1&a=x%20y"), OURS) == "eu-west-3"


def test_refuses_a_request_that_nobody_signed() -> None:
    with pytest.raises(SignatureError, match="Missing Authentication Token"):
        verified_region(replace(signed(), headers={"host": "127.0.0.1"}), OURS)


def test_refuses_another_secret() -> None:
    with pytest.raises(SignatureError, match="does not match"):
        verified_region(signed(Credentials("LOCALKEY", "guess")), OURS)


def test_refuses_another_key() -> None:
    with pytest.raises(SignatureError, match="security token") as caught:
        verified_region(signed(Credentials("OTHERKEY", "shh")), OURS)
    assert caught.value.code == "UnrecognizedClientException"


def test_refuses_a_body_that_was_changed_on_the_way() -> None:
    with pytest.raises(SignatureError, match="does not match"):
        verified_region(replace(signed(), body=b'{"Marker": "x"}'), OURS)


def test_refuses_a_signature_that_does_not_cover_the_host() -> None:
    request = signed()
    headers = dict(request.headers) | {"authorization": request.headers["authorization"].replace("host;", "")}
    with pytest.raises(SignatureError, match="host"):
        verified_region(replace(request, headers=headers), OURS)
