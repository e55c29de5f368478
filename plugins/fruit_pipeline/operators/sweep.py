"""Ends the clusters that nobody else will end, in every place in which this Airflow has worked."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from fruit_contract.newer_python import UTC
from fruit_contract.runs import UNDER_WAY
from fruit_pipeline.alerts.news import ORPHANS_SWEPT, SETTINGS_REFUSED
from fruit_pipeline.alerts.notifiers import tell
from fruit_pipeline.claims.claim_book import DatesBook, pca_book
from fruit_pipeline.claims.claims import made_before
from fruit_pipeline.emr.airflow_id import airflow_id
from fruit_pipeline.emr.client import emr_client, terminate_clusters
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID
from fruit_pipeline.emr.clusters import our_active_clusters
from fruit_pipeline.emr.orphans import judge_clusters
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.places import Place, ask_each, forget, known_places, remembered_places, variables
from fruit_pipeline.request.context import is_active_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fruit_pipeline.claims.claim_book import ClaimBook
    from fruit_pipeline.claims.claims import Claim
    from fruit_pipeline.emr.orphans import Judged
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)

# A place is remembered right before a cluster is asked for. EMR's clock may be another, and a request is repeated for
# minutes.
_REQUESTS_TAKE: Final = timedelta(hours=1)
# A run asks for its cluster sooner than this after it was planned. If a person clears its task later, the place is
# remembered again.
_REMEMBERED_FOR: Final = timedelta(days=1)
_TOLD: Final = "fruits_bad_settings_told"


def sweep_in_task(
    context: Mapping[str, Any], settings: Settings, bad_settings: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Looks at the living clusters of every place, ends the orphans and returns what it ended.

    `bad_settings` say which variables hold what they may not. These take their defaults, so no place is forgotten while
    there are any.

    Raises AirflowException at the end if there is a place that it could not look at.
    """
    _tell_bad_settings(context, settings, "\n".join(bad_settings))
    here, last_used = Place.of(settings), remembered_places()
    ended: list[dict[str, str]] = []

    def sweep(there: Settings) -> None:
        place = Place.of(there)
        ended.extend(_sweep_place(context, there, None if place == here else last_used[place]))
        if place != here and not bad_settings and _is_left(context, there, last_used[place], here):
            forget(place)
            LOG.info("Nothing of ours is left in the %s: nobody looks there any more.", place)

    _, errors = ask_each(settings, known_places(settings), sweep)
    if errors:
        told = "\n".join(
            f"- {place}: {error}"
            + (
                ""
                if place == here
                else f" (if nothing of ours is there any more, delete the Variable {place.variable})"
            )
            for place, error in errors.items()
        )
        raise AirflowException(f"Clusters may be up that nobody ends, in places that could not be looked at:\n{told}")
    return ended


def _tell_bad_settings(context: Mapping[str, Any], settings: Settings, bad: str) -> None:
    """Tells people once of each state of the settings. What they were told last is kept in a Variable until all is
    well. What could not be delivered is told again by the next sweep.
    """
    if bad:
        LOG.error("These settings can't be used, and this sweep takes their defaults:\n%s", bad)
    if bad == variables().get(_TOLD, default=""):
        return
    if not bad:
        variables().delete(_TOLD)
        return
    message = (
        f"{bad}\nSo fruit_image_pipeline can't be read: no run begins, and tasks of runs under way fail, also those "
        "that end clusters. This sweep goes on with the variable's default, and ends clusters when their runs are "
        "over.\nWhat to do: set it right for all of Airflow's processes and restart them, then clear what has failed "
        "meanwhile."
    )
    if tell(context, settings, SETTINGS_REFUSED, "Fruits! settings can't be used", message):
        variables().set(_TOLD, bad, description="Of which bad settings sweep_orphan_clusters has told people.")


def _sweep_place(context: Mapping[str, Any], settings: Settings, last_used: datetime | None) -> list[dict[str, str]]:
    """Ends the orphans of one place and returns them. `last_used` is when this Airflow last worked there, None if it
    does so now.
    """

    def is_under_way(dag_id: str, run_id: str) -> bool:
        return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=[*UNDER_WAY]))

    client, place = emr_client(settings), Place.of(settings)
    judged = judge_clusters(
        our_active_clusters(client, settings.lake_bucket),
        settings.lake_bucket,
        datetime.now(UTC),
        timedelta(minutes=settings.sweep_grace_minutes),
        is_under_way,
        airflow_id=airflow_id(),
        asked_before=last_used + _REQUESTS_TAKE if last_used else None,
    )
    for cluster in judged:
        LOG.info("%s %s: %s.", "Ending" if cluster.is_orphan else "Leaving", cluster.cluster_id, cluster.reason)
    anothers = [cluster.cluster_id for cluster in judged if cluster.is_of_another_airflow]
    if anothers:
        LOG.warning(
            "%s clusters are of another Airflow with the same lake, and are left to it. If that Airflow is gone (or "
            "its database is), EMR ends them when they have been idle for long enough. By hand: aws emr "
            "terminate-clusters --region %s --cluster-ids %s",
            len(anothers),
            place.region,
            " ".join(anothers),
        )
    orphans = [cluster for cluster in judged if cluster.is_orphan]
    if orphans:
        lines = [f"{cluster.cluster_id} '{cluster.name}': {cluster.reason}" for cluster in orphans]
        advice = (
            "What to do: nothing for these. If it comes back, see in the log of terminate_cluster why their runs "
            "left them."
        )
        message = "\n".join([f"In the {place}:", *lines, advice])
        terminate_clusters(client, [cluster.cluster_id for cluster in orphans])
        tell(context, settings, ORPHANS_SWEPT, f"Fruits! {len(orphans)} orphan clusters are ended", message)
    LOG.info("%s clusters of ours in the %s, %s of them ended.", len(judged), place, len(orphans))
    return [_row(cluster, place) for cluster in orphans]


def _row(cluster: Judged, place: Place) -> dict[str, str]:
    return {"cluster_id": cluster.cluster_id, "name": cluster.name, "reason": cluster.reason, "region": place.region}


def _is_left(context: Mapping[str, Any], settings: Settings, last_used: datetime, here: Place) -> bool:
    """Returns whether this Airflow has nothing left in a place: no cluster, and no claim in another lake than the one
    it works in.

    What a run of its own that has ended still holds is given back, because in a lake where nobody works, nobody would
    ever take it over.
    """
    if datetime.now(UTC) - last_used < _REMEMBERED_FOR or our_active_clusters(
        emr_client(settings), settings.lake_bucket
    ):
        return False
    if settings.lake_bucket == here.lake_bucket:
        return True
    try:
        lake = lake_of(settings)
        lives = is_active_run(context["ti"], settings, MAIN_DAG_ID)
        return not [
            claim for book in (DatesBook(lake), pca_book(lake)) for claim in _claims_left(book, last_used, lives)
        ]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
        return True


def _claims_left(book: ClaimBook, last_used: datetime, lives: Callable[[str], bool]) -> list[Claim]:
    """Returns the claims of this Airflow's runs that may still write, and gives the others of its claims back. Later
    claims are another Airflow's.
    """
    ours = made_before(book.read(), last_used + _REQUESTS_TAKE)
    left = [claim for claim in ours if lives(claim.run_id)]
    for claim in ours:
        if claim not in left:
            LOG.info(
                "The run %s has ended and held %s in %s: it is given back.",
                claim.run_id,
                ", ".join(claim.names),
                book.key,
            )
            book.give_back_if_possible(claim.run_id)
    return left
