from __future__ import annotations

from dataclasses import replace

import pytest

from fruit_contract.release import TENSORFLOW
from fruit_pipeline.emr.nodes.instance_types import core_type, instance_type, primary_type, require_fit, vcpus
from fruit_pipeline.errors import UnfitInstanceTypeError, UnknownInstanceTypeError
from fruit_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("name", "n_vcpus", "gibibytes", "is_graviton"),
    [
        ("m5.large", 2, 8, False),
        ("c5.xlarge", 4, 8, False),
        ("c5.4xlarge", 16, 32, False),
        ("c5.9xlarge", 36, 72, False),
        ("r5.xlarge", 4, 32, False),
        ("m5.xlarge", 4, 16, False),
        ("m5.24xlarge", 96, 384, False),
        ("r6i.8xlarge", 32, 256, False),
        ("m6idn.2xlarge", 8, 32, False),
        ("c7i-flex.2xlarge", 8, 16, False),
        ("m6g.2xlarge", 8, 32, True),
        ("c6gn.16xlarge", 64, 128, True),
        ("r8gd.48xlarge", 192, 1536, True),
    ],
)
def test_a_name_tells_vcpus_memory_and_processor(name: str, n_vcpus: int, gibibytes: int, is_graviton: bool) -> None:
    kind = instance_type(name)
    assert (kind.name, kind.vcpus, kind.memory_mib, kind.is_graviton) == (name, n_vcpus, gibibytes * 1024, is_graviton)
    assert vcpus(name) == n_vcpus


@pytest.mark.parametrize(
    "name",
    [
        "m5.metal",
        "m7i.metal-24xl",
        "m6g.medium",
        "m4.xlarge",
        "r3.xlarge",
        "g4dn.xlarge",
        "t3.xlarge",
        "mac1.xlarge",
        "m5.0xlarge",
        "m5",
        "",
    ],
)
def test_a_type_whose_memory_or_vcpus_follow_no_rule_is_unknown(name: str) -> None:
    with pytest.raises(UnknownInstanceTypeError, match="FRUITS_CORE_INSTANCE_TYPE to a type of the families c, m or r"):
        vcpus(name)


def test_says_which_setting_holds_a_type_that_is_not_known() -> None:
    settings = replace(Settings(), primary_instance_type="t3.xlarge", core_instance_type="x2gd.xlarge")
    with pytest.raises(UnknownInstanceTypeError, match=r"'t3\.xlarge'.*FRUITS_PRIMARY_INSTANCE_TYPE"):
        primary_type(settings)
    with pytest.raises(UnknownInstanceTypeError, match=r"'x2gd\.xlarge'.*FRUITS_CORE_INSTANCE_TYPE"):
        core_type(settings)


@pytest.mark.parametrize(("primary", "core"), [("m6i.xlarge", "c5.4xlarge"), ("m6g.xlarge", "c7g.4xlarge")])
def test_nodes_of_one_architecture_fit(primary: str, core: str) -> None:
    require_fit(Settings(primary_instance_type=primary, core_instance_type=core))


@pytest.mark.parametrize(("primary", "core"), [("r5.xlarge", "m7g.2xlarge"), ("m7g.2xlarge", "r5.xlarge")])
def test_nodes_of_two_architectures_are_refused_and_both_settings_named(primary: str, core: str) -> None:
    with pytest.raises(UnfitInstanceTypeError) as refused:
        require_fit(Settings(primary_instance_type=primary, core_instance_type=core))
    message = str(refused.value)
    assert "FRUITS_PRIMARY_INSTANCE_TYPE" in message
    assert "FRUITS_CORE_INSTANCE_TYPE" in message
    assert "set both to Graviton types, for example m7g.2xlarge and r6g.xlarge, or neither" in message


def test_tensorflow_is_refused_where_it_has_no_packages() -> None:
    graviton = Settings(primary_instance_type="m6g.xlarge", core_instance_type="m6g.xlarge", engine=TENSORFLOW)
    with pytest.raises(UnfitInstanceTypeError, match=r"^FRUITS_ENGINE=tensorflow has packages for x86-64 only"):
        require_fit(graviton)
