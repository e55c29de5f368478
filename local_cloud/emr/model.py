"""Checks whether EMR would accept a request, by AWS' own service model, which botocore ships.

botocore checks names, types and required fields before it sends a request. It does not check whether EMR knows a word
or whether a text is too long. moto drops what it does not know.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import botocore.session
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from collections.abc import Iterator

# The model's patterns are written for Java, where a character beyond 16 bits is a pair of others.
_PAIRS: Final = re.compile(r"(?:\\uD[89A-F][0-9A-F]{2}-?){4}")
_BEYOND_16_BITS: Final = r"\\U00010000-\\U0010FFFF"


def problems(action: str, body: bytes) -> str:
    """Returns what is wrong with the body of a request, or an empty text if it is right or EMR has no such action."""
    shape = _input_shapes().get(action)
    if shape is None:
        return ""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return "It is no JSON."
    report = ParamValidator().validate(request, shape)
    return str(report.generate_report()) if report.has_errors() else "\n".join(_misfits(request, shape, action))


@cache
def _input_shapes() -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model("emr")
    return {
        name: shape for name in model.operation_names if (shape := model.operation_model(name).input_shape) is not None
    }


def _misfits(value: Any, shape: Any, where: str) -> Iterator[str]:
    """Yields what is wrong and botocore leaves to the service. The value must be of the shape's type."""
    match shape.type_name:
        case "structure":
            for name, inner in (value or {}).items():
                yield from _misfits(inner, shape.members[name], f"{where}.{name}")
        case "list":
            for number, inner in enumerate(value):
                yield from _misfits(inner, shape.member, f"{where}[{number}]")
        case "map":
            for name, inner in value.items():
                yield from _misfits(name, shape.key, f"{where}.{name}")
                yield from _misfits(inner, shape.value, f"{where}.{name}")
        case "string":
            yield from _misfits_of_text(value, shape, where)


def _misfits_of_text(text: str, shape: Any, where: str) -> Iterator[str]:
    if shape.enum and text not in shape.enum:
        yield f"{where} is {text!r}, and must be one of {', '.join(shape.enum)}."
    if len(text) > shape.metadata.get("max", len(text)):
        yield f"{where} has {len(text)} characters, and may have {shape.metadata['max']}."
    if not _compiled(shape.metadata.get("pattern", ".*")).fullmatch(text):
        yield f"{where} is {text!r}, which is not like {shape.metadata['pattern']}."


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_PAIRS.sub(_BEYOND_16_BITS, pattern), re.DOTALL)
