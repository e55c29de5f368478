from __future__ import annotations

import subprocess
import sys

import pytest

from fruit_features.spark import session as module
from fruit_features.spark.session import session_on_demand
from local_cloud.project import PROJECT


class Session:
    def __init__(self, step: str) -> None:
        self.step = step
        self.is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    found: list[Session] = []

    def start(step: str) -> Session:
        found.append(Session(step))
        return found[-1]

    monkeypatch.setattr(module, "start_session", start)
    return found


def test_a_step_that_never_asks_starts_no_session(started: list[Session]) -> None:
    with session_on_demand("step"):
        pass
    assert started == []


def test_whoever_asks_gets_the_one_session_which_ends_with_the_step(started: list[Session]) -> None:
    with session_on_demand("step") as session:
        assert session() is session()
        assert [(one.step, one.is_stopped) for one in started] == [("step", False)]
    assert [one.is_stopped for one in started] == [True]


def test_a_step_that_fails_stops_its_session(started: list[Session]) -> None:
    def fail() -> None:
        with session_on_demand("step") as session:
            session()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert [one.is_stopped for one in started] == [True]


@pytest.mark.slow
def test_the_pca_step_loads_spark_with_its_session() -> None:
    program = "import refresh_pca, sys; sys.exit('pyspark' in sys.modules or 'py4j' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT / "spark_jobs", check=True)
