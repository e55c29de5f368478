"""Where the product may run: EMR regions inside the EU.

London (eu-west-2) and Zurich (eu-central-2) bear an `eu-` name and are not in the EU.
"""

from __future__ import annotations

from typing import Final

from fruit_contract.errors import RefusedError

DEFAULT_REGION: Final = "eu-west-1"
EU_REGIONS: Final = frozenset({"eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"})


class RegionNotAllowedError(RefusedError):
    """A region outside the EU. Raised before anything is created."""


def require_eu_region(region: str) -> str:
    """Returns `region` if it is inside the EU; raises RegionNotAllowedError otherwise."""
    if region not in EU_REGIONS:
        allowed = ", ".join(sorted(EU_REGIONS))
        raise RegionNotAllowedError(
            f"Region '{region}' is not inside the EU: images may be processed only in {allowed}. Set FRUITS_AWS_REGION to one of them."
        )
    return region
