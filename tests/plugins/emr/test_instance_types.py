from __future__ import annotations

from dataclasses import replace

import pytest

from fruit_pipeline.emr.instance_types import core_type, instance_type, primary_type, require_x86, vcpus
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


def test_a_graviton_type_is_refused_by_the_processor_that_the_packages_are_for() -> None:
    require_x86(instance_type("m6i.2xlarge"))
    with pytest.raises(UnfitInstanceTypeError, match=r"'r6gd\.2xlarge'.*x86-64 only.*FRUITS_PRIMARY_INSTANCE_TYPE.*r6i\.2xlarge"):
        require_x86(instance_type("r6gd.2xlarge", "FRUITS_PRIMARY_INSTANCE_TYPE"))
