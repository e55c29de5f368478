"""Tells what a run's clusters took and cost, beside what was planned.

It is a guide, not a bill: it is made from what EMR tells of the instances, and from the settings' table of prices.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

from fruit_contract.release import EXTRACT_FEATURES_STEP
from fruit_pipeline.emr.nodes.fleets import sibling_types
from fruit_pipeline.emr.nodes.instance_types import vcpus
from fruit_pipeline.emr.states import EmrStepState
from fruit_pipeline.errors import UnknownInstanceTypeError
from fruit_pipeline.planning.estimate import MeasuredSpeed
from fruit_pipeline.settings import SPOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fruit_contract.summaries import ExtractionSummary
    from fruit_pipeline.emr.cluster_facts import ClusterFacts
    from fruit_pipeline.planning.estimate import Estimate
    from fruit_pipeline.settings import Settings

# Fewer images take so little time that starting and ending weigh too much.
FEWEST_IMAGES_TO_TELL: Final = 2_000
# EC2 and EMR charge by the second, and for a minute at least.
_LEAST_SECONDS: Final = 60


class InstanceHours(TypedDict):
    """Describes the nodes of one type, bought in one way. `euros` is None if the type has no price, here and below."""

    market: str
    instance_type: str
    hours: float
    euros: float | None


class PlannedCost(TypedDict):
    """Holds what the plan foresaw."""

    minutes: float
    euros: float | None
    euros_per_thousand_images: float | None
    core_instances: int
    task_instances: int
    task_market: str
    images_per_second_per_vcpu: float
    speed: str


class Ratios(TypedDict):
    """Says how many times as much as planned it was; None if the one or the other is not known."""

    minutes: float | None
    euros: float | None


class Receipt(TypedDict):
    """Says what a run's clusters took and cost, and what was planned. `measured_speed` is a MeasuredSpeed as a
    dictionary.
    """

    clusters: list[str]
    still_running: list[str]
    cluster_minutes: float
    instance_hours: list[InstanceHours]
    euros: float | None
    images: int
    euros_per_thousand_images: float | None
    planned: PlannedCost
    actual_to_planned: Ratios
    measured_speed: dict[str, Any] | None


def receipt(
    planned: Estimate,
    clusters: Sequence[ClusterFacts],
    images: int,
    settings: Settings,
    *,
    read_at: datetime,
    measured: MeasuredSpeed | None = None,
) -> Receipt:
    """Returns the sums over all `clusters` that a run had, and what was planned beside them.

    `images` are those that were computed. What has not ended is counted up to `read_at`, when EMR was asked. Euros are
    None if a price is not known.
    """
    hours = _instance_hours(clusters, settings, read_at)
    minutes = sum(_seconds(cluster["created_at"], cluster["ended_at"], read_at) for cluster in clusters) / 60
    costs = [row["euros"] for row in hours if row["euros"] is not None]
    euros = sum(costs, 0.0) if len(costs) == len(hours) else None
    return {
        "clusters": [cluster["id"] for cluster in clusters],
        "still_running": [cluster["id"] for cluster in clusters if not cluster["ended_at"]],
        "cluster_minutes": round(minutes, 1),
        "instance_hours": [
            {**row, "hours": round(row["hours"], 3), "euros": _rounded(row["euros"], 4)} for row in hours
        ],
        "euros": _rounded(euros, 2),
        "images": images,
        "euros_per_thousand_images": _per_thousand(euros, images),
        "planned": {
            "minutes": planned.minutes,
            "euros": planned.euros,
            "euros_per_thousand_images": _per_thousand(planned.euros, images),
            "core_instances": planned.core_instances,
            "task_instances": planned.task_instances,
            "task_market": planned.task_market,
            "images_per_second_per_vcpu": planned.assumptions["images_per_second_per_vcpu"],
            "speed": planned.assumptions["speed"],
        },
        "actual_to_planned": {"minutes": _ratio(minutes, planned.minutes), "euros": _ratio(euros, planned.euros)},
        "measured_speed": measured.as_dict() if measured else None,
    }


def receipt_lines(receipt: Receipt) -> list[str]:
    """Returns the receipt in words, for the task's log."""
    planned, ratios = receipt["planned"], receipt["actual_to_planned"]
    minutes = f"{receipt['cluster_minutes']:,.1f} minutes, planned {planned['minutes']:,.1f}{_times(ratios['minutes'])}"
    cost = f"{_euros(receipt['euros'])}, planned {_euros(planned['euros'])}{_times(ratios['euros'])}"
    lines = [f"Clusters ({', '.join(receipt['clusters']) or 'none'}): {minutes}.", f"Cost: {cost}."]
    if receipt["euros_per_thousand_images"] is not None:
        lines.append(
            f"For 1,000 of {receipt['images']:,} computed images: {receipt['euros_per_thousand_images']:.4f} EUR."
        )
    lines += _hours_lines(receipt["instance_hours"])
    measured = receipt["measured_speed"]
    if measured:
        lines.append(
            f"Speed: {measured['images_per_second_per_vcpu']:.1f} images/s a vCPU, "
            f"planned {planned['images_per_second_per_vcpu']:.1f} ({planned['speed']})."
        )
    if receipt["still_running"]:
        lines.append(f"Not ended when this was read, so it costs more: {', '.join(receipt['still_running'])}.")
    return lines


