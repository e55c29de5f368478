"""Opens Spark's own history of a cluster's steps, which is served here or by EMR."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from fruit_cli.arguments import ABOUT_THE_LAKE
from fruit_cli.errors import CommandError
from fruit_cli.lake.target import Target, target_option
from fruit_cli.lake.whereabouts import emr_of_target
from local_cloud.cluster.spark_environment import event_log_folder
from local_cloud.stack.java import JavaNotFoundError, find_java
from local_cloud.stack.ports import LOOPBACK, choose_ports
from local_cloud.stack.state import local_home

_ATTACHES_WITHIN_SECONDS: Final = 300
_POLL_SECONDS: Final = 5
_PORT: Final = 18080
# This is the port if nodes talk by TLS, which `make deploy` sets up.
_TLS_PORT: Final = 18480
_CLUSTER_ID: Final = re.compile(r"j-[A-Za-z0-9-]+")
_HISTORY_SERVER: Final = "org.apache.spark.deploy.history.HistoryServer"


@click.command(epilog=ABOUT_THE_LAKE)
@click.option("--cluster", required=True, metavar="ID", help="The cluster's id, j-...: task logs and reports have it.")
@target_option
def command(cluster: str, *, target: Target) -> int:
    """Opens Spark's own history of a cluster's steps: stages, tasks, what took how long.

    Of a local cluster it is served here until Ctrl-C. On AWS the address of EMR's own page is printed, for a cluster
    that is up or ended in the last 30 days; and of one that is up, the command that forwards a port of its primary
    node.

    \b
    Example:
      python -m fruit_cli spark_history --cluster j-2AXXXXXXGAPLF
    """
    if not _CLUSTER_ID.fullmatch(cluster):
        raise CommandError(
            f"'{cluster}' is no cluster. Type `make spark-history CLUSTER=j-...`: task logs and reports have its id."
        )
    folder = event_log_folder(local_home() / "emr", cluster)
    if target is Target.LOCAL and folder.is_dir():
        return serve(folder)
    client = emr_of_target(target)
    print(f"Spark's history of {cluster}, for an hour: {persistent_page(client, cluster)}")
    if forward := port_forwarding(client, cluster):
        print(
            f"While it is up, its primary node's own page is at http://{LOOPBACK}:{_PORT} as long as this runs:\n  "
            f"{forward}"
        )
        print(f"Where nodes talk by TLS, put {_TLS_PORT} for {_PORT} into it, and https for http into the address.")
    return 0


def serve(folder: Path) -> int:
    """Runs Spark's own history server over the local event logs until Ctrl-C, and returns its exit code. Raises
    CommandError if there is no Java.
    """
    import pyspark

    try:
        java_home = find_java()
    except JavaNotFoundError as error:
        raise CommandError(str(error)) from error
    (port,) = choose_ports([_PORT])
    # The folder is not given as an address, because here Spark takes %20 for a part of its name.
    settings = {"spark.history.fs.logDirectory": str(folder), "spark.history.ui.port": str(port)}
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "JAVA_HOME": str(java_home),
        "SPARK_LOCAL_IP": LOOPBACK,  # it listens on every address otherwise
        "LC_ALL": "C.UTF-8",
    }
    print(f"Spark's history, until Ctrl-C: http://{LOOPBACK}:{port}", flush=True)
    program = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.writelines(f"{name} {value}\n" for name, value in settings.items())
        file.flush()
        command = [str(program), _HISTORY_SERVER, "--properties-file", file.name]
        return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode


def persistent_page(client: Any, cluster_id: str, *, sleep: Any = time.sleep) -> str:
    """Returns the address of EMR's own history server for a cluster. Whoever has the address may look, so it is shown
    and kept nowhere. Raises CommandError if EMR does not open it in five minutes.
    """
    arn = client.describe_cluster(ClusterId=cluster_id)["Cluster"]["ClusterArn"]
    page_id = client.create_persistent_app_ui(TargetResourceArn=arn, ProfilerType="SHS")["PersistentAppUIId"]
    for _ in range(_ATTACHES_WITHIN_SECONDS // _POLL_SECONDS):
        status = client.describe_persistent_app_ui(PersistentAppUIId=page_id)["PersistentAppUI"][
            "PersistentAppUIStatus"
        ]
        if status == "ATTACHED":
            answer = client.get_persistent_app_ui_presigned_url(PersistentAppUIId=page_id, PersistentAppUIType="SHS")
            if answer.get("PresignedURLReady"):
                return str(answer["PresignedURL"])
        sleep(_POLL_SECONDS)
    raise CommandError(
        f"EMR did not open the history of {cluster_id} within {_ATTACHES_WITHIN_SECONDS} seconds. Try again in a "
        "minute."
    )


def port_forwarding(client: Any, cluster_id: str) -> str:
    """Returns the command that forwards the history server's port of the cluster's primary node through SSM; an empty
    text if that node is not up.
    """
    found = client.list_instances(ClusterId=cluster_id, InstanceFleetType="MASTER", InstanceStates=["RUNNING"])[
        "Instances"
    ]
    if not found:
        return ""
    ports = json.dumps({"portNumber": [str(_PORT)], "localPortNumber": [str(_PORT)]})
    command = [
        "aws",
        "ssm",
        "start-session",
        "--region",
        client.meta.region_name,
        "--target",
        found[0]["Ec2InstanceId"],
    ]
    return shlex.join([*command, "--document-name", "AWS-StartPortForwardingSession", "--parameters", ports])
