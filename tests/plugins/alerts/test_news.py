"""Checks the words that people are told, and what fits into a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.alerts.news import (
    News,
    NewsPlace,
    TaskFailure,
    news_of_failures,
    sns_message,
    sns_subject,
    with_place,
)

RUN = NewsPlace("fruit_image_pipeline", "manual__2026-11-26T10:00:00+00:00 ä/b")
STEP = TaskFailure(
    "extract_features",
    2,
    "run_failed",
    "out_of_memory",
    "It ended.\nWhat to do: take more memory.",
    "2026-11-26T10:00:00",
)
TEARDOWN = TaskFailure(
    "terminate_cluster", 7, "run_failed", "", "Not ended within 30 minutes: j-1", "2026-11-26T10:40:00"
)


def told(failures, silent=(), **words):
    return news_of_failures(failures, silent, **({"subject": "Fruits! run failed"} | words))


def test_the_first_task_that_failed_and_its_cause_are_in_the_subject() -> None:
    news = told([TEARDOWN, STEP])
    assert news.event == "run_failed"
    assert news.subject == "Fruits! run failed in extract_features, terminate_cluster (out_of_memory)"
    assert news.message.index("extract_features failed, in its try 2.") < news.message.index(
        "terminate_cluster failed, in its try 7."
    )


def test_each_failure_says_what_to_do_once() -> None:
    news = told([TEARDOWN, STEP])
    assert news.message.count("What to do: ") == 2
    assert "What to do: take more memory." in news.message
    assert "Then clear terminate_cluster (with *downstream*, without *only failed*)" in news.message


def test_a_task_that_left_no_word_is_named_all_the_same() -> None:
    news = told([], ["extract_features"])
    assert news.subject == "Fruits! run failed in extract_features"
    assert "extract_features failed, and left no word why" in news.message
    assert "What to do: " in news.message


def test_a_run_in_which_nothing_failed_now_says_what_was_not_cleared() -> None:
    news = told([], note="Clusters may be up.")
    assert news.subject == "Fruits! run failed"
    assert news.message.startswith("Clusters may be up.\n\nNo task failed this time.")
    assert "clear those as well (with *downstream*, without *only failed*)" in news.message


def test_a_run_above_the_budget_is_news_of_its_own_kind() -> None:
    news = told([TaskFailure("plan_run", 1, "over_budget", "", "99 EUR.\nWhat to do: ask for less.", "2026")])
    assert (news.event, news.subject) == ("over_budget", "Fruits! run is above the budget")
    assert news.message == "plan_run failed, in its try 1.\n99 EUR.\nWhat to do: ask for less."


def test_the_link_holds_whatever_the_run_is_called() -> None:
    news = with_place(News("run_failed", "failed", "why"), RUN, "https://airflow.example/")
    assert news.subject == f"failed: {RUN.name}"
    page = (
        "https://airflow.example/dags/fruit_image_pipeline/runs/manual__2026-11-26T10%3A00%3A00%2B00%3A00%20%C3%A4%2Fb"
    )
    assert news.message == f"why\n\nRun: {RUN.name}\nIts page: {page}"
    task = NewsPlace(RUN.dag_id, RUN.run_id, "plan_run")
    assert with_place(News("batch_missing", "late", "why"), task, "https://airflow.example").message.endswith(
        f"{page}/tasks/plan_run"
    )


def test_without_an_address_of_the_ui_or_a_run_there_is_no_link() -> None:
    assert with_place(News("run_failed", "failed", "why"), RUN, "").message == f"why\n\nRun: {RUN.name}"
    assert with_place(News("run_failed", "failed", "why"), NewsPlace(), "https://airflow.example") == News(
        "run_failed", "failed", "why"
    )


@given(st.text(max_size=300))
def test_sns_takes_every_subject(text: str) -> None:
    subject = sns_subject(text)
    assert len(subject) < 100
    assert subject.isascii()
    assert not subject or subject.isprintable()


def test_sns_takes_the_longest_message() -> None:
    message = sns_message(News("run_failed", "failed", "ä" * 300_000))
    assert message.startswith("failed\n\nä")
    assert 249_000 < len(message.encode()) < 256 * 1024
