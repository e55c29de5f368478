from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fruit_pipeline.failures.redaction import redact

# What can follow a name unquoted: no blanks, no quotes, nothing that ends a value there. It begins and ends with what
# is part of a secret.
PLAIN = st.from_regex(r"[A-Za-z0-9+/_][A-Za-z0-9+/=_.~!@#$%^*(){}|?,:-]{6,40}[A-Za-z0-9+/=_]", fullmatch=True)
QUOTED = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\"'\\\x7f"), min_size=8
).filter(lambda text: len(text.strip()) > 7)
IN_ADDRESSES = st.from_regex(r"[A-Za-z0-9%@/:+=!~_.-]{8,40}", fullmatch=True)
NAMES = st.sampled_from(
    [
        *(
            "secret",
            "password",
            "token",
            "client_secret",
            "AWS_SECRET_ACCESS_KEY",
            "aws_session_token",
            "spark.hadoop.fs.s3a.secret.key",
        ),
        *(
            "secretAccessKey",
            "SessionToken",
            "api-key",
            "apiKey",
            "db_password",
            "PGPASSWORD",
            "private_key",
            "fernet_key",
            "x-auth-token",
        ),
        *("passphrase", "access_token", "connection_string", "AccountKey", "SECRET_1", "password_prod", "client key"),
    ]
)
PROPERTIES = st.sampled_from(
    ["secret.key", "client_secret", "spark.authenticate.secret", "AWS_SECRET_ACCESS_KEY", "fs.s3a.session.token"]
)
OPTIONS = st.sampled_from(["--password", "--client-secret", "--token", "--secret-key", "--db.password"])
BEFORE_ASSIGNED = st.sampled_from(["=", ": ", " = ", ":", " => ", "%3D", " := "])
WORDS = st.sampled_from(["", "ERROR 12:00 failed with ", "run (", "  at x, ", "user=u&", "a=b; "])


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ACCESS_KEY=hidden-word",
        "aws_session_token = 'hidden-word'",
        "spark.hadoop.fs.s3a.secret.key=hidden-word",
        '{"SecretAccessKey": "hidden-word", "x": 1}',
        "<SessionToken>hidden-word</SessionToken>",
        "X-Amz-Signature=hidden-word&y=1",
        "x-amz-security-token: hidden-word",
        "Authorization: Bearer hidden-word",
        "https://user:hidden-word@index.example/simple",
        "--secret-key hidden-word",
        "--session-token=hidden-word",
        "aws-secret-access-key: hidden-word",
        "https://index.example/simple?token=hidden-word",
        '"Token" : "IQoJb3JpZ2luX2VjE0123456789012345/hidden-word',
    ],
)
def test_redact_hides_what_looks_like_a_secret(text: str) -> None:
    assert "hidden-word" not in redact(text)
    assert "[removed]" in redact(text)


def test_redact_leaves_other_words_alone() -> None:
    text = (
        "password authentication failed; s3://fruits-lake/raw/ingest_date=2026-11-22/Kiwi/12.jpg of embedder "
        "mobilenet-0a1b2c: key 'shape', 3 tokens, X-Amz-Date=20261125"
    )
    assert redact(text) == text


@given(words=WORDS, name=NAMES, sign=BEFORE_ASSIGNED, secret=PLAIN)
def test_no_secret_survives_behind_a_name(words: str, name: str, sign: str, secret: str) -> None:
    assert redact(f"{words}{name}{sign}{secret} and more") == f"{words}{name}{sign}[removed] and more"


@given(
    words=WORDS,
    name=NAMES,
    sign=st.sampled_from(["=", ": ", " = ", " ", "="]),
    quote=st.sampled_from("\"'"),
    secret=QUOTED,
)
def test_no_secret_survives_in_quotes(words: str, name: str, sign: str, quote: str, secret: str) -> None:
    assert (
        redact(f"{words}{name}{sign}{quote}{secret}{quote}, more")
        == f"{words}{name}{sign}{quote}[removed]{quote}, more"
    )


@given(name=NAMES, secret=st.text(min_size=8).filter(lambda text: len(text.strip()) > 7), ascii_only=st.booleans())
@example(name="secret", secret="*, and more", ascii_only=True)
@example(name="secret", secret="null and more", ascii_only=True)
def test_no_secret_survives_in_json(name: str, secret: str, ascii_only: bool) -> None:
    written = json.dumps({"a": 1, name: secret, "z": "kept"}, ensure_ascii=ascii_only)
    assert json.loads(redact(written)) == {"a": 1, name: "[removed]", "z": "kept"}
    assert json.loads(json.loads(redact(json.dumps({"said": written})))["said"])["z"] == "kept"


