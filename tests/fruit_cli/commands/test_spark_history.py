# ruff: noqa: N803  # boto3 names its arguments so

from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from fruit_cli.commands.spark_history import persistent_page, port_forwarding
from fruit_cli.errors import CommandError

ARN = "arn:aws:elasticmapreduce:eu-west-1:123456789012:cluster/j-1"


class Emr:
    """Plays EMR with its own history server, which is up only after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.url_looks = 2
        self.primaries = ["i-0abc"]
        self.meta = SimpleNamespace(region_name="eu-west-1")

    def describe_cluster(self, *, ClusterId: str) -> Any:
        assert ClusterId == "j-1"
        return {"Cluster": {"ClusterArn": ARN}}

    def create_persistent_app_ui(self, *, TargetResourceArn: str, ProfilerType: str) -> Any:
        assert (TargetResourceArn, ProfilerType) == (ARN, "SHS")
        return {"PersistentAppUIId": "p-1"}

    def list_instances(self, *, ClusterId: str, InstanceFleetType: str, InstanceStates: list[str]) -> Any:
        assert (ClusterId, InstanceFleetType, InstanceStates) == ("j-1", "MASTER", ["RUNNING"])
        return {"Instances": [{"Ec2InstanceId": instance} for instance in self.primaries]}

    def describe_persistent_app_ui(self, *, PersistentAppUIId: str) -> Any:
        self.looks -= 1
        return {
            "PersistentAppUI": {
                "PersistentAppUIId": PersistentAppUIId,
                "PersistentAppUIStatus": "STARTING" if self.looks > 0 else "ATTACHED",
            }
        }

    def get_persistent_app_ui_presigned_url(self, *, PersistentAppUIId: str, PersistentAppUIType: str) -> Any:
        assert PersistentAppUIType == "SHS"
        self.url_looks -= 1
        return (
            {"PresignedURLReady": False}
            if self.url_looks
            else {"PresignedURLReady": True, "PresignedURL": f"https://{PersistentAppUIId}.example/shs"}
        )


def test_waits_for_emrs_history_server_and_says_where_it_is() -> None:
    slept: list[float] = []
    assert persistent_page(Emr(3), "j-1", sleep=slept.append) == "https://p-1.example/shs"
    assert len(slept) == 3


def test_a_history_server_that_never_comes_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(CommandError, match=r"history of j-1 within 300 seconds\. Try again"):
        persistent_page(Emr(10_000), "j-1", sleep=lambda _: None)


def test_a_node_that_is_up_is_reached_through_ssm() -> None:
    typed = shlex.split(port_forwarding(Emr(1), "j-1"))
    assert typed[:3] == ["aws", "ssm", "start-session"]
    assert dict(zip(typed[3::2], typed[4::2], strict=True)) == {
        "--region": "eu-west-1",
        "--target": "i-0abc",
        "--document-name": "AWS-StartPortForwardingSession",
        "--parameters": '{"portNumber": ["18080"], "localPortNumber": ["18080"]}',
    }


def test_a_node_that_is_gone_is_not_offered() -> None:
    emr = Emr(1)
    emr.primaries = []
    assert port_forwarding(emr, "j-1") == ""
