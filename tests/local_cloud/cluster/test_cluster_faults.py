from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local_cloud.faults import Fault, FaultKind
from local_cloud.stack.sweep import STEP_MARK, marked_processes
from tests.local_cloud.running_cloud import BUCKET, PATIENCE_SECONDS, LocalCloud, step, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REASON = "No matching distribution found for ai-edge-litert==9.9.9 (injected)"


def named(name: str, script: str) -> dict[str, Any]:
    return step(name, "bash", "-c", script)


def logs(cloud: LocalCloud, cluster: str) -> dict[str, Any]:
    """Returns the keys of the cluster's logs, below its prefix."""
    prefix = f"logs/{cluster}/"
    listed = cloud.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {"keys": sorted(entry["Key"].removeprefix(prefix) for entry in listed)}


def bootstrap_action(cloud: LocalCloud) -> dict[str, Any]:
    cloud.client("s3").put_object(Bucket=BUCKET, Key="code/test/good.sh", Body=b"echo good")
    return {"Name": "install", "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/code/test/good.sh"}}


@pytest.mark.parametrize("has_action", [True, False])
def test_a_bootstrap_failure_is_one_like_any_other(
    cloud: LocalCloud, commit: Callable[..., None], has_action: bool
) -> None:
    commit(Fault(f"bootstrap {has_action}", FaultKind.BOOTSTRAP_FAILURE, cluster="badly booted"))
    actions: dict[str, Any] = {"BootstrapActions": [bootstrap_action(cloud)]} if has_action else {}
    cluster = cloud.run_cluster(named("extract", "true"), Name="badly booted", **actions)
    reason = cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]
    assert reason["Code"] == "BOOTSTRAP_FAILURE"
    assert f"bootstrap action 1 returned a non-zero return code (1): error: {REASON}" in reason["Message"]
    assert cloud.steps(cluster)[0]["Status"]["State"] == "CANCELLED"
    (instance,) = cloud.client("emr").list_instances(ClusterId=cluster)["Instances"]
    assert cloud.log(cluster, f"node/{instance['Ec2InstanceId']}/bootstrap-actions/1/stderr") == f"error: {REASON}\n"


