"""Checks the page of a run's progress: it escapes everything from outside, loads nothing, and can be read without
seeing the bar.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from fruit_contract.progress import StepState
from fruit_pipeline.progress.page import CONTENT_SECURITY_POLICY, message_page, progress_page, progress_path
from tests.plugins.progress.test_tracking import NOW, said
from tests.plugins.read_page import HOSTILE_NAMES, Page

if TYPE_CHECKING:
    from fruit_contract.progress import StepProgress

RUN_ID = "manual__2026-11-22T00:00:00+00:00"


def page(progress: StepProgress | None, run_id: str = RUN_ID, **options: Any) -> Page:
    return Page(progress_page(run_id, progress, NOW, **options))


def test_a_step_that_computes() -> None:
    shown = page(said())
    assert "Computing features" in shown.text
    assert f"Run {RUN_ID}" in shown.text
    assert "1,024 of 22,688 images done" in shown.text
    assert "2 rejected so far" in shown.text
    assert "118 images a second" in shown.text
    assert "4 min left (estimate)" in shown.text
    assert "0:09 minutes of computing so far" in shown.text
    assert "Last news: 2026-11-22 05:59:58 UTC" in shown.text
    assert shown.said_to_browser("refresh") == "5"
    assert shown.attributes("progress") == [{"aria-label": "Images done", "max": "1", "value": "0.0451"}]


def test_a_step_that_says_nothing_any_more() -> None:
    shown = page(said(updated_at=(NOW - timedelta(minutes=4)).isoformat()))
    assert "4.5 %, but no news for 4 min." in shown.text
    assert "left" not in shown.text
    assert shown.said_to_browser("refresh") == "15"


def test_the_listing_has_no_numbers_yet() -> None:
    shown = page(said(state=StepState.LISTING, total=0, done=0, rejected=0, images_per_second=None))
    assert "Listing the images" in shown.text
    assert shown.attributes("progress") == [{"aria-label": "Images done"}]
    assert "of 0" not in shown.text


def test_the_end_is_not_renewed() -> None:
    shown = page(said(state=StepState.DONE, done=22_688, seconds=192))
    assert "Features are done" in shown.text
    assert "3:12 minutes of computing" in shown.text
    assert "2 rejected Last" not in shown.text
    assert shown.said_to_browser("refresh") is None
    assert page(said(state=StepState.WRITING, done=22_688)).said_to_browser("refresh") == "5"


def test_a_run_without_new_images_is_done_all_the_same() -> None:
    shown = page(said(state=StepState.DONE, total=0, done=0, rejected=0, images_per_second=None))
    assert "Features are done" in shown.text
    assert shown.attributes("progress")[0]["value"] == "1.0000"


def test_without_progress_it_says_when_there_will_be_some() -> None:
    shown = page(None)
    assert "No progress yet" in shown.text
    assert f"Run {RUN_ID}" in shown.text
    assert shown.said_to_browser("refresh") == "15"


@pytest.mark.parametrize("state", [None, *StepState])
def test_it_loads_nothing_and_runs_no_script(state: str | None) -> None:
    shown = page(said(state=state) if state else None)
    assert not {tag for tag, _ in shown.tags} & {"script", "link", "img", "iframe", "form", "object"}
    policy = shown.said_to_browser("Content-Security-Policy")
    assert policy
    assert policy.startswith("default-src 'none';")
    assert not any(name.startswith("on") for _, attributes in shown.tags for name in attributes)


def test_a_run_id_can_be_anything() -> None:
    run_id = "</p><script>alert(1)</script>\"'&/../?#%"
    for progress in (None, said(run_id=run_id)):
        shown = page(progress, run_id)
        assert not shown.attributes("script")
        assert f"Run {run_id}" in shown.text
        address = shown.attributes("a")[0]["href"]
        assert address
        assert unquote(address) == f"/dags/fruit_image_pipeline/runs/{run_id}"
        assert address.count("/") == 4


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_becomes_a_part_of_a_page(name: str) -> None:
    for plain, hostile in (
        (progress_page("plain", None, NOW), progress_page(name, None, NOW)),
        (progress_page("plain", said(run_id="plain"), NOW), progress_page(name, said(run_id=name, step=name), NOW)),
        (message_page("plain", "plain", "/plain"), message_page(name, name, name)),
    ):
        shown = Page(hostile)
        assert shown.shape == Page(plain).shape
        assert name in shown.texts
        assert shown.said_to_browser("Content-Security-Policy") == CONTENT_SECURITY_POLICY


def test_paths_hold_the_run_as_one_word() -> None:
    assert progress_path(RUN_ID) == "/fruits/progress/manual__2026-11-22T00%3A00%3A00%2B00%3A00"
    assert page(None, airflow_path="/data/airflow").attributes("a")[0]["href"] == (
        "/data/airflow/dags/fruit_image_pipeline/runs/manual__2026-11-22T00%3A00%3A00%2B00%3A00"
    )


def test_a_message() -> None:
    shown = Page(message_page("<Not>", "Log in & come back.", "/data"))
    assert shown.text == "Fruits! <Not> Fruits! <Not> Log in & come back. To Airflow"
    assert shown.attributes("a") == [{"href": "/data/"}]
    assert shown.said_to_browser("refresh") is None
    assert Page(message_page("Later", "", renew=True)).said_to_browser("refresh") == "15"


def test_the_sample_is_one_of_a_running_step() -> None:
    assert said().state == StepState.COMPUTING
