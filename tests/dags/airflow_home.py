"""Makes an Airflow home for the tests when it is imported, so that no test reads or writes a real one.

Airflow reads its home when it is imported, so every conftest whose tests import Airflow imports this first.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from local_cloud.project import PROJECT

HOME_PREFIX = "fruits-airflow-tests-"


def copy_database(migrated: Path) -> None:
    """Copies the empty database `migrated` into this home, unless it has a database."""
    database = Path(os.environ["AIRFLOW_HOME"]) / "airflow.db"
    if not database.exists():
        shutil.copy(migrated, database)


if not Path(os.environ.get("AIRFLOW_HOME", "")).name.startswith(HOME_PREFIX):
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    configuration = f"""
[core]
dags_folder = {PROJECT / "dags"}
plugins_folder = {PROJECT / "plugins"}
load_examples = False
[database]
sql_alchemy_conn = sqlite:///{home / "airflow.db"}
[logging]
base_log_folder = {home / "logs"}
[api_auth]
jwt_secret = {os.urandom(32).hex()}
"""
    (home / "airflow.cfg").write_text(configuration, encoding="utf-8")
    os.environ["AIRFLOW_HOME"] = str(home)
