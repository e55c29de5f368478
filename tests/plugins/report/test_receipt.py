"""Checks what a run's clusters took and cost, from what EMR tells of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.emr.cluster_facts import ClusterFacts, cluster_facts
from fruit_pipeline.planning.estimate import MeasuredSpeed, Nodes, estimate
from fruit_pipeline.report.receipt import FEWEST_IMAGES_TO_TELL, Receipt, measured_speed, receipt, receipt_lines
from fruit_pipeline.settings import ON_DEMAND, SPOT, Settings

SETTINGS = replace(Settings(), prices_eur_per_hour=(("m5.2xlarge", 0.5), ("m5.xlarge", 0.25)), spot_price_share=0.4)
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FLEETS = [{"Id": f"if-{role}", "InstanceFleetType": role} for role in ("MASTER", "CORE", "TASK")]
PLANNED = estimate(10**6, SETTINGS, nodes=Nodes(2, 1))


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def timeline(start: float, end: float | None, ready: float | None = None) -> dict[str, Any]:
    moments = {"CreationDateTime": start, "ReadyDateTime": ready, "EndDateTime": end}
    return {
        "State": "TERMINATED" if end is not None else "RUNNING",
        "Timeline": {k: at(v) for k, v in moments.items() if v is not None},
    }


def instance(
    role: str, start: float, end: float | None, kind: str = "m5.xlarge", market: str = "ON_DEMAND"
) -> dict[str, Any]:
    status = timeline(start, end, ready=start + 5)
    return {"Id": "ci-1", "InstanceFleetId": f"if-{role}", "InstanceType": kind, "Market": market, "Status": status}


def step(
    name: str = "extract_features", start: float = 10, end: float | None = 50, state: str = "COMPLETED"
) -> dict[str, Any]:
    moments = {"StartDateTime": at(start)} | ({"EndDateTime": at(end)} if end is not None else {})
    return {"Id": "s-1", "Name": name, "Status": {"State": state, "Timeline": moments}}


def facts(
    *instances: dict[str, Any], end: float | None = 60, steps: tuple[dict[str, Any], ...] = (step(),), name: str = "j-1"
) -> ClusterFacts:
    """Returns the facts of a cluster that was asked for at noon, as JSON keeps them."""
    cluster = {"Id": name, "ReleaseLabel": "emr-7.14.0", "Status": timeline(0, end)}
    kept: ClusterFacts = json.loads(json.dumps(cluster_facts(cluster, steps, instances, FLEETS)))
    return kept


def receipt_of(
    *clusters: ClusterFacts, images: int = 10**6, settings: Settings = SETTINGS, minute: float = 90
) -> Receipt:
    made = receipt(PLANNED, clusters, images, settings, read_at=at(minute))
    assert json.loads(json.dumps(made)) == made
    return made


def hours_of(made: Receipt) -> dict[tuple[str, str], tuple[float, float | None]]:
    return {(row["market"], row["instance_type"]): (row["hours"], row["euros"]) for row in made["instance_hours"]}


def test_adds_the_hours_of_every_instance_by_market_and_type() -> None:
    made = receipt_of(
        facts(
            instance("MASTER", 0, 60),
            instance("CORE", 0, 60),
            instance("CORE", 0, 60),
            instance("TASK", 0, 30, market="SPOT"),
        )
    )
    assert hours_of(made) == {(ON_DEMAND, "m5.xlarge"): (3.0, 0.75), (SPOT, "m5.xlarge"): (0.5, 0.05)}
    assert (made["cluster_minutes"], made["euros"], made["clusters"], made["still_running"]) == (60.0, 0.8, ["j-1"], [])
    assert made["euros_per_thousand_images"] == 0.0008


def test_several_clusters_of_a_run_are_summed() -> None:
    one, two = facts(instance("CORE", 0, 60)), facts(instance("CORE", 0, 30), end=30, name="j-2")
    made = receipt_of(one, two)
    assert (made["cluster_minutes"], made["clusters"]) == (90.0, ["j-1", "j-2"])
    assert hours_of(made) == {(ON_DEMAND, "m5.xlarge"): (1.5, 0.375)}


def test_what_has_not_ended_is_counted_until_it_was_looked_at_and_named() -> None:
    made = receipt_of(facts(instance("CORE", 0, None), end=None), minute=90)
    assert (made["cluster_minutes"], made["still_running"]) == (90.0, ["j-1"])
    assert hours_of(made) == {(ON_DEMAND, "m5.xlarge"): (1.5, 0.375)}
    assert receipt_lines(made)[-1] == "Not ended when this was read, so it costs more: j-1."


def test_an_instance_without_an_end_ended_with_its_cluster() -> None:
    assert hours_of(receipt_of(facts(instance("CORE", 0, None), end=60))) == {(ON_DEMAND, "m5.xlarge"): (1.0, 0.25)}


def test_a_minute_is_the_least_that_is_charged() -> None:
    assert hours_of(receipt_of(facts(instance("TASK", 10, 10.1)))) == {(ON_DEMAND, "m5.xlarge"): (0.017, 0.0042)}


def test_a_spot_node_that_never_came_costs_nothing() -> None:
    waiting = instance("TASK", 5, None, market="SPOT")
    waiting["Status"]["State"] = "AWAITING_FULFILLMENT"
    assert hours_of(receipt_of(facts(waiting))) == {}


def test_a_type_that_emr_took_in_place_of_the_set_one_is_priced_like_it() -> None:
    assert hours_of(receipt_of(facts(instance("CORE", 0, 60, "m6a.xlarge")))) == {
        (ON_DEMAND, "m6a.xlarge"): (1.0, 0.25)
    }
    larger = replace(SETTINGS, primary_instance_type="m5.2xlarge")
    assert hours_of(receipt_of(facts(instance("MASTER", 0, 60, "m5a.2xlarge")), settings=larger)) == {
        (ON_DEMAND, "m5a.2xlarge"): (1.0, 0.5)
    }


@pytest.mark.parametrize("kind", ["m7g.xlarge", "m6a.4xlarge", None])
def test_a_price_that_is_not_known_is_said_and_not_guessed(kind: str | None) -> None:
    unpriced = instance("CORE", 0, 60, "m5.xlarge") | {"InstanceType": kind}
    made = receipt_of(facts(instance("MASTER", 0, 60), unpriced))
    assert (made["euros"], made["euros_per_thousand_images"], made["actual_to_planned"]["euros"]) == (None, None, None)
    assert hours_of(made)[ON_DEMAND, "m5.xlarge"] == (1.0, 0.25)
    assert "Cost: price not known, planned" in receipt_lines(made)[1]


def test_compares_with_the_plan() -> None:
    made = receipt_of(facts(*(instance("CORE", 0, 2 * PLANNED.minutes) for _ in range(3)), end=2 * PLANNED.minutes))
    assert made["planned"] == {
        "minutes": PLANNED.minutes,
        "euros": PLANNED.euros,
        "euros_per_thousand_images": pytest.approx(PLANNED.euros / 1000, abs=5e-5),
        "core_instances": 2,
        "task_instances": 1,
        "task_market": SPOT,
        "images_per_second_per_vcpu": 30.0,
        "speed": "assumed",
    }
    assert made["actual_to_planned"]["minutes"] == 2.0
    assert made["actual_to_planned"]["euros"] == pytest.approx(made["euros"] / PLANNED.euros, abs=0.01)


def test_without_images_there_is_no_price_of_a_thousand() -> None:
    made = receipt_of(facts(instance("CORE", 0, 60)), images=0)
    assert made["euros_per_thousand_images"] is made["planned"]["euros_per_thousand_images"] is None
    assert not any("1,000" in line for line in receipt_lines(made))


def test_a_run_whose_cluster_was_never_made_has_a_receipt_of_nothing() -> None:
    made = receipt_of()
    assert (made["clusters"], made["cluster_minutes"], made["euros"]) == ([], 0.0, 0.0)
    assert receipt_lines(made)[0].startswith("Clusters (none): 0.0 minutes, planned ")


def test_says_it_in_words() -> None:
    speed = MeasuredSpeed(42.0, "litert", "m5.xlarge", "manual__1")
    clusters = [facts(instance("CORE", 0, 60), instance("TASK", 0, 30, "m6i.xlarge", "SPOT"))]
    made = receipt(PLANNED, clusters, 2000, SETTINGS, read_at=at(90), measured=speed)
    assert made["measured_speed"] == speed.as_dict()
    assert receipt_lines(made) == [
        "Clusters (j-1): 60.0 minutes, planned 58.3 (1.03 times as much).",
        "Cost: 0.30 EUR, planned 0.83 EUR (0.36 times as much).",
        "For 1,000 of 2,000 computed images: 0.1500 EUR.",
        "1.00 hours of on-demand m5.xlarge: 0.25 EUR.",
        "0.50 hours of spot m6i.xlarge: 0.05 EUR.",
        "Speed: 42.0 images/s a vCPU, planned 30.0 (assumed).",
    ]


MINUTES = st.floats(0, 600)
INSTANCES = st.builds(
    lambda role, start, length, market: instance(
        role, start, None if length is None else start + length, market=market
    ),
    st.sampled_from(["MASTER", "CORE", "TASK"]),
    MINUTES,
    st.none() | MINUTES,
    st.sampled_from(["SPOT", "ON_DEMAND"]),
)


@given(st.lists(INSTANCES, max_size=6), st.lists(INSTANCES, max_size=6), st.none() | MINUTES)
def test_the_sum_of_two_clusters_is_that_of_their_receipts(
    first: list[Any], second: list[Any], end: float | None
) -> None:
    one, two = facts(*first, end=end), facts(*second, end=end, name="j-2")
    both, alone = receipt_of(one, two), [receipt_of(one), receipt_of(two)]
    assert both["euros"] == pytest.approx(sum(made["euros"] for made in alone), abs=0.02)
    assert both["cluster_minutes"] == pytest.approx(sum(made["cluster_minutes"] for made in alone), abs=0.2)
    hours = sum(row["hours"] for row in both["instance_hours"])
    assert hours >= (len(first) + len(second)) * 0.016
    assert receipt_of(one, two, minute=700)["euros"] >= both["euros"]


SUMMARY: Any = {"run_id": "manual__1", "engine": "litert", "images_computed": 100_000, "images_per_second": 240.0}
NODES = (instance("MASTER", 0, 60), instance("CORE", 0, 60), instance("CORE", 0, 60))


def test_the_speed_is_that_of_the_features_step_on_the_nodes_it_had() -> None:
    assert measured_speed(SUMMARY, facts(*NODES), SETTINGS) == MeasuredSpeed(30.0, "litert", "m5.xlarge", "manual__1")


def test_nodes_count_for_the_time_they_worked_on_the_step() -> None:
    half = instance("TASK", 25, 90, market="SPOT")  # ready at 30, in the middle of the step
    speed = measured_speed(SUMMARY, facts(*NODES, half, end=None), SETTINGS)
    assert speed
    assert speed.images_per_second_per_vcpu == pytest.approx(240 / 10)
    gone = instance("TASK", 51, 60)
    assert measured_speed(SUMMARY, facts(*NODES, gone), SETTINGS) == measured_speed(SUMMARY, facts(*NODES), SETTINGS)


def test_of_several_tries_the_one_that_was_completed_counts() -> None:
    tries = (step(start=1, end=2, state="FAILED"), step(start=10, end=50), step("refresh_pca", 51, 55))
    assert measured_speed(SUMMARY, facts(*NODES, steps=tries), SETTINGS) == measured_speed(
        SUMMARY, facts(*NODES), SETTINGS
    )


@pytest.mark.parametrize(
    "summary",
    [
        SUMMARY | {"images_computed": FEWEST_IMAGES_TO_TELL - 1},
        SUMMARY | {"images_computed": None, "images_per_second": None},
        SUMMARY | {"images_per_second": None},
        None,
    ],
)
def test_too_few_images_tell_no_speed(summary: Any) -> None:
    assert measured_speed(summary, facts(*NODES), SETTINGS) is None


def test_two_thousand_images_tell_a_speed() -> None:
    assert measured_speed(SUMMARY | {"images_computed": FEWEST_IMAGES_TO_TELL}, facts(*NODES), SETTINGS) is not None


@pytest.mark.parametrize(
    "cluster",
    [
        facts(instance("MASTER", 0, 60)),
        facts(*NODES, steps=()),
        facts(*NODES, steps=(step(state="FAILED"),)),
        facts(*NODES, steps=(step(start=10, end=10),)),
        facts(*NODES, instance("TASK", 0, 60, "m5.metal")),
        facts(*NODES, instance("TASK", 0, 60) | {"InstanceType": None}),
        facts(),
    ],
)
def test_where_the_nodes_are_not_known_no_speed_is_told(cluster: ClusterFacts) -> None:
    assert measured_speed(SUMMARY, cluster, SETTINGS) is None


def test_without_fleets_nobody_knows_which_nodes_worked() -> None:
    cluster = {"Id": "j-1", "Status": timeline(0, 60)}
    assert measured_speed(SUMMARY, cluster_facts(cluster, [step()], NODES), SETTINGS) is None
