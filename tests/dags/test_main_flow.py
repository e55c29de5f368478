from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),  # Airflow's own
]

FLOW = {
    "wait_for_batch": {"plan_run"},
    "plan_run": {
        "create_cluster",
        "extract_features",
        "refresh_pca",
        "terminate_cluster",
        "write_receipt",
        "check_output",
        "publish_report",
    },
    "create_cluster": {"extract_features", "refresh_pca", "publish_report", "terminate_cluster"},
    "extract_features": {"refresh_pca"},
    "refresh_pca": {"check_output", "terminate_cluster"},
    "terminate_cluster": {"write_receipt"},
    "write_receipt": {"publish_report"},
    "check_output": {"publish_report"},
    "publish_report": set(),
}


def test_the_flow_is_as_drawn(main_dag: Any) -> None:
    assert {task.task_id: task.downstream_task_ids for task in main_dag.tasks} == FLOW


def test_the_cluster_is_a_setup_with_a_teardown_that_always_runs(main_dag: Any) -> None:
    create, terminate = main_dag.get_task("create_cluster"), main_dag.get_task("terminate_cluster")
    assert create.is_setup
    assert main_dag.get_task("plan_run").is_setup  # so the teardown runs although create_cluster failed
    assert not create.wait_for_completion
    assert terminate.is_teardown
    assert terminate.on_failure_fail_dagrun
    assert terminate.trigger_rule == "all_done_setup_success"


def test_a_plain_leaf_that_needs_every_step_decides_the_run(main_dag: Any) -> None:
    (leaf,) = main_dag.leaves
    assert (leaf.task_id, leaf.trigger_rule) == ("publish_report", "all_success")
    assert "check_output" in leaf.upstream_task_ids
    assert main_dag.get_task("terminate_cluster")._deciding_task_id == leaf.task_id


def test_the_receipt_is_written_whatever_happened_and_decides_nothing(main_dag: Any) -> None:
    receipt = main_dag.get_task("write_receipt")
    assert receipt.is_teardown
    assert receipt.trigger_rule == "all_done_setup_success"
    assert not receipt.on_failure_fail_dagrun


def test_a_cluster_is_asked_for_only_while_the_task_that_ends_it_has_not_run(main_dag: Any) -> None:
    assert main_dag.get_task(main_dag.get_task("create_cluster")._teardown_task_id).is_teardown


def test_every_task_is_tried_again_for_each_finds_what_it_had_started(main_dag: Any) -> None:
    retries = {task.task_id: task.retries for task in main_dag.tasks}
    assert all(count >= 2 for count in retries.values())
    assert retries["terminate_cluster"] >= 4


def test_long_waits_take_no_worker_slot_and_runs_take_turns_at_the_pca(main_dag: Any) -> None:
    deferrable = {task.task_id for task in main_dag.tasks if getattr(task, "deferrable", False)}
    assert deferrable == {"wait_for_batch", "extract_features", "refresh_pca", "terminate_cluster"}
    assert main_dag.get_task("refresh_pca")._one_at_a_time


def test_no_task_waits_where_airflow_has_neither_log_nor_time_out_for_it(main_dag: Any) -> None:
    assert {task.task_id for task in main_dag.tasks if task.max_active_tis_per_dag or task.retries > 10} == set()


def test_waits_are_long_enough_for_a_large_day(main_dag: Any) -> None:
    for name in ("extract_features", "refresh_pca"):
        assert main_dag.get_task(name)._patience.total_seconds() >= 6 * 3600
    assert main_dag.get_task("wait_for_batch").timeout > 24 * 3600


def test_people_are_told_when_a_run_fails_or_is_late(main_dag: Any) -> None:
    callbacks = main_dag.on_failure_callback
    (callback,) = callbacks if isinstance(callbacks, list) else [callbacks]
    assert callback.event == "run_failed"
    assert main_dag.has_on_success_callback
    (alert,) = main_dag.deadline if isinstance(main_dag.deadline, list) else [main_dag.deadline]
    assert alert.interval.total_seconds() > main_dag.get_task("wait_for_batch").timeout
    assert alert.callback.kwargs["event"] == "run_late"


def test_every_aws_task_names_region_connection_and_patience(main_dag: Any) -> None:
    for name in ("wait_for_batch", "create_cluster", "extract_features", "refresh_pca", "terminate_cluster"):
        task = main_dag.get_task(name)
        assert (task.region_name, task.aws_conn_id) == ("eu-west-1", "aws_default")
        assert task.botocore_config["retries"] == {"mode": "adaptive", "max_attempts": 10}
    assert main_dag.get_task("create_cluster").emr_conn_id is None


def test_a_waiting_run_leaves_room_for_others_and_the_past_is_not_caught_up(main_dag: Any) -> None:
    assert main_dag.max_active_runs >= 5  # two of them wait: each day's does for longer than a day
    assert main_dag.catchup is False
    assert main_dag.start_date is None
    assert main_dag.doc_md


def test_a_scheduled_run_is_about_its_own_day(main_dag: Any) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable = coerce_to_core_timetable(main_dag.timetable)
    earliest = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    info = timetable.next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=as_pendulum(earliest), latest=None, catchup=True),
    )
    assert info.run_after == info.logical_date == earliest
    assert (
        marker_uri(main_dag, {"ingest_date": None}, info.logical_date)
        == "s3://fruits-lake/raw/ingest_date=2026-11-22/_SUCCESS"
    )


