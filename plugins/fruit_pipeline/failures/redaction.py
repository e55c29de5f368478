"""Takes secrets out of what is shown of other programs' output. Pure."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = "[removed]"
_SECRETS: Final = (
    (re.compile(r"\b(A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,124}\b"), rf"\1{_HIDDEN}"),
    (re.compile(r"(X-Amz-(?:Signature|Security-Token|Credential)(?:=|%3D|[\"']?: *[\"']?))[^&\s\"'<>,]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"((?:secret[_-]?access[_-]?key|secret[._-]?key|session[._-]?token|security[_-]?token|secretaccesskey|sessiontoken|password|passwd"
            r"|fernet_?key|"
            r"auth_?token|api_?key)[\"']?\s{0,3}[=:>]\s{0,3}[\"']?)[^\s\"'&,;<>]{4,}",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(--[a-z-]{0,40}(?:secret|token|password)[a-z-]{0,40}\s{1,3})[^\s-]\S*", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"([?&](?:token|access_token|sig|signature)=)[^&\s\"'<>]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(?:IQoJb3|FwoGZX|FQoGZX)[A-Za-z0-9/+=%]{20,}"), _HIDDEN),  # how temporary credentials begin
    (re.compile(r"\b(Signature=|Bearer |Basic )[A-Za-z0-9+/=._~-]{8,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(://[^/\s:@]{0,200}:)[^/\s@]{1,200}@"), rf"\1{_HIDDEN}@"),
)


def redact(text: str) -> str:
    """`text` without what looks like a key, token, signature or password."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text
