"""What a run is about to do, how long it should take and what it should cost: shown before money is spent."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.lake import MANIFEST, SUCCESS_MARKER, LakeNameError, check_category, parse_image_key, raw_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fruit_pipeline.settings import Settings
    from fruit_pipeline.stored_object import StoredObject

STRAYS_NAMED: Final = 20
_VCPUS_PER_XLARGE: Final = 4
_VCPUS_OF_LARGE: Final = 2
_XLARGE: Final = re.compile(r"(\d*)xlarge")


class UnknownInstanceTypeError(ValueError):
    """An instance type whose number of vCPUs its name does not tell."""


@dataclass(frozen=True)
class Estimate:
    """The estimate's result, with the assumptions it stands on. `euros` is None when a price is not known."""

    core_instances: int
    minutes: float
    euros: float | None
    assumptions: dict[str, Any]


@dataclass(frozen=True)
class RunPlan:
    """What was found under one ingest date. Small enough for XCom: `strays` names the first few only.

    `images` are all listed images of the chosen categories; what is already known is not subtracted here.
    `strays` are keys that are neither images nor the delivery's own files, so nothing will be done with them.
    """

    ingest_date: str
    categories: list[str]
    images: int
    size_bytes: int
    images_by_category: dict[str, int]
    missing_categories: list[str]
    n_strays: int
    strays: list[str]
    estimate: Estimate

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan_of_listing(ingest_date: str, objects: Iterable[StoredObject], categories: Sequence[str], settings: Settings) -> RunPlan:
    """The plan for the objects listed under `raw/ingest_date=<ingest_date>/`; no `categories` means all of them."""
    by_category: Counter[str] = Counter()
    size_bytes = n_strays = 0
    strays: list[str] = []
    for stored in objects:
        category = image_category(stored.key, ingest_date)
        if category is None:
            if _is_stray(stored.key, ingest_date):
                n_strays += 1
                if len(strays) < STRAYS_NAMED:
                    strays.append(stored.key)
        elif not categories or category in categories:
            by_category[category] += 1
            size_bytes += stored.size_bytes
    images = by_category.total()
    return RunPlan(
        ingest_date=ingest_date,
        categories=list(categories),
        images=images,
        size_bytes=size_bytes,
        images_by_category=dict(sorted(by_category.items())),
        missing_categories=[category for category in categories if category not in by_category],
        n_strays=n_strays,
        strays=strays,
        estimate=estimate(images, settings),
    )


def image_category(key: str, ingest_date: str) -> str | None:
    """The category of an image's key of this ingest date, or None if the key is not such an image's."""
    parts = parse_image_key(key)
    if parts is None or parts.ingest_date != ingest_date:
        return None
    try:
        return check_category(parts.category)
    except LakeNameError:
        return None


def estimate(images: int, settings: Settings) -> Estimate:
    """Minutes from the request to the end of the last step, and what the instances cost meanwhile.

    minutes = start of the cluster + fixed work + images / (images per second of all core vCPUs);
    euros = minutes x the hourly price of all instances. No images need no cluster: zero of both.
    """
    n_core = settings.core_instance_count
    images_per_second = settings.images_per_second_per_vcpu * vcpus(settings.core_instance_type) * n_core
    minutes = settings.cluster_start_minutes + settings.fixed_work_minutes + images / images_per_second / 60 if images else 0.0
    primary_price = settings.prices.get(settings.primary_instance_type)
    core_price = settings.prices.get(settings.core_instance_type)
    euros = None
    if primary_price is not None and core_price is not None:
        euros = round(minutes / 60 * (primary_price + core_price * n_core), 2)
    return Estimate(
        core_instances=n_core if images else 0,
        minutes=round(minutes, 1),
        euros=euros,
        assumptions={
            "primary_instance_type": settings.primary_instance_type,
            "core_instance_type": settings.core_instance_type,
            "images_per_second_per_vcpu": settings.images_per_second_per_vcpu,
            "cluster_start_minutes": settings.cluster_start_minutes,
            "fixed_work_minutes": settings.fixed_work_minutes,
            "eur_per_hour": {settings.primary_instance_type: primary_price, settings.core_instance_type: core_price},
        },
    )


def vcpus(instance_type: str) -> int:
    """The vCPUs of an EC2 instance type, from its size: large 2, xlarge 4, <n>xlarge 4n.

    Raises UnknownInstanceTypeError for sizes that do not follow the rule (metal, small).
    """
    size = instance_type.rpartition(".")[2]
    if size == "large":
        return _VCPUS_OF_LARGE
    match = _XLARGE.fullmatch(size)
    if not match:
        raise UnknownInstanceTypeError(
            f"How many vCPUs '{instance_type}' has is not known. "
            "Set FRUITS_CORE_INSTANCE_TYPE to a size of large, xlarge or <n>xlarge, for example m5.2xlarge."
        )
    return _VCPUS_PER_XLARGE * int(match.group(1) or 1)


def summary_lines(plan: RunPlan) -> list[str]:
    """The plan in words, for the task's log."""
    size = plan.size_bytes / 1e6
    lines = [f"{plan.ingest_date}: {plan.images:,} images in {len(plan.images_by_category)} categories, {size:,.1f} MB."]
    if plan.missing_categories:
        lines.append(f"Asked for, but nothing was delivered: {', '.join(plan.missing_categories)}.")
    if plan.n_strays:
        named = ", ".join(plan.strays) + (" and more" if plan.n_strays > len(plan.strays) else "")
        lines.append(f"{plan.n_strays:,} objects are in no category folder or no image, and are left alone: {named}.")
    if plan.images:
        kind, price = plan.estimate.assumptions["core_instance_type"], plan.estimate.euros
        cost = f"about {price:.2f} EUR" if price is not None else "cost unknown (set FRUITS_PRICES_EUR_PER_HOUR for these instance types)"
        lines.append(
            f"Plan: 1 primary and {plan.estimate.core_instances} core nodes ({kind}), about {plan.estimate.minutes:.0f} minutes, {cost}."
        )
    return lines


def _is_stray(key: str, ingest_date: str) -> bool:
    """Folder placeholders and the delivery's own files are no strays."""
    name = key.removeprefix(raw_prefix(ingest_date))
    return not key.endswith("/") and name not in {SUCCESS_MARKER, MANIFEST}
