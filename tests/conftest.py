"""Deals the tests out to several processes, and makes what these share."""

from __future__ import annotations

import fcntl
import os
import shutil
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
    from collections.abc import Callable
    from pathlib import Path

# Tests talk to servers of their own, on machines behind a proxy too.
keep_loopback_direct(os.environ)

# The settings of a deployment, which a shell may have loaded, have nothing to do with the tests. What is for tests and
# scripts begins like these.
_FOR_TESTS: Final = (
    "FRUITS_WRITE_",
    "FRUITS_TORTURE_",
    "FRUITS_TEST_",
    "FRUITS_CHECKOV_",
    "FRUITS_REGISTRY",
    "FRUITS_VENV",
)
for variable in [name for name in os.environ if name.startswith("FRUITS_") and not name.startswith(_FOR_TESTS)]:
    del os.environ[variable]

# As in a step of the local cloud; read when numpy is imported.
os.environ.update(ONE_THREAD_A_PROCESS)

# No test is timed: a busy machine may stop for longer than any example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
# For `make compat`, which looks for what other versions do differently: `--hypothesis-profile=few`.
settings.register_profile("few", settings.get_profile("untimed"), max_examples=5)

# What shares something dear (the product, a Spark session) stays in one process, and so do the tests of a file. The
# longest come first, so that the processes end together.
_LONGEST_FIRST: Final = (
    "tests/e2e/test_fault_matrix.py",
    "product",
    "spark",
    "tests/dags/test_whole_runs.py",
    "tests/local_cloud/cluster/test_failing_spark_steps.py",
    "tests/e2e/test_demo.py",
    "tests/fruit_cli/release/test_export.py",
    "tests/fruit_cli/stack/test_lifecycle.py",
    "tests/e2e/test_interrupt.py",
    "tests/local_cloud/cluster/test_spark_steps.py",
    "tests/local_cloud/cluster/test_spark_history.py",
    "tests/spark_jobs/embedding/test_preprocessing.py",
)
# They start what they need themselves, or share less than it costs to stay together.
_ON_THEIR_OWN: Final = frozenset({"test_fault_matrix.py", "test_demo.py", "test_interrupt.py"})


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns Airflow's database as `airflow db migrate` leaves it. Tests copy it."""

    def migrate(home: Path) -> None:
        settings = {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        }
        settings["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(
            command, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    return made_once(tmp_path_factory, "airflow-database", migrate) / "airflow.db"


@pytest.fixture(scope="session")
def home_with_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a local home that holds the exported default embedder and nothing else. Tests copy it."""

    def export(home: Path) -> None:
        from fruit_cli.release.embedder import default_embedder

        default_embedder(home, print)

    return made_once(tmp_path_factory, "home-with-embedder", export)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder that `make` fills when the first process asks for it, because filling it takes seconds."""
    root = tmp_path_factory.getbasetemp()
    # The root of all processes, which holds their own folders.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, made = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


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
    folder, _, name = file.rpartition("/")
    if folder == "tests/e2e" and name not in _ON_THEIR_OWN:
        return "product"
    return "spark" if folder.startswith("tests/spark_jobs") and _starts_spark(file) else file


@cache
def _starts_spark(file: str) -> bool:
    return "pytest.mark.spark" in (PROJECT / file).read_text(encoding="utf-8")
