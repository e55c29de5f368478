"""Starts the whole product on this machine, once for all tests here: local cloud, real Airflow, and the published
release with the real weights.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
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
from fruit_cli.stack.airflow_environment import MESSAGES_VARIABLE
from fruit_cli.stack.cloud_processes import REQUEST_LOGS_VARIABLE
from fruit_cli.stack.lifecycle import MIGRATED_NOTE, LocalStack, PreferredPorts
from fruit_contract import lake
from local_cloud.stack.secrets import load_or_draw
from local_cloud.stack.state import HOME_VARIABLE
from tests.e2e.messages import running_messages
from tests.local_cloud.written_faults import write_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from local_cloud.faults import Fault
    from tests.e2e.messages import Messages


@dataclass(frozen=True)
class Product:
    """Holds everything that is up. `lake` is the lake's folder."""

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


def copy_embedder(home_with_embedder: Path, home: Path) -> None:
    """Copies the exported embedder into a home, so that publishing there does not export it again."""
    shutil.copytree(home_with_embedder, home, dirs_exist_ok=True)


def copy_database(migrated: Path, home: Path) -> None:
    """Copies an empty Airflow database into a stack's home, which would take seconds to make it; tests/fruit_cli/stack
    has one made.
    """
    airflow = home / "airflow"
    airflow.mkdir(parents=True)
    shutil.copy(migrated, airflow / "airflow.db")
    (airflow / MIGRATED_NOTE).write_text(version("apache-airflow"), encoding="utf-8")


def request_logs_of(home: Path) -> Path:
    """Returns the folder in which the local cloud of a home notes what is asked of it."""
    folder = home / "request-logs"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def running_product(home: Path, **settings: str) -> Iterator[Product]:
    """Runs a product with a published release and these settings; it is the local one until the end of the block."""
    stack = LocalStack(home, ports=PreferredPorts(airflow=0, s3=0, emr=0))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            HOME_VARIABLE: str(home),
            REQUEST_LOGS_VARIABLE: str(request_logs_of(home)),
            **settings,
        }.items():
            patch.setenv(name, value)
        state = stack.start()
        try:
            connection = current_connection()
            publish(connection)
            console = Console(highlight=False, width=160)
            with AirflowHttp(local_airflow(state)) as http:
                api = AirflowApi(http)
                make_ready(api, console)
                yield Product(home, home / "s3" / state.bucket, connection, api, local_emr_client(state), console)
        finally:
            stack.stop()


@pytest.fixture(scope="session")
def products_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def messages(products_home: Path) -> Iterator[Messages]:
    """Yields the queue by which batches start the product's runs, with the topic by which it tells people."""
    with running_messages(load_or_draw(products_home)) as running:
        yield running


@pytest.fixture(scope="session")
def product(
    products_home: Path, messages: Messages, airflow_database: Path, home_with_embedder: Path
) -> Iterator[Product]:
    copy_database(airflow_database, products_home)
    copy_embedder(home_with_embedder, products_home)
    settings = {
        "FRUITS_RETRY_DELAY_SECONDS": "5",
        "FRUITS_BATCH_QUEUE_URL": messages.queue_url,
        "FRUITS_SNS_TOPIC_ARN": messages.topic_arn,
        MESSAGES_VARIABLE: messages.url,
    }
    with running_product(products_home, **settings) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Stops the product after the last test that uses it, because an idle product takes a tenth of a core from the
    tests that follow.
    """
    result = yield
    product = item.funcargs.get("product")
    if isinstance(product, Product) and not (
        isinstance(nextitem, pytest.Function) and "product" in nextitem.fixturenames
    ):
        LocalStack(product.home).stop()
    return result


@pytest.fixture(scope="module")
def own_lake(product: Product) -> Iterator[None]:
    """Empties the lake but for the release, before and after the test."""
    empty_lake(product)
    yield
    empty_lake(product)


def empty_lake(product: Product) -> None:
    for folder in product.lake.iterdir():
        if folder.name != lake.CODE:
            shutil.rmtree(folder)


@pytest.fixture
def commit(product: Product) -> Iterator[Callable[..., None]]:
    """Yields a function that has the cloud commit the given faults and no others, until the test ends or calls it
    again. Faults that a call leaves out are over.
    """

    def write(*faults: Fault) -> None:
        write_faults(product.home, faults)

    yield write
    write_faults(product.home, ())
