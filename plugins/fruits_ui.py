"""Registers the pipeline's pages with Airflow, which loads this file as a plugin."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from fruit_pipeline.alerts.deadline import RunFirstQueued


class FruitsUi(AirflowPlugin):
    """Registers the pages below `/fruits`. Every Airflow process loads this, each task too, but only the API server
    asks for the pages.
    """

    name = "fruits_ui"
    deadline_references = [RunFirstQueued]  # noqa: RUF012  # the base class has no ClassVar, so mypy wants none here

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a property, so that no other process imports them
        from fruit_pipeline.progress.app import app
        from fruit_pipeline.progress.page import URL_PREFIX

        return [{"app": app, "url_prefix": URL_PREFIX, "name": "Fruits!"}]
