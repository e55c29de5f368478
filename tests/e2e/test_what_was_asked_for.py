"""What the runs of the other tests here asked S3 and EMR for takes no right that is not known to be needed.

The last of its folder, in the order in which tests run. tests/bootstrap/test_policies.py has the comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fruit_cli.stack.lifecycle import request_log
from local_cloud.keys import Role
from tests.bootstrap.recording import record_if_told, requests_to_emr, requests_to_s3
from tests.bootstrap.requests_of_roles import is_known
from tests.e2e.fault_cases import ELSEWHERE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROLES = (Role.AIRFLOW, Role.NODES, Role.PUBLISHER, Role.DELIVERER)


def test_runs_ask_for_nothing_that_their_roles_are_not_known_to_need(product: Product, request_logs: Path) -> None:
    lakes = frozenset({product.connection.bucket, ELSEWHERE["FRUITS_LAKE_BUCKET"]})
    asked = requests_to_s3(request_log(request_logs, "s3"), lakes) | requests_to_emr(request_log(request_logs, "emr"), lakes)
    assert {each.role for each in asked} <= {*ROLES}
    record_if_told(asked)
    assert sorted(str(each) for each in asked if not is_known(each)) == []
