"""Says where the product may run: in EMR regions inside the EU.

London (eu-west-2) and Zurich (eu-central-2) have names that begin with `eu-`, but are not in the EU.
"""

from __future__ import annotations

from typing import Final

from fruit_contract.errors import RefusedError

DEFAULT_REGION: Final = "eu-west-1"
EU_REGIONS: Final = frozenset({"eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"})


class RegionNotAllowedError(RefusedError):
    """Raised for a region outside the EU, before anything is created."""


def require_eu_region(region: str) -> str:
    """Returns `region`. Raises RegionNotAllowedError if it is not inside the EU."""
    if region not in EU_REGIONS:
        allowed = ", ".join(sorted(EU_REGIONS))
        raise RegionNotAllowedError(
            f"Region '{region}' is not inside the EU: images may be processed only in {allowed}. Set FRUITS_AWS_REGION "
            "to one of them."
        )
    return region
