"""Describes what a step writes into the lake before it ends with an error: which error it is, whether it may pass, and
what to do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.failures.causes import UNKNOWN, Cause
from fruit_contract.failures.rules import CAUSES
from fruit_contract.newer_python import UTC

if TYPE_CHECKING:
    from fruit_contract.failures.error_text import FoundError

SCHEMA_VERSION: Final = 1
_LONGEST_LINE: Final = 1000
_TYPES: Final = dict.fromkeys(("step", "cause", "name", "error", "message", "what_to_do", "at"), str) | {
    "may_pass": bool,
    "context": list,
    "schema_version": int,
}


@dataclass(frozen=True)
class StepFailure:
    """Says why a step failed. `cause` is the name of a Cause, `error` the line that names the error, `name` the error's
    class, and `context` the lines around it.
    """

    step: str
    cause: str
    name: str
    error: str
    message: str
    may_pass: bool
    what_to_do: str
    context: tuple[str, ...]
    at: str
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, step: str, found: FoundError) -> StepFailure:
        """Returns what there is to say of the error that ends a step. Its size is bounded, because that of a found
        error is.
        """
        cause = found.cause
        context = tuple(line[:_LONGEST_LINE] for line in found.context)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(step, cause.name, found.name, found.error, found.words, cause.passes, cause.what_to_do, context, at)

    @classmethod
    def read(cls, content: bytes) -> StepFailure | None:
        """Returns the failure that `to_json` wrote, even that of a later release, or None if the content is something
        else.
        """
        try:
            told = json.loads(content)
            fields: dict[str, Any] = {name: told[name] for name in _TYPES}
        except (ValueError, KeyError, TypeError):
            return None
        is_ours = all(isinstance(fields[name], kind) for name, kind in _TYPES.items())
        if not is_ours or not all(isinstance(line, str) for line in fields["context"]):
            return None
        return cls(**fields | {"context": tuple(fields["context"])})

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode()

    def known_cause(self) -> Cause:
        """Returns the cause as the step told it, because another release may say something else of it or know other
        causes.
        """
        known = next((cause for cause in CAUSES if cause.name == self.cause), UNKNOWN)
        return Cause(self.cause, known.usually, self.what_to_do, self.may_pass)
