"""Checks that clusters name instance types that their region has."""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import product

import pytest
from cfnlint.data.schemas.extensions import aws_emr_cluster

from fruit_contract.regions import EU_REGIONS
from fruit_contract.release import PinnedRelease
from fruit_pipeline.emr.cluster_request import cluster_request
from fruit_pipeline.emr.nodes.fleets import sibling_types
from fruit_pipeline.settings import Settings
from tests.bootstrap.conftest import BUCKET


def types_of_region(region: str) -> set[str]:
    """Returns what EMR takes for a node there, by cfn-lint's copy of AWS' lists."""
    text = (files(aws_emr_cluster) / "instancetypeconfig_instancetype_enum.json").read_text(encoding="utf-8")
    return set(json.loads(text)[region]["enum"])


@pytest.mark.parametrize("region", sorted(EU_REGIONS))
def test_a_cluster_names_the_siblings_that_its_region_has_and_no_others(region: str) -> None:
    there = types_of_region(region)
    for family, size in product(("m5", "c5", "r5", "m6g", "c6g", "r6g"), ("xlarge", "4xlarge", "12xlarge")):
        everywhere = sibling_types(f"{family}.{size}", "of all families")
        assert sibling_types(f"{family}.{size}", region) == [name for name in everywhere if name in there]
    for core in ("m5.xlarge", "c5.4xlarge", "r5.xlarge"):
        settings = Settings(lake_bucket=BUCKET, region=region, core_instance_type=core)
        fleets = cluster_request(settings, PinnedRelease("abc", "0" * 64), "run", ["2026-11-22"], 1)["Instances"][
            "InstanceFleets"
        ]
        assert {config["InstanceType"] for fleet in fleets for config in fleet["InstanceTypeConfigs"]} <= there
