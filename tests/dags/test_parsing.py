from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from local_cloud.project import PROJECT

pytestmark = [
    pytest.mark.airflow,
    # Airflow's own, which it reports under our line.
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]

# Parses the DAG folder in an interpreter that has loaded nothing yet and may open no connection.
PARSE_ALONE = """
import json, socket, sys

def refuse(*_args, **_kwargs):
    raise AssertionError("a connection was opened while a DAG file was parsed")

socket.socket.connect = refuse
socket.create_connection = refuse
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
heavy = {"tensorflow", "keras", "pyspark", "ai_edge_litert", "numpy", "pandas", "pyarrow", "matplotlib", "PIL"}
heavy |= {"obstore", "moto"}
print(json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags), "loaded": sorted(heavy & set(sys.modules))}))
"""


def parse_alone() -> dict[str, Any]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FRUITS_"))}
    done = subprocess.run(
        [sys.executable, "-c", PARSE_ALONE, str(PROJECT / "dags")],
        capture_output=True,
        text=True,
        check=True,
        env=plain | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_dags_load_without_errors_or_warnings(dag_bag: Any) -> None:
    assert dag_bag.import_errors == {}
    assert dag_bag.captured_warnings == {}
    assert "fruit_image_pipeline" in dag_bag.dags


def test_parsing_opens_no_connection_and_loads_nothing_heavy() -> None:
    parsed = parse_alone()
    assert parsed == {"errors": {}, "dags": ["fruit_image_pipeline", "sweep_orphan_clusters"], "loaded": []}


def errors_of_parsing() -> dict[str, str]:
    from airflow.dag_processing.dagbag import DagBag

    return dict(DagBag(PROJECT / "dags").import_errors)


def test_a_region_outside_the_eu_still_shows_the_dag(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("FRUITS_AWS_REGION", "us-east-1")
    assert errors_of_parsing() == {}


def test_a_bad_setting_is_named_in_the_import_error(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("FRUITS_ENGINE", "pytorch")
    errors = errors_of_parsing()
    ((file, error),) = errors.items()  # the sweep goes on
    assert file.endswith("fruit_image_pipeline.py")
    assert "FRUITS_ENGINE is 'pytorch': it must be one of litert, tensorflow." in error


def test_airflow_runs_none_of_our_plugin_modules_by_itself() -> None:
    code = """
import sys
from airflow import plugins_manager
plugins_manager._get_plugins()
print(sorted(name for name in ("settings", "steps", "checks", "report", "plots") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_queue_without_a_bucket_takes_no_dag_away(clean_environment: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    clean_environment.delenv("FRUITS_LAKE_BUCKET")
    clean_environment.setenv("FRUITS_BATCH_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/batches")
    bag = DagBag(PROJECT / "dags")
    assert bag.import_errors == {}
    assert "fruit_image_pipeline" in bag.dags
