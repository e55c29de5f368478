"""Checks which policies `make destroy` detaches before it removes what has them."""

from __future__ import annotations

import pytest
from cfnlint.decode import decode

from fruit_cli.aws.attachments import Attachment, attached_by_people, of_our_templates
from fruit_cli.aws.stacks import TEMPLATES
from fruit_cli.errors import CommandError

PUBLISHER = "arn:aws:iam::123456789012:policy/fruits-publisher"


def test_what_cloudformation_takes_back_itself_is_what_the_templates_attach() -> None:
    attached = set()
    for path in TEMPLATES.glob("*.yaml"):
        resources = decode(path)[0]["Resources"]
        for role in (resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::IAM::Role"):
            name = role["RoleName"]["Fn::Sub"].replace("${Name}", "fruits")
            attached |= {(name, policy["PolicyName"]) for policy in role.get("Policies", ())}
            for policy in role.get("ManagedPolicyArns", ()):
                ours = resources.get(policy.get("Ref"), {}).get("Properties", {}).get("ManagedPolicyName", policy)
                attached.add((name, ours["Fn::Sub"].replace("${Name}", "fruits").rpartition("/")[2]))
    assert attached == of_our_templates("fruits")


def test_what_people_attached_is_detached_once_and_nothing_else_is() -> None:
    ours = [Attachment("role", role, policy) for role, policy in of_our_templates("fruits")]
    by_people = [
        Attachment("role", "ci", PUBLISHER),
        # A policy of ours at another role of ours is found twice, by either.
        Attachment("role", "fruits-airflow", PUBLISHER),
        Attachment("role", "fruits-airflow", PUBLISHER),
        Attachment("role", "fruits-airflow", "more"),
    ]
    assert attached_by_people("fruits", [*ours, *by_people]) == (by_people[0], by_people[1], by_people[3])


def test_what_identity_center_attached_is_refused_before_anything_is_removed() -> None:
    held = Attachment("role", "AWSReservedSSO_Publishers_0123456789abcdef", PUBLISHER)
    with pytest.raises(CommandError, match="fruits-publisher from AWSReservedSSO_Publishers_0123456789abcdef"):
        attached_by_people("fruits", [held])