def test_a_run_started_by_hand_waits_for_the_batch_of_the_day_asked_for_or_of_today(main_dag: Any) -> None:
    assert (
        marker_uri(main_dag, {"ingest_date": "2026-01-31"}, None)
        == "s3://fruits-lake/raw/ingest_date=2026-01-31/_SUCCESS"
    )
    assert marker_uri(main_dag, {"ingest_date": None}, None) == "s3://fruits-lake/raw/ingest_date=2026-11-25/_SUCCESS"


def test_a_range_waits_for_nothing(main_dag: Any) -> None:
    assert marker_uri(main_dag, {"ingest_date": "2026-11-01", "last_ingest_date": "2026-11-22"}, None) == ""


def test_other_dags_can_be_scheduled_on_what_was_found_sound(main_dag: Any) -> None:
    outlets = {asset.name: asset.uri for asset in main_dag.get_task("check_output").outlets}
    assert outlets == {
        "fruit_features": "s3://fruits-lake/features",
        "fruit_projections": "s3://fruits-lake/projections",
    }


def test_every_task_after_the_plan_works_where_the_plan_says(main_dag: Any) -> None:
    for name in ("create_cluster", "extract_features", "refresh_pca", "check_output"):
        task = main_dag.get_task(name)
        assert "place" in task.template_fields
        assert (task.place.operator.task_id, task.place.key) == ("plan_run", "place")


def test_the_dates_of_a_step_are_held_until_it_is_added(main_dag: Any) -> None:
    assert main_dag.get_task("extract_features")._needs_claim


def test_a_backfill_from_day_to_day_has_a_run_for_each_day_of_it(main_dag: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(main_dag))
    first, last = (as_pendulum(datetime(2026, 11, day, tzinfo=UTC)) for day in (20, 22))
    days = [info.logical_date.date().isoformat() for info in dag.iter_dagrun_infos_between(first, last)]
    assert days == ["2026-11-20", "2026-11-21", "2026-11-22"]


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"ingest_date": "2026-11-22"},
        {"ingest_date": None, "categories": []},
        {"categories": ["Äpfel 50%", "007"]},
        {"categories": None},
        {"categories": ["Kiwi", ""]},
        {"categories": [" Kiwi ", "   ", "Lemon\t", "Banana\r"]},
        {"ingest_date": "2026-11-01", "last_ingest_date": "2026-11-22"},
        {"pca_policy": "always"},
        {"pca_policy": None, "retry_rejected": True, "over_budget": True},
        {"accept_rejects": True, "switch_embedder": True},
    ],
)
def test_takes_a_day_and_categories(main_dag: Any, conf: dict[str, Any]) -> None:
    validate(main_dag, conf)
    assert {name: main_dag.params[name] for name in conf} == conf


@pytest.mark.parametrize(
    "conf",
    [
        {"ingest_date": "22.11.2026"},
        {"ingest_date": "2026-02-30"},
        {"ingest_date": 20261122},
        {"categories": "Kiwi"},
        {"categories": ["a/b"]},
        {"categories": ["_SUCCESS"]},
        {"categories": ["\t_x"]},
        {"categories": [7]},
        {"last_ingest_date": "soon"},
        {"pca_policy": "sometimes"},
        {"retry_rejected": "yes"},
        {"over_budget": 1},
        {"accept_rejects": "many"},
        {"switch_embedder": None},
    ],
)
def test_refuses_other_params_before_the_run_starts(main_dag: Any, conf: dict[str, Any]) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        validate(main_dag, conf)


def test_a_category_that_can_be_none_is_refused_in_words(main_dag: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError) as refused:
        validate(main_dag, {"categories": ["Kiwi", "a/b"]})
    text = " ".join(str(refused.value).split())
    assert "'a/b'" in text
    assert "a category is called as its folder" in text


def test_the_form_explains_itself(main_dag: Any) -> None:
    assert set(main_dag.params) >= {
        "ingest_date",
        "categories",
        "retry_rejected",
        "accept_rejects",
        "switch_embedder",
        "over_budget",
    }
    for name in main_dag.params:
        param = main_dag.params.get_param(name)
        assert param.schema["title"]
        assert param.description


def marker_uri(dag: Any, params: dict[str, Any], logical_date: datetime | None) -> str:
    """Returns what the sensor waits for, rendered as Airflow does, in a run that starts on 25 November."""
    run = SimpleNamespace(
        run_type="manual" if logical_date is None else "scheduled",
        logical_date=logical_date,
        run_after=datetime(2026, 11, 25, 9, 0, tzinfo=UTC),
    )
    template = dag.get_template_env().from_string(dag.get_task("wait_for_batch").bucket_key)
    return str(template.render(params={"last_ingest_date": None} | params, dag_run=run))


def validate(dag: Any, conf: dict[str, Any]) -> None:
    for name, value in conf.items():
        dag.params.get_param(name).resolve(value)


def as_pendulum(moment: datetime) -> Any:
    import pendulum

    return pendulum.instance(moment)
