from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from fruit_contract.lake import dates_claims_key, run_key
from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.claims.claims import PCA_TURN, Wish
from fruit_pipeline.emr.airflow_id import AIRFLOW_VARIABLE
from fruit_pipeline.emr.states import tags_of
from fruit_pipeline.errors import (
    NoReleaseError,
    RunTooLargeError,
    RunTooLongError,
    StepTooLongError,
    UnfitInstanceTypeError,
    UnknownInstanceTypeError,
)
from fruit_pipeline.places import Place, remember, remembered_places
from tests.plugins.memory_emr import AIRFLOW_ID, FILES, PLACE, SETTINGS, Emr, context, of_the_dag
from tests.plugins.sample_lake import DAY, RUN_ID, held_dates, hold_dates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fruit_pipeline.lake.store import Lake
    from fruit_pipeline.settings import Settings
    from tests.plugins.memory_variables import MemoryVariables
    from tests.plugins.sample_lake import SampleLake

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

OTHER = "manual__other"
LONG_AGO = "2026-01-01T00:00:00+00:00"
# The ways in which the end of the waiting comes back to the task: from the trigger, and from the scheduler if there is
# no triggerer.
TIMED_OUT = [
    ("execute", {"event": {"status": "time_out"}, "until": LONG_AGO}),
    ("__fail__", {"error": "Trigger timeout"}),
]


@pytest.fixture
def lake(sample_lake: SampleLake) -> Iterator[Lake]:
    """Yields a lake with a delivered date that is in no ledger yet."""
    sample_lake.delete_below("ledger/")
    with mock.patch(f"{FILES}.plan_run.lake_of", return_value=sample_lake.lake):
        yield sample_lake.lake


def plan_run(settings: Settings = SETTINGS) -> Any:
    from fruit_pipeline.operators.plan_run import PlanRunOperator

    return of_the_dag(lambda: PlanRunOperator(task_id="plan_run", settings=settings))


def asked_for(*, under_way: int = 0) -> Any:
    """Returns the context of a run of DAY. `under_way` is how many of the other runs that are asked about are under
    way.
    """
    found = context()
    run = SimpleNamespace(
        run_id=RUN_ID, run_type="manual", logical_date=None, run_after=datetime(2026, 11, 25, tzinfo=UTC)
    )
    flags = dict.fromkeys(("retry_rejected", "accept_rejects", "switch_embedder", "over_budget"), False)
    found |= {"dag_run": run, "params": {"ingest_date": DAY, "categories": None, "pca_policy": None, **flags}}
    found["ti"].get_dr_count.return_value = under_way
    return found


@contextmanager
def waits() -> Iterator[Any]:
    from airflow.sdk.exceptions import TaskDeferred

    seen = SimpleNamespace()
    with pytest.raises(TaskDeferred) as caught:
        yield seen
    seen.trigger, seen.method_name, seen.kwargs = caught.value.trigger, caught.value.method_name, caught.value.kwargs


def test_hands_on_what_the_other_tasks_need(emr: Emr, lake: Lake) -> None:
    operator = plan_run()
    assert operator.multiple_outputs
    planned = operator.execute(asked_for())
    assert planned["ingest_dates"] == [DAY]
    assert held_dates(lake) == {RUN_ID: [DAY]}


def test_a_cluster_is_asked_for_with_the_id_of_this_airflow(emr: Emr, lake: Lake, variables: MemoryVariables) -> None:
    assert tags_of(plan_run().execute(asked_for())["cluster_request"])["airflow"] == AIRFLOW_ID
    variables.values[AIRFLOW_VARIABLE] = "drawn before"
    assert tags_of(plan_run().execute(asked_for())["cluster_request"])["airflow"] == "drawn before"


