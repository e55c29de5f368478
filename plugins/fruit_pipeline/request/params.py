"""Tells which ingest dates a run means, and which categories."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from fruit_contract.day_boundary import UTC_DAYS
from fruit_contract.ingest_days import days_between
from fruit_contract.lake import LakeNameError, check_category, parse_ingest_date, success_marker_key, uri
from fruit_contract.runs import RunType
from fruit_pipeline.errors import ParamsRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from fruit_contract.day_boundary import DayBoundary

_NO_PART_OF_A_NAME: Final = "\t\r\n"
# Where OpenLineage is on, TriggerDagRunOperator puts this key into the conf of each run it triggers. Nobody asked for
# it, and Airflow need not hand it on to tasks.
_ADDED_BY_PROVIDERS: Final = frozenset({"openlineage"})


@dataclass(frozen=True)
class RunDates:
    """Holds the dates a run is about, and the earlier ones in which it looks for late, replaced and vanished images;
    both ascending.

    `waits` is true if the run waits for the batch of its one date; otherwise it works on what is there.
    """

    asked: tuple[str, ...]
    looked_back: tuple[str, ...] = ()
    waits: bool = True


def require_params_as_given(
    given: Mapping[str, Any] | None, declared: Collection[str], taken: Mapping[str, Any]
) -> None:
    """Raises ParamsRefusedError if a run was given a param that the DAG does not declare, or if its tasks get another
    value than was given.

    `given` is the run's conf, `taken` what Airflow makes of it for tasks. A misspelt param is in `taken`, too, beside
    the right one, which keeps its default: a misspelt date would quietly mean another day. `taken` has nothing of the
    conf if Airflow is told not to hand it on. What Airflow's own providers add to a conf counts as not given.
    """
    given = {name: value for name, value in (given or {}).items() if name not in _ADDED_BY_PROVIDERS}
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(sorted(declared))
        raise ParamsRefusedError(
            f"The run was given params that do not exist: {', '.join(unknown)}. There are: {known}."
        )
    ignored = sorted(name for name, value in given.items() if value != taken.get(name))
    if ignored:
        raise ParamsRefusedError(
            f"Airflow does not hand on what the run was given: {', '.join(ignored)}. Set its option [core] "
            "dag_run_conf_overrides_params to True, then trigger the run again."
        )


def dates_of_run(
    params: Mapping[str, Any],
    run_type: str,
    logical_date: datetime | None,
    run_after: datetime,
    *,
    lookback_days: int,
    event_dates: Sequence[str] = (),
    boundary: DayBoundary = UTC_DAYS,
) -> RunDates:
    """Returns the dates that the person asked for, or else those that events announced, or else the schedule's day, or
    else the day on which the run was started.

    Only scheduled runs and those that events started look back. A run started by hand may have no logical date.
    `boundary` says to which day a moment belongs. Raises LakeNameError if a param is not a calendar day, the range is
    upside down or too long, or a backfill is given a day.
    """
    first, last = params.get("ingest_date"), params.get("last_ingest_date")
    if (first or last) and run_type == RunType.BACKFILL:
        raise LakeNameError(
            f"A backfill has a run for each day, and all of them would be about {first or last}: leave the ingest "
            "dates empty. For a range of days on one cluster, trigger a single run with its first and last ingest date."
        )
    if last:
        if not first:
            raise LakeNameError(f"A range needs its first ingest date, too: only the last one ({last}) was given.")
        return RunDates(tuple(days_between(first, last)), waits=False)
    if first:
        return RunDates((parse_ingest_date(first),))
    own = boundary.day_at(logical_date or run_after).isoformat()
    if run_type == RunType.ASSET_TRIGGERED:
        asked = tuple(sorted(set(event_dates))) or (own,)
        return RunDates(asked, _days_before(asked, lookback_days), waits=False)
    if run_type == RunType.SCHEDULED:
        return RunDates((own,), _days_before((own,), lookback_days))
    return RunDates((own,))


def categories_of_run(param: Sequence[str] | None) -> list[str]:
    """Returns the categories a run is limited to, sorted and without repeats; an empty list means all of them.

    They come from lines that people type. An empty line is no category, and a tab or a line's end around a name is no
    part of it, because no name can hold one. Blanks stay, see `categories_as_meant`. Raises LakeNameError for a name
    that can't be a category.
    """
    names = (line if line == line.strip(_NO_PART_OF_A_NAME) else line.strip() for line in param or ())
    return sorted({check_category(name) for name in names if name})


def categories_as_meant(asked: Sequence[str], there: Collection[str]) -> dict[str, str]:
    """Returns what each name that was asked for stands for: itself, or if there is no such category, the one without
    blanks around it.

    The names of categories are exact and may begin or end with a blank, but a blank behind a name that somebody typed
    is seldom meant. A line of nothing but blanks stands for no category, unless there is one of that name.
    """
    meant = {
        name: name if name in there or (name.strip() and name.strip() not in there) else name.strip() for name in asked
    }
    return {name: stands_for for name, stands_for in meant.items() if stands_for}


def run_type_of(dag_run: Any) -> str:
    """Returns what started Airflow's run: a RunType, or another word of Airflow's."""
    return str(getattr(dag_run.run_type, "value", dag_run.run_type))


def marker_uri_of_run(bucket: str, boundary: DayBoundary, params: Mapping[str, Any], dag_run: Any) -> str:
    """Returns the address of the marker that a run waits for, empty if it waits for none. `dag_run` is Airflow's.

    It is empty for params that make no sense, too: `plan_run` refuses them at once, with a message.
    """
    try:
        dates = dates_of_run(
            params, run_type_of(dag_run), dag_run.logical_date, dag_run.run_after, lookback_days=0, boundary=boundary
        )
    except LakeNameError:
        return ""
    return uri(bucket, success_marker_key(dates.asked[0])) if dates.waits else ""


def _days_before(asked: Sequence[str], n_days: int) -> tuple[str, ...]:
    """Returns the `n_days` days before the latest of `asked`, without those asked for."""
    latest = date.fromisoformat(max(asked))
    n_days = min(n_days, (latest - date.min).days)
    days = {(latest - timedelta(days=number)).isoformat() for number in range(1, n_days + 1)}
    return tuple(sorted(days - set(asked)))
