from __future__ import annotations

import pytest

from fruit_contract.regions import DEFAULT_REGION, EU_REGIONS, RegionNotAllowedError, require_eu_region


def test_the_default_is_inside_the_eu() -> None:
    assert DEFAULT_REGION in EU_REGIONS
    assert require_eu_region(DEFAULT_REGION) == DEFAULT_REGION


@pytest.mark.parametrize("region", ["eu-west-2", "eu-central-2", "us-east-1", "", "EU-WEST-1", "eu-west-1 "])
def test_london_zurich_and_the_rest_of_the_world_are_refused(region: str) -> None:
    with pytest.raises(RegionNotAllowedError, match="FRUITS_AWS_REGION"):
        require_eu_region(region)
