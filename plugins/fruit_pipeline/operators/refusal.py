"""Says what a refusal means to Airflow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from fruit_contract.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def refused_for_good() -> Iterator[None]:
    """Fails the task at once if what it does inside is refused, because another try would be refused again."""
    try:
        yield
    except RefusedError as error:
        raise AirflowFailException(str(error)) from error
