"""Which ingest date a run means, and which categories."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from fruit_contract.lake import check_category, parse_ingest_date, success_marker_key, uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


def ingest_date_of_run(param: str | None, logical_date: datetime | None, run_after: datetime) -> str:
    """The day a run is about: what the person asked for, else the schedule's day, else the day it was started (UTC).

    A run started by hand may have no logical date. Raises LakeNameError if `param` is not a calendar day.
    """
    if param:
        return parse_ingest_date(param)
    return (logical_date or run_after).astimezone(UTC).date().isoformat()


def categories_of_run(param: Sequence[str] | None) -> list[str]:
    """The categories a run is limited to, sorted and without repeats; an empty list means all of them.

    Raises LakeNameError for a name that can't be a category.
    """
    return sorted({check_category(category) for category in param or ()})


def marker_uri_of_run(bucket: str, params: Mapping[str, Any], dag_run: Any) -> str:
    """The address of the marker a run waits for. `dag_run` is Airflow's, with `logical_date` (or None) and `run_after`."""
    ingest_date = ingest_date_of_run(params["ingest_date"], dag_run.logical_date, dag_run.run_after)
    return uri(bucket, success_marker_key(ingest_date))
