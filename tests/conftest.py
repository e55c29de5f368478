"""How the tests are dealt out to several processes."""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from local_cloud.stack.ports import keep_loopback_direct

# Tests talk to servers of their own, on machines behind a proxy too.
keep_loopback_direct(os.environ)

# No test is timed: a busy machine may stop for longer than any example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# What shares something dear (a whole product, a Spark session) runs in one process, these first: they take as long as all the rest.
_OF_THEIR_OWN: Final = {"tests/e2e/test_fault_matrix.py": "faults", "tests/e2e/test_interrupt.py": "interrupt"}
_SHARED: Final = {"e2e": "product", "spark": "spark"}
_FIRST: Final = ("faults", "product", "spark", "interrupt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests stay together in one process, and which come first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: _FIRST.index(group) if (group := _group(item)) in _FIRST else len(_FIRST))


def _group(item: pytest.Item) -> str:
    file = item.nodeid.partition("::")[0]
    shared = next((group for marker, group in _SHARED.items() if item.get_closest_marker(marker)), file)
    return _OF_THEIR_OWN.get(file, shared)
