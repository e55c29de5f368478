"""Serves the pages that Airflow's API server shows beside its own UI, below `/fruits`: checks who asks, reads the lake,
and answers with a page.

Airflow mounts such an app without any authentication, so each route asks for Airflow's own: whoever may see the runs of
the main flow may see its pages.
"""

from __future__ import annotations

import logging
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from airflow.sdk.exceptions import AirflowException
from airflow.utils.session import create_session
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from fruit_contract.errors import RefusedError
from fruit_contract.lake import progress_key
from fruit_contract.newer_python import UTC
from fruit_contract.release import EXTRACT_FEATURES_STEP
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID
from fruit_pipeline.errors import MissingObjectError, SettingsError
from fruit_pipeline.lake.store import lake_of
from fruit_pipeline.places import PLACE_XCOM, PLANNING_TASK_ID, settings_of_run
from fruit_pipeline.progress.link import airflow_path
from fruit_pipeline.progress.page import CONTENT_SECURITY_POLICY, message_page, progress_page
from fruit_pipeline.progress.tracking import parse_progress
from fruit_pipeline.settings import load_settings

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)
_HEADERS: Final = {
    "Content-Security-Policy": f"{CONTENT_SECURITY_POLICY}; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_MESSAGES: Final = {
    HTTPStatus.UNAUTHORIZED: ("Not logged in", "Log in to Airflow, then open this page again."),
    HTTPStatus.FORBIDDEN: ("Not allowed", f"You may not see the runs of {MAIN_DAG_ID}."),
    HTTPStatus.NOT_FOUND: ("Not found", "There is no such page."),
}

# The app has no description of itself, because that would be open to everybody.
app = FastAPI(title="Fruits!", docs_url=None, redoc_url=None, openapi_url=None)


@app.get(
    "/progress/{run_id:path}",
    response_class=HTMLResponse,
    dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN, MAIN_DAG_ID))],
)
def show_progress(run_id: str) -> HTMLResponse:
    """Returns the page that shows how far the features step of a run of the main flow has come."""
    try:
        content = lake_of(_settings_of(run_id)).read_bytes(progress_key(run_id, EXTRACT_FEATURES_STEP))
        progress = parse_progress(content)
    except MissingObjectError:
        progress = None
    except (AirflowException, BotoCoreError, ClientError, RefusedError, SettingsError):
        # The error may name things that a viewer need not know, so it goes to the log only.
        LOG.exception("The progress of %r can't be read", run_id)
        text = "The lake can't be read from Airflow's API server: its log says why."
        return _respond(
            message_page("Progress can't be shown", text, airflow_path(), renew=True), HTTPStatus.BAD_GATEWAY
        )
    return _respond(progress_page(run_id, progress, datetime.now(UTC), airflow_path()))


def _settings_of(run_id: str) -> Settings:
    """Returns the settings for the lake that the run works in if it is planned already, or else for the lake that is
    set.
    """
    with create_session(scoped=False) as session:
        planned = XComModel.get_many(
            run_id=run_id, key=PLACE_XCOM, task_ids=PLANNING_TASK_ID, dag_ids=MAIN_DAG_ID, limit=1
        )
        told = session.scalar(planned)
        place = XComModel.deserialize_value(told) if told else None
    return settings_of_run(load_settings(), place) if place else load_settings()


@app.exception_handler(HTTPException)
def explain(_: Request, error: HTTPException) -> HTMLResponse:
    """Returns a refusal as a page, because it is people who come here."""
    status = HTTPStatus(error.status_code)
    title, text = _MESSAGES.get(status, (status.phrase, str(error.detail)))
    return _respond(message_page(title, text, airflow_path()), status)


def _respond(page: str, status: HTTPStatus = HTTPStatus.OK) -> HTMLResponse:
    return HTMLResponse(page, status, _HEADERS)
