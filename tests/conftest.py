"""How the tests are dealt out to several processes, and what these make together."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings

from local_cloud.cluster.spark_environment import ONE_THREAD_A_PROCESS
from local_cloud.project import PROJECT
from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    from pathlib import Path

# Tests talk to servers of their own, on machines behind a proxy too.
keep_loopback_direct(os.environ)

# As in a step of the local cloud; read when numpy is imported.
os.environ.update(ONE_THREAD_A_PROCESS)

# No test is timed: a busy machine may stop for longer than any example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
# For `make compat`, which looks for what other versions do differently: `--hypothesis-profile=few`.
settings.register_profile("few", settings.get_profile("untimed"), max_examples=5)

# What shares something dear (a whole product, a Spark session) stays in one process. These come first, for they take as long as the rest.
_LONGEST_FIRST: Final = ("product", "spark")


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's database as `airflow db migrate` leaves it, made once for all processes, as that takes seconds: to be copied."""
    folder = tmp_path_factory.getbasetemp()
    # Of all processes, whose own folders are in there.
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    home, made = folder / "airflow-database", folder / "airflow-database" / "made"
    home.mkdir(exist_ok=True)
    with (folder / "airflow-database.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}"}
            settings["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            made.touch()
    return home / "airflow.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {group: number for number, group in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_group(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deals tests out to processes by group (`-n 2`). Their own `--dist loadgroup` does not know pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Groups(config, log)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    if file.startswith("tests/e2e/"):
        return "product"
    return "spark" if _starts_spark(file) else file


@cache
def _starts_spark(file: str) -> bool:
    return "pytest.mark.spark" in (PROJECT / file).read_text(encoding="utf-8")
