"""Takes secrets out of what is shown of other programs' output.

The value of whatever is called like a secret is hidden, wherever the value begins: behind `=` or `:`, in quotes, behind
a property's or an option's name. It is better to hide a word too many than to show a secret.
"""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = "[removed]"

# What Airflow's secrets masker (DEFAULT_SENSITIVE_FIELDS) and Yelp's detect-secrets (the DENYLIST of its keyword
# plugin) take for names of secrets. Proxies are left out: they are addresses, whose passwords are hidden as those of
# any address.
_COMPOUNDS: Final = (
    *(
        "access key",
        "access token",
        "account key",
        "api key",
        "auth header",
        "auth key",
        "client key",
        "connection string",
        "database key",
    ),
    *(
        "database pass",
        "db key",
        "db pass",
        "fernet key",
        "key pass",
        "keyfile dict",
        "priv key",
        "private key",
        "secret access key",
    ),
    *("secret key", "service account", "service key", "webhook url"),
)
_WORDS: Final = (
    "bearer",
    "contraseña",
    "contrasena",
    "dsn",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "token",
)
# A name that ends in one of these tells about a secret, and holds none.
_ABOUT: Final = (
    *(
        "class",
        "count",
        "enabled",
        "endpoint",
        "expires",
        "expiry",
        "file",
        "id",
        "length",
        "limit",
        "manager",
        "name",
        "path",
        "policy",
    ),
    *("provider", "size", "ttl", "type", "version", "java", "py", "scala"),
)
# With these words a sentence goes on behind the name of a secret.
_PROSE: Final = (
    *(
        "a",
        "and",
        "are",
        "as",
        "at",
        "by",
        "can",
        "cannot",
        "could",
        "denied",
        "do",
        "does",
        "empty",
        "expired",
        "failed",
    ),
    *(
        "for",
        "found",
        "from",
        "given",
        "has",
        "have",
        "if",
        "in",
        "invalid",
        "is",
        "may",
        "missing",
        "must",
        "no",
        "not",
    ),
    *(
        "of",
        "on",
        "or",
        "required",
        "set",
        "should",
        "that",
        "the",
        "to",
        "unset",
        "used",
        "was",
        "were",
        "when",
        "which",
    ),
    *("will", "with"),
)


def _kept(name: str, pattern: str) -> str:
    """Returns a pattern that gives nothing back once it has matched, which bounds the time. Python 3.10 has no `++` for
    that.
    """
    return rf"(?=(?P<{name}>{pattern}))(?P={name})"


_KEYWORD: Final = "(?i:" + "|".join([*(name.replace(" ", "[_. -]?") for name in _COMPOUNDS), *_WORDS]) + ")"
_ABOUT_AT_END: Final = rf"(?:(?i:{'|'.join(_ABOUT)})(?![\w.-]))"
_IS_ABOUT: Final = rf"(?:[\w.-]{{0,40}}[_.-])?{_ABOUT_AT_END}|[\w.-]{{0,40}}(?=[A-Z]){_ABOUT_AT_END}"
# `secret`, `secretKey`, `secret.key`, `SECRET_1`, and neither `secrets`, `secretly` nor `secret_name`; then the rest of
# such a name.
_BEGUN: Final = rf"(?<!(?i:unexpected) )(?<!(?i:unrecognized) ){_KEYWORD}(?![a-z]|S\b|{_IS_ABOUT})"
_REST: Final = _kept("rest", r"[\w.-]{0,60}")
_QUOTE: Final = r"\\{0,4}[\"']"
_NOTHING: Final = r"(?:(?i:n/a|none|null|nil|true|false)|\*+(?:\(redacted\))?)(?![^\s\"'\\,;)}\]])"
_PLAIN: Final = rf"(?:(?![&;][\w.-]{{1,60}}[=:]|{_QUOTE}(?:[\s,;:)\]}}&]|$)|</)\S)+"


