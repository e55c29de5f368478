from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from local_cloud.faults import Fault, FaultKind
from local_cloud.stack.sweep import STEP_MARK, is_alive, marked_processes
from tests.local_cloud.running_cloud import SECOND_LASTS, LocalCloud, error_of, shell, step

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def process_exists(mark: str) -> bool:
    return bool(marked_processes(STEP_MARK, mark))


def test_a_step_really_runs_and_its_logs_reach_the_log_uri(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("echo out; echo err >&2; aws s3 cp - s3://fruits-lake/made/by-step.txt <<< made"))
    status = cloud.wait_for_cluster(cluster, "TERMINATED")
    assert status["StateChangeReason"] == {"Code": "ALL_STEPS_COMPLETED", "Message": "Steps completed"}
    (done,) = cloud.steps(cluster)
    times = done["Status"]["Timeline"]
    assert done["Status"]["State"] == "COMPLETED"
    assert times["CreationDateTime"] <= times["StartDateTime"] < times["EndDateTime"]
    assert cloud.log(cluster, f"steps/{done['Id']}/stdout") == "out\n"
    assert cloud.log(cluster, f"steps/{done['Id']}/stderr") == "err\n"
    assert "bash -c" in cloud.log(cluster, f"steps/{done['Id']}/controller")
    assert (cloud.bucket_folder / "made" / "by-step.txt").read_text() == "made\n"


def test_a_failed_step_says_why_and_the_next_one_runs(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("echo 'ValueError: no such date'; exit 3"), shell("true"))
    status = cloud.wait_for_cluster(cluster, "TERMINATED")
    assert status["StateChangeReason"]["Message"] == "Steps completed with errors"
    failed, completed = cloud.steps(cluster)
    assert failed["Status"]["State"] == "FAILED"
    details = failed["Status"]["FailureDetails"]
    assert details["Message"] == "The step's process ended with exit code 3: ValueError: no such date"
    assert details["LogFile"] == f"s3://fruits-lake/logs/{cluster}/steps/{failed['Id']}/stdout.gz"
    assert completed["Status"]["State"] == "COMPLETED"


def test_a_failed_step_can_end_the_cluster(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("exit 1", on_failure="TERMINATE_CLUSTER"), shell("true"), keep_alive=True)
    status = cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")
    assert status["StateChangeReason"]["Code"] == "STEP_FAILURE"
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == ["FAILED", "CANCELLED"]


def test_a_step_whose_process_is_killed_fails(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("kill -9 $$"))
    cloud.wait_for_cluster(cluster, "TERMINATED")
    assert "ended by signal 9" in cloud.steps(cluster)[0]["Status"]["FailureDetails"]["Message"]


