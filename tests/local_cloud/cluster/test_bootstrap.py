from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.local_cloud.running_cloud import BUCKET, LocalCloud, shell

if TYPE_CHECKING:
    from typing import Any


def bootstrap(cloud: LocalCloud, script: str, *arguments: str) -> dict[str, Any]:
    key = f"code/test/bootstrap-{abs(hash(script))}.sh"
    cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=script.encode())
    return {"Name": "install", "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/{key}", "Args": list(arguments)}}


@pytest.mark.slow
def test_a_bootstrap_action_runs_before_the_steps_with_its_arguments_and_the_nodes_aws(cloud: LocalCloud) -> None:
    cloud.client("s3").put_object(Bucket=BUCKET, Key="code/test/wheels/deep/a.whl", Body=b"wheel")
    action = bootstrap(
        cloud,
        'set -euo pipefail\necho "[$1] [$2]"\naws s3 cp s3://fruits-lake/code/test/wheels/ here --recursive '
        "--only-show-errors\n"
        'cat here/deep/a.whl\n"$FRUITS_VENV/bin/python" -c "import numpy"\n',
        "two words",
        "b",
    )
    cluster = cloud.run_cluster(shell("true"), BootstrapActions=[action])
    cloud.wait_for_cluster(cluster, "TERMINATED", seconds=60)
    (instance,) = cloud.client("emr").list_instances(ClusterId=cluster)["Instances"]
    assert (
        cloud.log(cluster, f"node/{instance['Ec2InstanceId']}/bootstrap-actions/1/stdout") == "[two words] [b]\nwheel"
    )


def test_a_bootstrap_action_that_fails_ends_the_cluster_with_errors(cloud: LocalCloud) -> None:
    action = bootstrap(cloud, "echo 'error: no wheel for obstore' >&2; exit 4")
    cluster = cloud.run_cluster(shell("true"), keep_alive=True, BootstrapActions=[action])
    status = cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")
    reason = status["StateChangeReason"]
    assert reason["Code"] == "BOOTSTRAP_FAILURE"
    assert "bootstrap action 1 returned a non-zero return code (4): error: no wheel for obstore" in reason["Message"]
    assert cloud.steps(cluster)[0]["Status"]["State"] == "CANCELLED"
    assert "ReadyDateTime" not in status["Timeline"]


def test_a_bootstrap_action_that_is_not_there_is_named(cloud: LocalCloud) -> None:
    action = {"Name": "install", "ScriptBootstrapAction": {"Path": f"s3://{BUCKET}/code/nothing.sh"}}
    cluster = cloud.run_cluster(keep_alive=True, BootstrapActions=[action])
    status = cloud.wait_for_cluster(cluster, "TERMINATED_WITH_ERRORS")
    assert f"s3://{BUCKET}/code/nothing.sh" in status["StateChangeReason"]["Message"]


def test_a_cluster_can_be_terminated_while_it_bootstraps(cloud: LocalCloud) -> None:
    cluster = cloud.run_cluster(keep_alive=True, BootstrapActions=[bootstrap(cloud, "sleep 300")])
    cloud.wait_for_cluster(cluster, "BOOTSTRAPPING")
    cloud.client("emr").terminate_job_flows(JobFlowIds=[cluster])
    status = cloud.wait_for_cluster(cluster, "TERMINATED")
    assert status["StateChangeReason"]["Code"] == "USER_REQUEST"