def _in_quotes(depth: int) -> str:
    """Returns the pattern of a quoted value, where `depth` backslashes stand before a quote, as in JSON within JSON.
    Its closing quote may be missing.
    """
    slash, mark = r"\\", rf"(?P=mark{depth})"
    opening = rf"(?P<quote{depth}>(?<!{slash}){slash}{{{depth}}}(?P<mark{depth}>[\"']))"
    escaped = rf"{slash}{{{2 * (depth + 1)}}}|{slash}{{{depth + 1},{2 * depth + 1}}}{mark}"
    value = rf"(?:{escaped}|(?!{slash}{{0,{depth}}}{mark})[^\n])+"
    # A word for "no secret" counts only if it fills the quotes, or the rest of a line that was cut.
    nothing = rf"{_NOTHING}(?={slash}{{{depth}}}{mark}|$)"
    return rf"{opening}(?!{nothing}){_kept(f'value{depth}', value)}"


_VALUE: Final = rf"(?!{_NOTHING})(?:{_in_quotes(0)}|{_in_quotes(1)}|{_in_quotes(3)}|(?!{_QUOTE}){_PLAIN})"
_NAMED_AND_HIDDEN: Final = rf"\g<name>\g<quote0>\g<quote1>\g<quote3>{_HIDDEN}"
_ASSIGNED: Final = rf"(?:{_QUOTE})?\]?[ \t]{{0,3}}(?:[:=]{{1,2}}>?|>|%3[Dd])[ \t]{{0,3}}"
_SCHEME: Final = r"(?:(?:Basic|Bearer|Digest|Negotiate|NTLM|Token)[ \t]{1,3})?"
_BEFORE_CREDENTIALS: Final = _kept("before", rf"{_ASSIGNED}(?:{_QUOTE})?{_SCHEME}(?:{_QUOTE})?")
_NO_PROSE: Final = rf"(?!(?i:{'|'.join(_PROSE)})[.,;:]?(?:\s|$))(?![=:>])"

_SECRETS: Final = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}KEY(?: "
            r"BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
        _HIDDEN,
    ),
    (re.compile(r"\b(A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,124}\b"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(?:IQoJb3|FwoGZX|FQoGZX)[A-Za-z0-9/+=%]{20,}"), _HIDDEN),  # how temporary credentials begin
    # The user's part of an address, which may itself hold @ and /.
    (re.compile(r"(://[^/\s:@]{0,200}:)[^\s\"'<>]{1,400}@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(https?://)[^/\s:@\"'<>]{1,200}@"), rf"\1{_HIDDEN}@"),
    (re.compile(rf"((?i:authorization){_BEFORE_CREDENTIALS})(?!{re.escape(_HIDDEN)}){_PLAIN}"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(Signature=|Bearer |Basic )[A-Za-z0-9+/=._~-]{8,}"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"((?i:X-Amz-(?:Signature|Credential)|[?&](?:sig|signature))(?:=|%3[Dd]|[\"']?: *[\"']?))[^&\s\"'<>,]+"
        ),
        rf"\1{_HIDDEN}",
    ),
)
_MENTIONS_A_NAME: Final = re.compile(_KEYWORD)
_NAMED_SECRETS: Final = (
    # name=value, "name": "value", <name>value, name "value"
    re.compile(rf"(?P<name>{_BEGUN}{_REST}(?:{_ASSIGNED}|[ \t]{{1,3}}(?={_QUOTE}))){_VALUE}"),
    # --name value, '--name', 'value'
    re.compile(
        rf"(?P<name>--[\w.-]{{0,40}}?{_BEGUN}{_REST}(?:{_QUOTE},[ \t]{{0,3}}|[ \t]{{1,3}})){_NO_PROSE}(?!--){_VALUE}"
    ),
    # a.property value
    re.compile(rf"(?P<name>(?:(?<=\w[._]){_BEGUN}|{_BEGUN}(?=[._]\w)){_REST}[ \t]{{1,3}}){_NO_PROSE}{_VALUE}"),
)


def redact(text: str) -> str:
    """Returns the text without what looks like a key, token, signature or password."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    if _MENTIONS_A_NAME.search(text):  # most lines don't, and the patterns are slow
        for pattern in _NAMED_SECRETS:
            text = pattern.sub(_NAMED_AND_HIDDEN, text)
    return text
