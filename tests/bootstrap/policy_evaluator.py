"""Says what a set of policies answers to a request, as IAM documents it: a request is allowed if a statement allows it
and none denies it.

It knows the operators that our templates use, and refuses to guess about any other.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """Describes a request of somebody in the account. `context` holds what conditions ask for."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def is_allowed(request: Request, statements: Sequence[Statement]) -> bool:
    answers = {statement["Effect"] for statement in statements if _applies(statement, request)}
    return "Deny" not in answers and "Allow" in answers


def _applies(statement: Statement, request: Request) -> bool:
    return (
        any(_is_like(request.action.lower(), action.lower()) for action in as_list(statement["Action"]))
        and any(
            _is_like(request.resource, resource)
            for resource in as_list(statement.get("Resource", statement.get("NotResource")))
        )
        == ("Resource" in statement)
        and all(
            _holds(operator, request.context.get(key), as_list(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, given: str | None, wanted: Sequence[str]) -> bool:
    if operator == "Null":
        return (given is None) == (wanted[0] == "true")
    if given is None:
        # What is not there is like nothing: positive operators fail, negative ones hold.
        return operator.endswith("IfExists") or operator.startswith("StringNot")
    match operator.removesuffix("IfExists"):
        case "StringEquals" | "ArnEquals" | "Bool":
            return given in wanted
        case "StringNotEquals":
            return given not in wanted
        case "StringLike" | "ArnLike":
            return any(_is_like(given, pattern) for pattern in wanted)
        case "NumericLessThan":
            return any(float(given) < float(bound) for bound in wanted)
        case _:
            raise NotImplementedError(operator)


def _is_like(text: str, pattern: str) -> bool:
    """Says whether `text` matches a pattern in which * and ? are wildcards and everything else stands for itself."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), text) is not None


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
