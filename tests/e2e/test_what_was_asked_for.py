"""Checks that what the other tests' runs of this product asked for needs no right that is not known to be needed.

It must be the last of its folder, in the order in which tests run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.asked_for import assert_asked_for_what_is_known

if TYPE_CHECKING:
    from tests.e2e.conftest import Product
    from tests.e2e.messages import Messages

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_runs_ask_for_nothing_that_their_roles_are_not_known_to_need(product: Product, messages: Messages) -> None:
    assert {each.action.partition(":")[0] for each in messages.asked} == {"sqs", "sns"}
    assert_asked_for_what_is_known(product, messages.asked)
