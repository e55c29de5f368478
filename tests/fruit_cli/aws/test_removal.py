"""Checks what `make destroy` says that it will do to a lake, and to its key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fruit_cli.aws.cloudformation import Stacks
from fruit_cli.aws.removal import LakeFindings, Removal

LAKE = LakeFindings("b", makes_bucket=True, is_there=True, is_empty=False, key="k", own_key=True)


@pytest.mark.parametrize(
    ("lake", "named", "line", "ends_key"),
    [
        (LAKE, False, "keep the bucket b, for there is something in it, and its key k", False),
        (LAKE, True, "erase the bucket b, with all that is in it, and in 30 days its key k", True),
        (replace(LAKE, is_empty=True), False, "erase the bucket b, which is empty, and in 30 days its key k", True),
        (
            replace(LAKE, makes_bucket=False, is_empty=True),
            False,
            "keep the bucket b, for it was there before, and its key k",
            False,
        ),
        (replace(LAKE, own_key=False), False, "keep the bucket b, for there is something in it", False),
        (
            replace(LAKE, own_key=False),
            True,
            (
                "erase the bucket b, with all that is in it; its key k stays, for `make deploy` did not make it for "
                "this bucket"
            ),
            False,
        ),
        (replace(LAKE, own_key=False, key=None), True, "erase the bucket b, with all that is in it", False),
        (replace(LAKE, is_there=False), False, "(the bucket b is gone already), and in 30 days its key k", True),
    ],
)
def test_the_plan_says_what_becomes_of_bucket_and_key(
    lake: LakeFindings, named: bool, line: str, ends_key: bool
) -> None:
    removal = Removal("fruits", ("lake",), lake=lake, named=named)
    assert removal.lines == ["remove fruits-lake", line]
    assert removal.ends_key == ("k" if ends_key else None)
    assert removal.erases == line.startswith("erase")


class OneStack:
    """Plays a CloudFormation with one stack that could not be removed."""

    def describe_stacks(self, **_: str) -> dict[str, list[dict[str, object]]]:
        parameters = [{"ParameterKey": "Bucket", "ParameterValue": "b"}]
        return {"Stacks": [{"StackName": "fruits-lake", "StackStatus": "DELETE_FAILED", "Parameters": parameters}]}


def test_a_stack_that_was_removed_half_way_still_tells_which_lake_was_to_go() -> None:
    stacks = Stacks(OneStack(), print)
    assert stacks.parameters_of_what_goes("fruits-lake") == {"Bucket": "b"}
    # For `make deploy` it is no stack any more: it is made anew.
    assert stacks.parameters("fruits-lake") == {}
