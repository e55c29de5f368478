"""Checks which network a deployment uses, and whose budget a stack is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_cli.aws.request import DeployRequest
from fruit_cli.aws.stacks import DeployedLake, idle_network_usd_a_month, is_of_region, kept_subnets, stacks_of

if TYPE_CHECKING:
    from collections.abc import Mapping

REGION = "eu-west-1"
OURS = {"Zones": "2", "Shell": "no", "SubnetIds": "subnet-1,subnet-2"}
CERTIFICATES = {"Certificates": ""}


@pytest.mark.parametrize(
    ("typed", "before", "kept", "idles"),
    [
        ((), {}, "", False),
        (("subnet-a", "subnet-b"), {}, "subnet-a,subnet-b", False),
        # Not typed again, they stay, whether a network of our own is there or not.
        ((), {"cluster": {"SubnetIds": "subnet-a"}}, "subnet-a", False),
        ((), {"cluster": {"SubnetIds": "subnet-a"}, "network": OURS}, "subnet-a", True),
        (("subnet-a",), {"cluster": {"SubnetIds": "subnet-1,subnet-2"}, "network": OURS}, "subnet-a", True),
        ((), {"cluster": {"SubnetIds": "subnet-1,subnet-2"}, "network": OURS}, "", False),
        # A deploy broke off after the network got another zone, or before there was a cluster's stack.
        ((), {"cluster": {"SubnetIds": "subnet-1"}, "network": OURS}, "", False),
        ((), {"cluster": {"SubnetIds": "subnet-1,subnet-2,subnet-3"}, "network": OURS}, "", False),
        ((), {"network": OURS}, "", False),
        (("make",), {"cluster": {"SubnetIds": "subnet-a"}, "network": OURS}, "", False),
        (("make",), {"cluster": {"SubnetIds": "subnet-a"}}, "", False),
    ],
)
def test_subnets_stay_until_others_are_typed(
    typed: tuple[str, ...], before: dict[str, Mapping[str, str]], kept: str, idles: bool
) -> None:
    request = DeployRequest("fruits", REGION, subnets=typed)
    before = {part: CERTIFICATES | dict(found) if part == "cluster" else found for part, found in before.items()}
    assert kept_subnets(request, before) == kept
    assert idle_network_usd_a_month(request, before) == pytest.approx(3 * 2 * 730 * 0.011 if idles else 0)
    plan = {stack.part: stack for stack in stacks_of(request, DeployedLake("b", makes_bucket=True), before)}
    assert ("network" in plan) == (not kept)
    assert plan["cluster"].parameters.get("SubnetIds", "") == kept


def test_a_budget_counts_where_its_topic_is() -> None:
    topic = {"TopicArn": "arn:aws:sns:eu-north-1:123456789012:fruits-alerts"}
    assert is_of_region("budget", topic, "eu-north-1")
    assert not is_of_region("budget", topic, REGION)
    assert is_of_region("cluster", {}, REGION)
