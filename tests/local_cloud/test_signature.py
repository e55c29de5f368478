"""Both services hear who signed a request just now with the right key, as botocore signs it, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from local_cloud.emr import signature as emr_signature
from local_cloud.keys import KeyRing
from local_cloud.s3.errors import S3Error
from local_cloud.s3.signature import check_signature
from local_cloud.signature import Credentials, SignatureError

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = Credentials("LOCALKEY", "shh")
HOST = "127.0.0.1:9301"
SERVICES = ("elasticmapreduce", "s3")


def codes(of_emr: str, of_s3: str) -> list[tuple[str, str]]:
    """Returns each service with its name for the same refusal."""
    return list(zip(SERVICES, (of_emr, of_s3), strict=True))


@dataclass(frozen=True)
class Sent:
    """Describes a request as a server gets it."""

    service: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b"{}"

    def without(self, *names: str) -> Sent:
        return replace(self, headers={name: value for name, value in self.headers.items() if name not in names})

    def saying(self, name: str, old: str, new: str) -> Sent:
        assert old in self.headers[name]
        return replace(self, headers={**self.headers, name: self.headers[name].replace(old, new)})


def signed(
    service: str,
    credentials: Credentials = OURS,
    region: str = "eu-west-3",
    path: str = "/",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    scope: str | None = None,
) -> Sent:
    """Returns a request as botocore signs it."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(
        "POST",
        url,
        headers={"X-Amz-Target": "ElasticMapReduce.ListClusters", "Host": HOST, **(headers or {})},
        data=b"{}",
    )
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    keys = BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key)
    signer(keys, scope or service, region).add_auth(request)
    return Sent(service, path, query, {name.lower(): str(value) for name, value in request.headers.items()})


def region_of(sent: Sent) -> str:
    """Returns the region that the service takes a request to be signed for. Raises S3Error or SignatureError if the
    service refuses it.
    """
    if sent.service == "s3":
        return check_signature("POST", sent.path, sent.query, sent.headers, KeyRing(OURS)).region
    return emr_signature.verified_caller(
        emr_signature.SignedRequest("POST", sent.path, sent.query, sent.headers, sent.body), KeyRing(OURS)
    ).region


def refusal(sent: Sent) -> str:
    """Returns AWS's name for why the service refuses a request."""
    with pytest.raises((S3Error, SignatureError)) as refused:
        region_of(sent)
    error: Any = refused.value
    return str(error.code if sent.service == "s3" else emr_signature.CODES[error.fault])


@pytest.mark.parametrize("service", SERVICES)
def test_tells_the_region_a_request_was_signed_for(service: str) -> None:
    assert region_of(signed(service)) == "eu-west-3"


@pytest.mark.parametrize("service", SERVICES)
def test_understands_paths_and_queries(service: str) -> None:
    assert region_of(signed(service, path="/a/b", query="z=1&a=x%20y")) == "eu-west-3"


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    value=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_s3_understands_whatever_a_key_and_a_query_hold(name: str, value: str) -> None:
    assert (
        region_of(signed("s3", path=f"/lake/{quote(name)}", query=f"prefix={quote(value, safe='')}&list-type=2"))
        == "eu-west-3"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_blanks_in_a_header_are_as_nothing(service: str) -> None:
    sent = signed(service, headers={"X-Amz-Meta": "two  blanks"})
    assert region_of(sent.saying("x-amz-meta", "two  blanks", "  two blanks ")) == "eu-west-3"


def test_emr_takes_headers_that_botocore_itself_would_not_sign() -> None:
    """As Java's clients do, which sign `user-agent`."""

    def lower(headers: Mapping[str, str]) -> HTTPHeaders:
        return HTTPHeaders.from_pairs([(name.lower(), value) for name, value in headers.items()])

    request = AWSRequest("POST", f"http://{HOST}/", headers={"Host": HOST, "User-Agent": "aws-sdk-java"}, data=b"{}")
    signer = type("All", (SigV4Auth,), {"headers_to_sign": lambda _, asked: lower(asked.headers)})
    signer(BotocoreCredentials(OURS.access_key_id, OURS.secret_access_key), "elasticmapreduce", "eu-west-3").add_auth(
        request
    )
    sent = Sent("elasticmapreduce", "/", "", {name.lower(): str(value) for name, value in request.headers.items()})
    assert "user-agent" in sent.headers["authorization"]
    assert region_of(sent) == "eu-west-3"
    assert refusal(sent.saying("user-agent", "java", "other")) == "InvalidSignatureException"


@pytest.mark.parametrize(("service", "code"), codes("MissingAuthenticationToken", "AccessDenied"))
@pytest.mark.parametrize("authorization", [None, "", "Basic dTpw", "AWS LOCALKEY:c2ln"])
def test_refuses_a_request_that_nobody_signed(service: str, code: str, authorization: str | None) -> None:
    sent = signed(service).without("authorization")
    assert (
        refusal(
            sent if authorization is None else replace(sent, headers={**sent.headers, "authorization": authorization})
        )
        == code
    )


@pytest.mark.parametrize(("service", "code"), codes("IncompleteSignatureException", "AuthorizationHeaderMalformed"))
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/aws4_request", ""),
        ("/eu-west-3", ""),
        ("Signature=", "Signature=x"),
        ("SignedHeaders", "Headers"),
        ("LOCALKEY", ""),
    ],
)
def test_refuses_a_malformed_scope(service: str, code: str, old: str, new: str) -> None:
    assert refusal(signed(service).saying("authorization", old, new)) == code