def spent_lines(clusters: Sequence[ClusterFacts], settings: Settings, read_at: datetime) -> list[str]:
    """Returns what clusters took and cost, in words, if no plan is left to compare with."""
    return [
        f"Clusters: {', '.join(cluster['id'] for cluster in clusters)}.",
        *_hours_lines(_instance_hours(clusters, settings, read_at)),
    ]


def _hours_lines(rows: Iterable[InstanceHours]) -> list[str]:
    return [
        f"{row['hours']:,.2f} hours of {row['market']} {row['instance_type']}: {_euros(row['euros'])}." for row in rows
    ]


def measured_speed(
    summary: ExtractionSummary | None, cluster: ClusterFacts, settings: Settings
) -> MeasuredSpeed | None:
    """Returns how fast the features step was by its `summary`, on the nodes that the `cluster` had meanwhile.

    Returns None if the step did not end well, if it computed too few images to tell, or if it is not known which nodes
    those were.
    """
    speed = summary["images_per_second"] if summary else None
    if summary is None or not speed or summary["images_computed"] < FEWEST_IMAGES_TO_TELL:
        return None
    steps = [
        step
        for step in cluster["steps"]
        if step["name"] == EXTRACT_FEATURES_STEP and step["state"] == EmrStepState.COMPLETED
    ]
    started_at, ended_at = (steps[-1]["started_at"], steps[-1]["ended_at"]) if steps else (None, None)
    try:
        n_vcpus = _mean_vcpus(cluster, started_at, ended_at) if started_at and ended_at else 0
    except UnknownInstanceTypeError:
        return None
    if not n_vcpus:
        return None
    return MeasuredSpeed(
        round(speed / n_vcpus, 2), str(summary["engine"]), settings.core_instance_type, str(summary["run_id"])
    )


def _mean_vcpus(cluster: ClusterFacts, started_at: str, ended_at: str) -> float:
    """Returns the vCPUs of the core and task nodes, as a mean over the time of the step, because nodes come and go."""
    start, end = datetime.fromisoformat(started_at), datetime.fromisoformat(ended_at)
    vcpu_seconds = 0.0
    for instance in cluster["instances"]:
        if instance["role"] in {"CORE", "TASK"} and instance["ready_at"]:
            since = max(start, datetime.fromisoformat(instance["ready_at"]))
            until = min(end, datetime.fromisoformat(instance["ended_at"] or ended_at))
            vcpu_seconds += vcpus(instance["instance_type"] or "") * max(0.0, (until - since).total_seconds())
    length = (end - start).total_seconds()
    return vcpu_seconds / length if length > 0 else 0.0


def _instance_hours(clusters: Iterable[ClusterFacts], settings: Settings, read_at: datetime) -> list[InstanceHours]:
    """Returns a row for each market and instance type. Euros are None if the type has no price."""
    hours: defaultdict[tuple[str, str], float] = defaultdict(float)
    for cluster in clusters:
        for instance in cluster["instances"]:
            start, end = instance["created_at"] or cluster["created_at"], instance["ended_at"] or cluster["ended_at"]
            key = (instance["market"], instance["instance_type"] or "unknown type")
            hours[key] += max(_LEAST_SECONDS, _seconds(start, end, read_at)) / 3600
    rows: list[InstanceHours] = []
    for (market, instance_type), n_hours in sorted(hours.items()):
        price = _price(instance_type, settings)
        share = settings.spot_price_share if market == SPOT else 1
        euros = None if price is None else n_hours * price * share
        rows.append({"market": market, "instance_type": instance_type, "hours": n_hours, "euros": euros})
    return rows


def _price(instance_type: str, settings: Settings) -> float | None:
    """Returns the price of an hour of a type, or None if it is not known. A type without a price of its own that EMR
    took in place of the set one costs about as much as that.
    """
    for name in (instance_type, settings.core_instance_type, settings.primary_instance_type):
        if name in settings.prices and (name == instance_type or instance_type in sibling_types(name, settings.region)):
            return settings.prices[name]
    return None


def _seconds(start: str | None, end: str | None, read_at: datetime) -> float:
    if not start:
        return 0.0
    return max(0.0, ((datetime.fromisoformat(end) if end else read_at) - datetime.fromisoformat(start)).total_seconds())


def _per_thousand(euros: float | None, images: int) -> float | None:
    return None if euros is None or not images else round(1000 * euros / images, 4)


def _ratio(actual: float | None, planned: float | None) -> float | None:
    return None if actual is None or not planned else round(actual / planned, 2)


def _rounded(value: float | None, decimals: int) -> float | None:
    return None if value is None else round(value, decimals)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.2f} times as much)"


def _euros(value: float | None) -> str:
    return "price not known" if value is None else f"{value:.2f} EUR"
