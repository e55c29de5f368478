"""Finds out why a step or a bootstrap action failed: by what the step itself told, else by what its logs and EMR's own
reasons say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_contract.failures.causes import BOOTSTRAP_FAILED, CANCELLED, CODE_ERROR, NODE_LOST, UNKNOWN, Cause
from fruit_contract.failures.error_text import FoundError, Standing, find_error, last_lines
from fruit_contract.failures.reports import LONGEST_SCANNED, symptom_of_another
from fruit_contract.failures.rules import cause_of
from fruit_pipeline.failures.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fruit_contract.failures.record import StepFailure

EMR: Final = "EMR"  # in place of a log's name, where EMR's own words tell the cause
TOLD: Final = "failure.json"  # where the step itself told it
LONGEST_LINE: Final = 400
_LOGS_IN_ORDER: Final = ("stdout", "stderr", "controller")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\x1b\[[0-9;]{0,20}m")


@dataclass(frozen=True)
class Diagnosis:
    """Says why `step` failed (it is empty for a cluster that ended before any step), and what to do. Nothing in it is
    secret.

    `log` names what holds `error` (a log, EMR or TOLD), and `context` is what stands around it. `is_from_emr_alone`
    tells that there was nothing else to read.
    """

    step: str
    cause: Cause
    log: str
    error: str
    logs_uri: str
    context: tuple[str, ...] = ()
    is_from_emr_alone: bool = False

    @property
    def may_pass(self) -> bool:
        return self.cause.passes

    @property
    def what_to_do(self) -> str:
        return self.cause.what_to_do


def diagnose(
    logs: Mapping[str, str],
    emr_words: Sequence[str] = (),
    told: StepFailure | None = None,
    *,
    step: str = "",
    logs_uri: str = "",
) -> Diagnosis:
    """Returns why a step or a bootstrap action failed. It never raises, however odd its arguments are."""
    cause, log, error, context = _cause_log_error_context(logs, emr_words, told)
    return Diagnosis(
        step,
        cause,
        log,
        _shown(error),
        logs_uri,
        tuple(map(_shown, context)),
        is_from_emr_alone=not logs and told is None,
    )


def _cause_log_error_context(
    logs: Mapping[str, str], emr_words: Sequence[str], told: StepFailure | None
) -> tuple[Cause, str, str, Sequence[str]]:
    in_order = {name: logs[name] for name in sorted(logs, key=lambda name: (name not in _LOGS_IN_ORDER, name))}
    found = _as_found(told) if told else find_error(in_order)
    if by_emr := _cause_emr_tells(emr_words, found):
        return by_emr[0], EMR, by_emr[1], found.context if found and found.standing < Standing.FOLLOWS else ()
    if found:
        return found.cause, found.log, found.error, found.context
    for name, text in in_order.items():
        if lines := last_lines(text):
            return UNKNOWN, name, lines[-1], lines
    return UNKNOWN, EMR, " ".join(emr_words), ()


def _as_found(told: StepFailure) -> FoundError:
    return FoundError(told.known_cause(), Standing.ENDED_IT, TOLD, told.name, told.message, told.error, told.context)


def _cause_emr_tells(emr_words: Sequence[str], found: FoundError | None) -> tuple[Cause, str] | None:
    """Returns the cause and EMR's words for it, if EMR knows better: it knows which machines are gone, and who ended
    what.
    """
    repeated = found.error if found else ""
    words = [
        text
        for text in emr_words
        if text.strip() and not symptom_of_another(text) and not (repeated and repeated in text)
    ]
    cause = cause_of("; ".join(words))
    knows_better = found is None or (
        (cause in (NODE_LOST, CANCELLED) and (found.standing > Standing.ENDED_IT or found.cause.passes))
        or (found.standing == Standing.FOLLOWS and cause not in (CODE_ERROR, BOOTSTRAP_FAILED))
    )
    if cause is UNKNOWN or not knows_better:
        return None
    return cause, next((text for text in words if cause_of(text) is cause), "; ".join(words))


def _shown(line: str) -> str:
    """Returns a line fit to be shown: without secrets and control characters, and not too long. What is cut out is the
    middle, because wrappers stand at the beginning of a line and the root of an error at its end.
    """
    clean = redact(_UNPRINTABLE.sub("", line[:LONGEST_SCANNED])).rstrip()
    return (
        clean if len(clean) <= LONGEST_LINE else f"{clean[: LONGEST_LINE // 2]} [...] {clean[-LONGEST_LINE // 2 + 7 :]}"
    )