@pytest.mark.parametrize(("service", "code"), codes("InvalidSignatureException", "SignatureDoesNotMatch"))
def test_refuses_another_secret(service: str, code: str) -> None:
    assert refusal(signed(service, Credentials("LOCALKEY", "guess"))) == code


@pytest.mark.parametrize(("service", "code"), codes("UnrecognizedClientException", "InvalidAccessKeyId"))
def test_refuses_another_key(service: str, code: str) -> None:
    assert refusal(signed(service, Credentials("OTHERKEY", "shh"))) == code


def test_refuses_a_body_that_was_changed_on_the_way() -> None:
    sent = signed("elasticmapreduce")
    assert refusal(replace(sent, body=b'{"Marker": "x"}')) == "InvalidSignatureException"


def test_refuses_another_body_than_the_hash_in_a_header_that_was_signed() -> None:
    sent = signed("elasticmapreduce", headers={"X-Amz-Content-SHA256": "0" * 64})
    assert refusal(sent) == "InvalidSignatureException"


def test_s3_wants_to_know_the_hash_of_the_body() -> None:
    assert refusal(signed("s3").without("x-amz-content-sha256")) == "AccessDenied"


@pytest.mark.parametrize(("service", "code"), codes("InvalidSignatureException", "SignatureDoesNotMatch"))
@pytest.mark.parametrize("what", ["path", "query", "x-amz-target", "host"])
def test_refuses_what_was_changed_on_the_way(service: str, code: str, what: str) -> None:
    sent = signed(service, path="/a", query="b=c")
    changed = replace(sent, **{what: getattr(sent, what) + "x"}) if what in {"path", "query"} else None
    assert refusal(changed or replace(sent, headers={**sent.headers, what: "x"})) == code


@pytest.mark.parametrize(("service", "code"), codes("IncompleteSignatureException", "AccessDenied"))
def test_refuses_a_signature_that_does_not_cover_the_host(service: str, code: str) -> None:
    assert refusal(signed(service).saying("authorization", "host;", "")) == code
    assert refusal(signed(service).without("host")) == code


@pytest.mark.parametrize(("service", "code"), codes("IncompleteSignatureException", "AccessDenied"))
@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "2026-11-22T09:30:00Z", "20261322T093000Z", "٢٠٢٦1122T093000Z"]
)
def test_refuses_a_date_that_is_none(service: str, code: str, date: str | None) -> None:
    sent = signed(service)
    unlisted = sent.saying("authorization", ";x-amz-date", "").without("x-amz-date")
    assert refusal(unlisted if date is None else replace(sent, headers={**sent.headers, "x-amz-date": date})) == code


@pytest.mark.parametrize(("service", "code"), codes("InvalidSignatureException", "AuthorizationHeaderMalformed"))
def test_refuses_a_scope_of_another_day_or_service(service: str, code: str) -> None:
    sent = signed(service)
    day = sent.headers["x-amz-date"][:8]
    assert refusal(sent.saying("authorization", f"/{day}/", "/20200101/")) == code
    assert refusal(signed(service, scope="sts")) == code


@pytest.mark.parametrize(("service", "code"), codes("InvalidSignatureException", "RequestTimeTooSkewed"))
@pytest.mark.parametrize("sign", [-1, 1])
def test_refuses_what_was_signed_long_ago_or_in_the_future(
    monkeypatch: pytest.MonkeyPatch, service: str, code: str, sign: int
) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now + sign * timedelta(minutes=14))
    assert region_of(signed(service)) == "eu-west-3"
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now + sign * timedelta(minutes=16))
    with pytest.raises((S3Error, SignatureError), match="expired or not yet current"):
        region_of(signed(service))
    assert refusal(signed(service)) == code


def test_shows_no_secret() -> None:
    assert "shh" not in repr(OURS)
