"""The local EMR refuses what AWS' own service model does not know, in a sentence that says where it stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.settings import Settings
from local_cloud.emr.model import problems
from tests.local_cloud.running_cloud import error_of

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest

    from tests.local_cloud.running_cloud import LocalCloud


def body(request: Any) -> bytes:
    return json.dumps(request).encode()


def test_what_the_product_asks_for_is_known() -> None:
    request = cluster_request(Settings(lake_bucket="a-lake"), PinnedRelease("abc", "0" * 64), "run 🍎", ["2026-11-22"])
    assert problems("RunJobFlow", body(request)) == ""
    assert problems("ListClusters", b"") == ""


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"Nope": 1}, 'Unknown parameter in input: "Nope"'),
        ({}, 'Missing required parameter in input: "JobFlowIds"'),
        ({"JobFlowIds": "j-1"}, "Invalid type for parameter JobFlowIds"),
        ({"JobFlowIds": ["j" * 10_281]}, "JobFlowIds[0] has 10281 characters, and may have 10280."),
        ({"JobFlowIds": ["j\x01"]}, r"JobFlowIds[0] is 'j\x01', which is not like"),
    ],
)
def test_what_emr_would_not_take_is_told_with_its_place(request_: dict[str, Any], words: str) -> None:
    assert words in problems("TerminateJobFlows", body(request_))


def test_a_word_that_emr_does_not_know_is_told_with_those_it_knows() -> None:
    asked = {"Name": "x", "Instances": {"InstanceFleets": [{"InstanceFleetType": "BOSS"}]}}
    told = problems("RunJobFlow", body(asked))
    assert (
        told
        == "RunJobFlow.Instances.InstanceFleets[0].InstanceFleetType is 'BOSS', and must be one of MASTER, CORE, TASK."
    )


def test_what_is_no_json_is_told() -> None:
    assert problems("ListClusters", b"{") == "It is no JSON."


@pytest.mark.slow
def test_a_client_without_a_model_of_its_own_is_refused(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")

    def add_what_no_model_knows(request: AWSRequest, **_: object) -> None:
        request.data = body({"ClusterStates": ["ASLEEP"]})

    emr.meta.events.register_first("request-created.emr.ListClusters", add_what_no_model_knows)
    code, message = error_of(emr.list_clusters)
    assert code == "ValidationException"
    assert "ClusterStates[0] is 'ASLEEP', and must be one of STARTING, " in message
