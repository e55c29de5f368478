"""The family of errors is as it is drawn, and says of each whether it passes."""

from __future__ import annotations

import inspect
import re

import pytest

from fruit_contract.errors import RefusedError
from fruit_contract.lake import LakeNameError
from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline import errors
from fruit_pipeline.aws import may_pass

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)] + [LakeNameError, RegionNotAllowedError]
LINE = re.compile(r"^(?P<branches>[ │├└─]*)(?P<name>[A-Z]\w+Error)\b", re.MULTILINE)


def drawn_parents() -> dict[str, str]:
    """Returns what each drawn error hangs under; nothing for those at the left."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in LINE.finditer(errors.__doc__ or ""):
        column = len(line["branches"])
        parents[line["name"]] = above.get(column - 4, "")
        above[column] = line["name"]
    return parents


def test_the_tree_is_drawn_as_it_is() -> None:
    own = {kind.__name__ for kind in CLASSES}
    assert drawn_parents() == {
        kind.__name__: next((base.__name__ for base in kind.__bases__ if base.__name__ in own), "") for kind in CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_only_what_passes_is_tried_again(kind: type[Exception]) -> None:
    assert may_pass(kind("why")) == issubclass(kind, errors.PassingError)
    assert not (issubclass(kind, errors.PassingError) and issubclass(kind, RefusedError))