@pytest.mark.slow
def test_a_program_or_jar_that_is_not_there_fails_the_step_not_the_request(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(step("a", "no-such-program"), step("b", "x", jar="s3://fruits-lake/my.jar"), step("c"))
    cloud.wait_for_cluster(cluster, "TERMINATED")
    no_program, no_jar, no_arguments = (step["Status"]["FailureDetails"]["Message"] for step in cloud.steps(cluster))
    assert "exit code 127" in no_program
    assert "my.jar" in no_jar
    assert "needs arguments" in no_arguments


@pytest.mark.slow
def test_terminating_kills_the_running_step_and_all_it_started(cloud: LocalCloud) -> None:
    # setsid: a worker that has left the step's process group, as Spark's Python workers do.
    cluster = cloud.run_cluster(
        shell("setsid sleep 300 & trap '' TERM; echo ready; sleep 300"), shell("true"), keep_alive=True
    )
    mark = f"{cluster}/{cloud.wait_for_output(cluster, 0, 'ready')['Id']}"
    assert process_exists(mark)
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    assert cloud.cluster_status(cluster)["State"] == "TERMINATING"
    status = cloud.wait_for_cluster(cluster, "TERMINATED", seconds=30)
    assert status["StateChangeReason"] == {"Code": "USER_REQUEST", "Message": "Terminated by user request"}
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == ["CANCELLED", "CANCELLED"]
    assert not process_exists(mark)


def test_a_protected_cluster_is_not_terminated(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = cloud.run_cluster(keep_alive=True, Instances={"TerminationProtected": True})
    cloud.wait_for_cluster(cluster, "WAITING")
    code, message = error_of(emr.terminate_job_flows, JobFlowIds=[cluster])
    assert (code, "termination protected" in message) == ("ValidationException", True)
    emr.set_termination_protection(JobFlowIds=[cluster], TerminationProtected=False)
    emr.terminate_job_flows(JobFlowIds=[cluster])
    cloud.wait_for_cluster(cluster, "TERMINATED")


def test_pending_and_running_steps_can_be_cancelled(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = cloud.run_cluster(shell("sleep 300"), shell("sleep 300"), shell("true"), keep_alive=True)
    running = cloud.wait_for_step(cluster, 0, "RUNNING")
    pending = cloud.steps(cluster)[1]
    answer = emr.cancel_steps(
        ClusterId=cluster, StepIds=[running["Id"], pending["Id"]], StepCancellationOption="TERMINATE_PROCESS"
    )
    assert [info["Status"] for info in answer["CancelStepsInfoList"]] == ["SUBMITTED", "SUBMITTED"]
    cloud.wait_for_cluster(cluster, "WAITING")
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    again: dict[str, Any] = emr.cancel_steps(ClusterId=cluster, StepIds=[running["Id"]])["CancelStepsInfoList"][0]
    assert (again["Status"], "CANCELLED" in again["Reason"]) == ("FAILED", True)
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_an_interrupted_step_may_tidy_up(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(
        shell("trap 'echo tidied; exit 1' TERM; echo ready; while true; do sleep 0.1; done"), keep_alive=True
    )
    running = cloud.wait_for_output(cluster, 0, "ready")
    cloud.client("emr").cancel_steps(
        ClusterId=cluster, StepIds=[running["Id"]], StepCancellationOption="SEND_INTERRUPT"
    )
    cancelled = cloud.wait_for_step(cluster, 0, "CANCELLED")
    assert cloud.log(cluster, f"steps/{cancelled['Id']}/stdout") == "ready\ntidied\n"
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])


@pytest.mark.slow
def test_a_waiting_cluster_ends_itself_when_its_idle_time_is_over(cloud: LocalCloud) -> None:
    emr = cloud.client("emr")
    cluster = cloud.run_cluster(keep_alive=True, AutoTerminationPolicy={"IdleTimeout": 60})
    assert emr.get_auto_termination_policy(ClusterId=cluster)["AutoTerminationPolicy"] == {"IdleTimeout": 60}
    ready_at = cloud.wait_for_cluster(cluster, "WAITING")["Timeline"]["ReadyDateTime"]
    status = cloud.wait_for_cluster(cluster, "TERMINATED")
    assert "idle" in status["StateChangeReason"]["Message"]
    assert (status["Timeline"]["EndDateTime"] - ready_at).total_seconds() >= 60 * SECOND_LASTS - 0.01


@pytest.mark.slow
def test_the_idle_time_can_be_taken_back(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr")
    commit(Fault("not idle yet", FaultKind.SLOW_START, cluster="idle", seconds=600))
    cluster = cloud.run_cluster(keep_alive=True, Name="idle", AutoTerminationPolicy={"IdleTimeout": 60})
    emr.remove_auto_termination_policy(ClusterId=cluster)
    assert "AutoTerminationPolicy" not in emr.get_auto_termination_policy(ClusterId=cluster)
    commit()
    cloud.wait_for_cluster(cluster, "WAITING")
    time.sleep(60 * SECOND_LASTS + 0.5)
    assert cloud.cluster_status(cluster)["State"] == "WAITING"
    emr.put_auto_termination_policy(ClusterId=cluster, AutoTerminationPolicy={"IdleTimeout": 60})
    cloud.wait_for_cluster(cluster, "TERMINATED")


def test_steps_added_while_the_cluster_starts_wait_for_it(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    emr = cloud.client("emr")
    commit(Fault("starts for long", FaultKind.SLOW_START, cluster="takes steps early", seconds=600))
    cluster = cloud.run_cluster(keep_alive=True, Name="takes steps early")
    assert cloud.cluster_status(cluster)["State"] == "STARTING"
    (step_id,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[shell("true")])["StepIds"]
    assert emr.describe_step(ClusterId=cluster, StepId=step_id)["Step"]["Status"]["State"] == "PENDING"
    commit()
    cloud.wait_for_step(cluster, 0, "COMPLETED")
    emr.terminate_job_flows(JobFlowIds=[cluster])


def test_steps_run_at_once_up_to_the_concurrency_level(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(
        shell("sleep 300"), shell("sleep 300"), shell("true"), keep_alive=True, StepConcurrencyLevel=2
    )
    cloud.wait_for_step(cluster, 1, "RUNNING")
    assert [step["Status"]["State"] for step in cloud.steps(cluster)] == ["RUNNING", "RUNNING", "PENDING"]
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    cloud.wait_for_cluster(cluster, "TERMINATED")


def test_what_a_step_leaves_running_is_ended_with_it(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(shell("setsid sleep 300 & echo $!"))
    cloud.wait_for_cluster(cluster, "TERMINATED")
    (done,) = cloud.steps(cluster)
    assert not is_alive(int(cloud.log(cluster, f"steps/{done['Id']}/stdout")))


def test_what_a_step_writes_beneath_s3_is_seen_through_it_when_the_step_ends(cloud: LocalCloud) -> None:
    s3 = cloud.client("s3")
    folder = cloud.bucket_folder / "table"
    s3.put_object(Bucket="fruits-lake", Key="table/old.parquet", Body=b"old")
    s3.put_object(Bucket="fruits-lake", Key="table/kept.parquet", Body=b"before")
    assert len(s3.list_objects_v2(Bucket="fruits-lake", Prefix="table/")["Contents"]) == 2
    script = (
        f"rm '{folder}/old.parquet'; echo -n a-longer-after > '{folder}/kept.parquet'; echo -n new > "
        f"'{folder}/new.parquet'"
    )
    cluster = cloud.run_cluster(shell(script), keep_alive=True)
    s3.list_objects_v2(Bucket="fruits-lake", Prefix="table/")
    cloud.wait_for_step(cluster, 0, "COMPLETED")
    listed = s3.list_objects_v2(Bucket="fruits-lake", Prefix="table/")["Contents"]
    assert [item["Key"] for item in listed] == ["table/kept.parquet", "table/new.parquet"]
    assert s3.get_object(Bucket="fruits-lake", Key="table/kept.parquet")["Body"].read() == b"a-longer-after"
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
