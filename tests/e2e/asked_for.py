"""Checks what the runs of a product asked AWS for, by role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_cli.stack.cloud_processes import request_log
from local_cloud.keys import Role
from tests.bootstrap.recording import record_if_told, requests_to_emr, requests_to_s3
from tests.bootstrap.requests_of_roles import is_known
from tests.e2e.conftest import request_logs_of
from tests.e2e.fault_cases import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from tests.bootstrap.recording import Asked
    from tests.e2e.conftest import Product

ROLES = (Role.AIRFLOW, Role.NODES, Role.PUBLISHER, Role.DELIVERER)


def assert_asked_for_what_is_known(product: Product, of_messages: AbstractSet[Asked] = frozenset()) -> None:
    """Checks that each request needs only rights that its role is known to need.

    tests/bootstrap/test_policies.py compares those rights with the policies.
    """
    logs, lakes = request_logs_of(product.home), frozenset({product.connection.bucket, ELSEWHERE["FRUITS_LAKE_BUCKET"]})
    asked = requests_to_s3(request_log(logs, "s3"), lakes) | requests_to_emr(request_log(logs, "emr"), lakes)
    assert {each.role for each in asked} == {*ROLES}
    asked |= of_messages
    record_if_told(asked)
    unknown = sorted(str(each) for each in asked if not is_known(each))
    assert not unknown, "\n".join(unknown)
