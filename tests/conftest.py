"""How the tests are dealt out to several processes."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from local_cloud.project import PROJECT
from local_cloud.stack.ports import keep_loopback_direct

# Tests talk to servers of their own, on machines behind a proxy too.
keep_loopback_direct(os.environ)

# No test is timed: a busy machine may stop for longer than any example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# What shares something dear (a whole product, a Spark session) stays in one process. These come first, for they take as long as the rest.
_LONGEST_FIRST: Final = ("product", "spark")


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