def test_a_run_with_nothing_to_do_is_skipped_says_why_and_holds_nothing(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    found = asked_for()
    found["params"]["ingest_date"] = "2026-11-23"
    with pytest.raises(AirflowSkipException, match="Nothing to do"):
        plan_run().execute(found)
    assert found["ti"].xcom_push.call_args.kwargs["value"]["not_delivered"] == ["2026-11-23"]
    assert lake.read_json(run_key(RUN_ID))["plan"]["not_delivered"] == ["2026-11-23"]
    assert held_dates(lake) == {}


def test_a_security_configuration_whose_objects_no_step_could_read_is_refused_and_holds_nothing(
    emr: Emr, lake: Lake
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from fruit_pipeline.operators.plan_run import PlanRunOperator

    at_rest = {"S3EncryptionConfiguration": {"EncryptionMode": "CSE-KMS"}}
    document = json.dumps({"EncryptionConfiguration": {"AtRestEncryptionConfiguration": at_rest}})
    client = mock.Mock(describe_security_configuration=mock.Mock(return_value={"SecurityConfiguration": document}))
    settings = replace(SETTINGS, security_configuration="fruits")
    operator = of_the_dag(lambda: PlanRunOperator(task_id="plan_run", settings=settings))
    with (
        mock.patch(f"{FILES}.plan_run.emr_client", return_value=client),
        pytest.raises(AirflowFailException, match="'fruits' has EMR encrypt objects on the client's side"),
    ):
        operator.execute(asked_for())
    assert held_dates(lake) == {}


def test_waits_without_a_slot_while_another_run_holds_its_date_and_takes_it_then(emr: Emr, lake: Lake) -> None:
    hold_dates(lake, OTHER, DAY)
    operator = plan_run()
    with waits() as first:
        operator.execute(asked_for(under_way=1))
    assert (type(first.trigger).__name__, first.method_name) == ("ClaimsFreeTrigger", "execute")
    assert (first.trigger.key, first.trigger.wish) == (dates_claims_key(), Wish(RUN_ID, (DAY,)))
    until = datetime.fromisoformat(first.kwargs["until"])
    assert until - datetime.now(UTC) > timedelta(hours=2 * SETTINGS.step_timeout_hours)
    assert timedelta(minutes=1) >= first.trigger.look_again_at - datetime.now(UTC) > timedelta()
    assert first.trigger.waiting.until == first.kwargs["until"]
    # It looks whether the other run lives, and waits on until the same moment.
    with waits() as second:
        operator.execute(asked_for(under_way=1), event={"status": "ended"}, **first.kwargs)
    assert second.kwargs == first.kwargs
    DatesBook(lake).give_back(OTHER)
    assert operator.execute(asked_for(), event={"status": "ended"}, **second.kwargs)["ingest_dates"] == [DAY]


def test_the_date_of_a_run_that_ended_without_a_word_is_taken_over(emr: Emr, lake: Lake) -> None:
    hold_dates(lake, OTHER, DAY)
    cluster_id = emr.cluster("TERMINATING", run_id=OTHER)
    with waits():
        plan_run().execute(asked_for())
    emr.clusters[cluster_id]["Status"]["State"] = "TERMINATED"
    plan_run().execute(asked_for())
    assert held_dates(lake) == {RUN_ID: [DAY]}


@pytest.mark.parametrize("back", TIMED_OUT)
def test_a_date_that_is_not_given_back_in_time_fails_the_task_and_names_the_run(
    emr: Emr, lake: Lake, back: Any
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    hold_dates(lake, OTHER, DAY)
    with pytest.raises(
        AirflowFailException, match=rf"{DAY} \({OTHER}, since .*as long as they may hold them \(31\.6 hours\)"
    ):
        plan_run().resume_execution(*back, asked_for(under_way=1))


@pytest.mark.parametrize("back", TIMED_OUT)
def test_a_date_that_is_free_at_the_very_end_is_taken(emr: Emr, lake: Lake, back: Any) -> None:
    assert plan_run().resume_execution(*back, asked_for())["ingest_dates"] == [DAY]


def test_a_run_that_is_planned_anew_ends_its_cluster_first_and_gives_back_its_turn(emr: Emr, lake: Lake) -> None:
    """Its turn at the PCA would be in the way of the run that holds its dates."""
    emr.cluster("RUNNING", run_id=OTHER)
    mine = emr.cluster("WAITING")
    pca_book(lake).take(Wish(RUN_ID, (PCA_TURN,)), lambda _: True)
    operator = plan_run()
    for state in ("WAITING", "TERMINATING"):
        emr.clusters[mine]["Status"]["State"] = state
        with waits() as first:
            operator.execute(asked_for())
        assert (type(first.trigger).__name__, first.trigger.cluster_ids) == ("ClustersEndTrigger", [mine])
        assert emr.terminated == [mine]
    assert held_dates(lake) == {}
    assert pca_book(lake).read()
    emr.clusters[mine]["Status"]["State"] = "TERMINATED"
    operator.execute(asked_for(), event={"status": "ended", "states": {}})
    assert held_dates(lake) == {RUN_ID: [DAY]}
    assert pca_book(lake).read() == ()


def test_a_cluster_from_before_that_does_not_end_is_told_and_looked_for_again(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    mine = emr.cluster("TERMINATING")
    with pytest.raises(AirflowException, match=rf"{mine} \(TERMINATING\)") as caught:
        plan_run().execute(asked_for(), event={"status": "time_out"})
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    "error",
    [
        NoReleaseError,
        RunTooLargeError,
        RunTooLongError,
        StepTooLongError,
        UnfitInstanceTypeError,
        UnknownInstanceTypeError,
    ],
)
def test_a_run_that_is_refused_is_not_tried_again(emr: Emr, lake: Lake, error: type[Exception]) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with (
        mock.patch(f"{FILES}.plan_run.plan_run", side_effect=error("what to do")),
        pytest.raises(AirflowFailException, match="what to do"),
    ):
        plan_run().execute(asked_for())


def test_a_place_is_remembered_before_a_run_claims_a_date_in_it(emr: Emr, lake: Lake) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    remembered: list[set[Place]] = []

    def refuse(*_: Any) -> None:
        remembered.append(set(remembered_places()))
        raise NoReleaseError("nothing is published")

    with (
        mock.patch(f"{FILES}.plan_run.plan_run", refuse),
        pytest.raises(AirflowFailException, match="nothing is published"),
    ):
        plan_run().execute(asked_for())
    assert remembered == [{PLACE}]


def test_a_run_that_is_planned_anew_waits_for_the_end_of_its_cluster_where_it_was_planned_before(
    emr: Emr, lake: Lake
) -> None:
    changed = replace(SETTINGS, region="eu-central-1")
    emr.elsewhere["eu-central-1"] = Emr()
    mine = emr.cluster("TERMINATING")
    remember(PLACE)
    operator = plan_run(changed)
    with waits() as first:
        operator.execute(asked_for())
    assert (first.trigger.cluster_ids, first.trigger.waiting.region) == ([mine], PLACE.region)
    emr.clusters[mine]["Status"]["State"] = "TERMINATED"
    with mock.patch.object(lake.client, "get_bucket_location", return_value={"LocationConstraint": "eu-central-1"}):
        assert operator.execute(asked_for(), event={"status": "ended"})["place"] == Place.of(changed).as_dict()
