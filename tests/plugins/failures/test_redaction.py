from __future__ import annotations

import pytest

from fruit_pipeline.failures.redaction import redact


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
        "password authentication failed; s3://fruits-lake/raw/ingest_date=2026-11-22/Kiwi/12.jpg of embedder mobilenet-0a1b2c: "
        "key 'shape', 3 tokens, X-Amz-Date=20261125"
    )
    assert redact(text) == text
