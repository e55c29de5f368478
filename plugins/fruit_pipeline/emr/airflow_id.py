"""Says which Airflow this one is. Its clusters bear its id as a tag, so that no other Airflow with the same lake takes
them for its own.

The first run that is planned draws the id and keeps it in an Airflow Variable. It is the id that Airflow's database has
for this version of the DAG: no other database has that, and all runs of the version draw the same. Airflow has no way
to set a Variable only if it is not there, so two first runs that are planned at the same moment both set it, but to one
value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fruit_pipeline import places
from fruit_pipeline.emr.cluster_request import AIRFLOW_TAG
from fruit_pipeline.emr.states import tags_of

if TYPE_CHECKING:
    from collections.abc import Mapping

AIRFLOW_VARIABLE: Final = "fruits_airflow"
_DESCRIPTION: Final = (
    "This Airflow's id, a tag of its clusters. Change or delete it only while none is up, and give "
    "no other Airflow the same."
)


def airflow_id() -> str:
    """Returns this Airflow's id; an empty text if it has never planned a run, and so has no cluster with an id."""
    return str(places.variables().get(AIRFLOW_VARIABLE, default="")).strip()


def drawn_airflow_id(task_instance: Any) -> str:
    """Returns this Airflow's id, and draws it first if there is none."""
    known = airflow_id()
    if known:
        return known
    places.variables().set(AIRFLOW_VARIABLE, str(task_instance.dag_version_id), description=_DESCRIPTION)
    # Airflow 3.2 only logs that a Variable could not be set. To read it again makes that an error.
    return str(places.variables().get(AIRFLOW_VARIABLE))


def airflow_id_of_run(task_instance: Any) -> str:
    """Returns the id that the run's plan gave to its cluster, whatever the Variable says by now. Returns this Airflow's
    id if the plan gave none.
    """
    request: Mapping[str, Any] | None = task_instance.xcom_pull(task_ids=places.PLANNING_TASK_ID, key="cluster_request")
    return tags_of(request or {}).get(AIRFLOW_TAG) or airflow_id()
