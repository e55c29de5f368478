"""The whole product on this machine: local cloud, real Airflow, the published release with the real weights. One for all tests here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import make_ready
from fruit_cli.airflow_client.http import AirflowHttp, local_airflow
from fruit_cli.commands.publish import publish
from fruit_cli.lake.connection import LakeConnection, current_connection, local_emr_client
from fruit_cli.stack.lifecycle import MIGRATED_NOTE, REQUEST_LOGS_VARIABLE, LocalStack, PreferredPorts
from fruit_contract import lake
from local_cloud.faults import write_faults
from local_cloud.stack.state import HOME_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local_cloud.faults import Fault


@dataclass(frozen=True)
class Product:
    """Everything that is up. `lake` is the lake's folder."""

    home: Path
    lake: Path
    connection: LakeConnection
    api: AirflowApi
    emr: Any
    console: Console

    def cluster_of(self, run_id: str) -> dict[str, Any]:
        cluster_id = self.api.xcom(run_id, "create_cluster")
        cluster: dict[str, Any] = self.emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
        return cluster


def copy_database(migrated: Path, home: Path) -> None:
    """Gives a stack's home an empty Airflow database, which it would take seconds to make; tests/fruit_cli/stack has one made."""
    airflow = home / "airflow"
    airflow.mkdir(parents=True)
    shutil.copy(migrated, airflow / "airflow.db")
    (airflow / MIGRATED_NOTE).write_text(version("apache-airflow"), encoding="utf-8")


@pytest.fixture(scope="session")
def request_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every local cloud of these tests notes what is asked of it."""
    return tmp_path_factory.mktemp("request-logs")


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path, request_logs: Path) -> Iterator[Product]:
    home = tmp_path_factory.mktemp("home")
    copy_database(airflow_database, home)
    stack = LocalStack(home, ports=PreferredPorts(airflow=0, s3=0, emr=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        patch.setenv("FRUITS_RETRY_DELAY_SECONDS", "5")
        patch.setenv(REQUEST_LOGS_VARIABLE, str(request_logs))
        state = stack.start()
        try:
            connection = current_connection()
            publish(connection)
            emr = local_emr_client(state)
            console = Console(highlight=False, width=160)
            with AirflowHttp(local_airflow(state)) as http:
                api = AirflowApi(http)
                make_ready(api, console)
                yield Product(home, home / "s3" / state.bucket, connection, api, emr, console)
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def own_lake(product: Product) -> Iterator[None]:
    """A lake with nothing but the release in it, before and after."""
    empty_lake(product)
    yield
    empty_lake(product)


def empty_lake(product: Product) -> None:
    for folder in product.lake.iterdir():
        if folder.name != lake.CODE:
            shutil.rmtree(folder)


@pytest.fixture
def commit(product: Product) -> Iterator[Callable[..., None]]:
    """Has the cloud commit the given faults, and no others, until the test ends or calls it again: what is left out is over then."""

    def write(*faults: Fault) -> None:
        write_faults(product.home, faults)

    yield write
    write_faults(product.home, ())
