"""Quick checks first: a mistake shows in seconds, before Spark, Airflow and the whole product start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, settings

from local_cloud.stack.ports import keep_loopback_direct

if TYPE_CHECKING:
    import pytest

# Tests talk to servers of their own, on machines behind a proxy too.
keep_loopback_direct(os.environ)

# No test is timed: a busy machine may stop for longer than any example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_SLOWER: Final = ("spark", "airflow", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: max((_SLOWER.index(name) + 1 for name in _SLOWER if item.get_closest_marker(name)), default=0))