def test_a_bootstrap_failure_strikes_one_cluster_and_the_next_one_is_well(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    commit(Fault("bootstrap once", FaultKind.BOOTSTRAP_FAILURE, cluster="booted"))
    for state in ("TERMINATED_WITH_ERRORS", "TERMINATED"):
        cluster = cloud.run_cluster(Name="booted", BootstrapActions=[bootstrap_action(cloud)])
        cloud.wait_for_cluster(cluster, state)


def test_late_logs_come_after_the_end_that_is_told_at_once(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit(Fault("late", FaultKind.LATE_LOGS, cluster="late logs", times=2, seconds=600))
    cluster = cloud.run_cluster(
        named("extract", "echo told"), Name="late logs", BootstrapActions=[bootstrap_action(cloud)]
    )
    cloud.wait_for_step(cluster, 0, "COMPLETED")
    assert logs(cloud, cluster)["keys"] == []
    commit()
    (done,) = cloud.steps(cluster)
    seen = wait_until(lambda: logs(cloud, cluster), lambda seen: len(seen["keys"]) == 6, PATIENCE_SECONDS)
    assert f"steps/{done['Id']}/stdout.gz" in seen["keys"]
    assert cloud.log(cluster, f"steps/{done['Id']}/stdout") == "told\n"


def test_logs_of_one_step_may_never_come(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit(Fault("never", FaultKind.NO_LOGS, cluster="no logs", step="extract"))
    cluster = cloud.run_cluster(named("extract", "exit 3"), named("refresh", "echo told"), Name="no logs")
    cloud.wait_for_cluster(cluster, "TERMINATED")
    extract, refresh = cloud.steps(cluster)
    assert (extract["Status"]["State"], refresh["Status"]["State"]) == ("FAILED", "COMPLETED")
    assert {key.split("/")[1] for key in logs(cloud, cluster)["keys"]} == {refresh["Id"]}


def test_a_killed_step_fails_and_its_second_try_does_not(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit(Fault("kill", FaultKind.KILL_STEP, cluster="killed", step="extract", seconds=600))
    cluster = cloud.run_cluster(
        named("list", "true"),
        named("extract", "trap '' TERM; echo begun; sleep 600"),
        named("extract", "echo whole"),
        Name="killed",
    )
    cloud.wait_for_output(cluster, 1, "begun")
    commit()
    cloud.wait_for_cluster(cluster, "TERMINATED")
    states = [(step["Name"], step["Status"]["State"]) for step in cloud.steps(cluster)]
    assert states == [("list", "COMPLETED"), ("extract", "FAILED"), ("extract", "COMPLETED")]
    killed = cloud.steps(cluster)[1]
    assert killed["Status"]["FailureDetails"]["Message"].startswith("The step's process was ended by signal 9: begun")
    assert cloud.log(cluster, f"steps/{killed['Id']}/stdout") == "begun\n"


def test_a_slow_step_runs_for_a_while_before_it_does_anything_and_can_be_cancelled_then(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    commit(Fault("slow step", FaultKind.SLOW_STEP, cluster="slow step", step="extract", seconds=600))
    cluster = cloud.run_cluster(named("extract", "echo begun; sleep 600"), Name="slow step", keep_alive=True)
    running = cloud.wait_for_step(cluster, 0, "RUNNING")
    assert not marked_processes(STEP_MARK, f"{cluster}/{running['Id']}")
    cloud.client("emr").cancel_steps(
        ClusterId=cluster, StepIds=[running["Id"]], StepCancellationOption="TERMINATE_PROCESS"
    )
    cloud.wait_for_step(cluster, 0, "CANCELLED")
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])


def test_a_slow_step_goes_on_when_its_fault_is_taken_out_of_the_list(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    commit(Fault("held", FaultKind.SLOW_STEP, cluster="held step", seconds=600))
    cluster = cloud.run_cluster(named("extract", "echo begun"), Name="held step")
    cloud.wait_for_step(cluster, 0, "RUNNING")
    commit()
    assert cloud.wait_for_step(cluster, 0, "COMPLETED")


def test_a_cluster_that_starts_slowly_can_be_told_to_end_meanwhile(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    commit(Fault("slow start", FaultKind.SLOW_START, cluster="slow to start", seconds=600))
    cluster = cloud.run_cluster(Name="slow to start", keep_alive=True)
    assert cloud.cluster_status(cluster)["State"] == "STARTING"
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    assert "ReadyDateTime" not in cloud.wait_for_cluster(cluster, "TERMINATED")["Timeline"]


def test_the_loss_of_the_instances_ends_the_cluster_and_fails_what_runs(
    cloud: LocalCloud, commit: Callable[..., None]
) -> None:
    commit(Fault("spot", FaultKind.SPOT_LOSS, cluster="on spot", step="extract", seconds=0.5))
    cluster = cloud.run_cluster(
        named("extract", "sleep 600"), named("refresh", "true"), Name="on spot", keep_alive=True
    )
    status = cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")
    assert status["StateChangeReason"] == {
        "Code": "INSTANCE_FAILURE",
        "Message": "All slaves in the job flow were terminated",
    }
    extract, refresh = cloud.steps(cluster)
    assert (extract["Status"]["State"], refresh["Status"]["State"]) == ("FAILED", "CANCELLED")
    assert "ended by signal 9" in extract["Status"]["FailureDetails"]["Message"]
    (instance,) = cloud.client("emr").list_instances(ClusterId=cluster)["Instances"]
    assert instance["Status"]["Timeline"]["EndDateTime"] == status["Timeline"]["EndDateTime"]


def test_the_instances_are_lost_even_if_the_step_was_quicker(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit(Fault("spot late", FaultKind.SPOT_LOSS, cluster="quick on spot", seconds=600))
    cluster = cloud.run_cluster(named("extract", "true"), Name="quick on spot", keep_alive=True)
    cloud.wait_for_step(cluster, 0, "COMPLETED")
    commit()
    assert cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")["StateChangeReason"]["Code"] == "INSTANCE_FAILURE"


def test_a_broken_list_of_faults_changes_nothing(cloud: LocalCloud, commit: Callable[..., None]) -> None:
    commit()
    (cloud.home / "faults.json").write_text("[{")
    cluster = cloud.run_cluster(named("extract", "true"))
    cloud.wait_for_cluster(cluster, "TERMINATED")