@given(words=WORDS, name=PROPERTIES, blanks=st.sampled_from([" ", "  ", "\t"]), secret=PLAIN)
def test_no_secret_survives_behind_a_property(words: str, name: str, blanks: str, secret: str) -> None:
    assert redact(f"{words}{name}{blanks}{secret} and more") == f"{words}{name}{blanks}[removed] and more"


@given(name=OPTIONS, secret=PLAIN)
def test_no_secret_survives_behind_an_option(name: str, secret: str) -> None:
    assert redact(f"run {name} {secret} --next 1") == f"run {name} [removed] --next 1"
    assert (
        redact(f"Command {['run', name, secret, '-x']} failed") == f"Command {['run', name, '[removed]', '-x']} failed"
    )


@given(
    scheme=st.sampled_from(["https", "postgresql+psycopg2", "amqp"]),
    user=st.sampled_from(["u", "", "me.x"]),
    secret=IN_ADDRESSES,
)
def test_no_secret_survives_in_an_address(scheme: str, user: str, secret: str) -> None:
    assert (
        redact(f"GET {scheme}://{user}:{secret}@host:1/x failed") == f"GET {scheme}://{user}:[removed]@host:1/x failed"
    )


@given(
    scheme=st.sampled_from(["Bearer ", "Basic ", "", "Negotiate "]),
    secret=PLAIN,
    mark=st.sampled_from(["Authorization: ", "authorization="]),
)
def test_no_secret_survives_in_a_header(scheme: str, secret: str, mark: str) -> None:
    assert redact(f"> {mark}{scheme}{secret}\nmore") == f"> {mark}{scheme}[removed]\nmore"


@given(
    key=st.text("abcXYZ019+/=\n", min_size=20),
    kind=st.sampled_from(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]),
    whole=st.booleans(),
)
def test_no_private_key_survives(key: str, kind: str, whole: bool) -> None:
    end = f"-----END {kind}PRIVATE KEY----- more" if whole else ""
    assert redact(f"read -----BEGIN {kind}PRIVATE KEY-----\n{key}{end}") == "read [removed]" + " more" * whole


@example('Authorization: "0')
@example('Authorization: "Basic abc"')
@given(
    st.text()
    | st.lists(
        NAMES | OPTIONS | PLAIN | st.sampled_from([" ", "=", ": ", '"', "'", "\\", "Authorization: ", "://u:", "@"])
    ).map("".join)
)
def test_what_is_redacted_twice_is_as_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Token count: 5",
        "token_count=5, max_tokens: 3, tokens=7",
        "passwordless login; a passwordless=1 sudo",
        "client token: N/A",
        "secret key is missing; secret.key is not set; password=None, token: null",
        "spark.authenticate.secret *********(redacted)",
        "\tat org.apache.hadoop.security.token.Token.get(Token.java:12)",
        "\tat org.apache.spark.SecurityManager.getSecretKey(SecurityManager.scala:33)",
        (
            'Traceback (most recent call last):\n  File "/x/token.py", line 3, in token\n    raise '
            "KeyError(\"token\")\nKeyError: 'token'"
        ),
        "Unexpected token '}' at 3; Unrecognized token 'abc': was expecting (JSON String, ...)",
        "spark://CoarseGrainedScheduler@ip-10-0-0-1:41234, http://localhost:8080/x?y=1",
        "s3://fruits-lake/raw/ingest_date=2026-11-22/category=Secret Fruit/token/a b.jpg",
        (
            "fs.s3a.aws.credentials.provider=org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider, "
            "secret_name=prod/x, token_file: /run/t"
        ),
        "is not authorized to perform: secretsmanager:GetSecretValue on resource",
        "INFO RMContainerTokenSecretManager: Rolling master-key for container-tokens",
        "git+https://github.com/x/y@v1",
    ],
)
def test_ordinary_lines_survive(text: str) -> None:
    assert redact(text) == text


@pytest.mark.airflow
def test_hides_what_airflow_takes_for_a_secret() -> None:
    masker = pytest.importorskip("airflow._shared.secrets_masker.secrets_masker")
    for name in masker.DEFAULT_SENSITIVE_FIELDS - {"proxy", "proxies"}:
        assert redact(f"{name}=hidden-word") == f"{name}=[removed]"


@pytest.mark.parametrize(
    "piece",
    [
        "token",
        "secret.",
        "a" * 50,
        "://u:",
        'password "',
        "--token",
        "\\",
        "x_",
        "Authorization: ",
        "-----BEGIN PRIVATE KEY",
    ],
)
def test_long_lines_take_no_time(piece: str) -> None:
    begun = time.process_time()
    redact(piece * (20_000 // len(piece)))
    assert time.process_time() - begun < 5
