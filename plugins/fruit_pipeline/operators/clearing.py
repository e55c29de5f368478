"""Says what a task finds of its run when a person has cleared some of its tasks, and not others that belong to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

# Airflow clears a task's setups and teardowns with it, but with *only failed* just those that failed, which they mostly
# did not.
HOW_TO_CLEAR: Final = "clear plan_run with *downstream*, without *only failed* (a new cluster is made)"
# A task in any other state has still to run, or runs.
_ENDED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def states_of_tasks(context: Context, dag_id: str) -> dict[str, str | None]:
    """Returns the states of the run's tasks at this moment, by their ids."""
    run_id = context["dag_run"].run_id
    states: dict[str, str | None] = context["ti"].get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    return states


def require_teardown(states: Mapping[str, str | None], teardown: str) -> None:
    """Raises AirflowFailException if the run's teardown has run already, because nobody would end a cluster that is
    asked for after it.
    """
    state = states.get(teardown)
    if state in _ENDED:
        raise AirflowFailException(
            f"No cluster is asked for: {teardown}, which would end it, has run already ({state}) and was not cleared "
            "together with this "
            f"task.\nWhat to do: {HOW_TO_CLEAR}, or trigger a run for the same dates: what is done is not done again."
        )
