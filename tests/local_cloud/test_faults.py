from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from local_cloud.faults import API_KINDS, LOG_KINDS, STEP_KINDS, Fault, FaultBook, FaultKind, faults_path
from tests.local_cloud.written_faults import write_faults

if TYPE_CHECKING:
    from pathlib import Path

THROTTLE = Fault("a", FaultKind.THROTTLE, cluster="2026-11-22", action="RunJobFlow")


def struck(fault: Fault | None) -> str | None:
    return fault.id if fault else None


def test_without_a_file_nothing_strikes(tmp_path: Path) -> None:
    book = FaultBook(tmp_path)
    assert not book.has_any()
    assert book.strike(API_KINDS, ["any"], action="RunJobFlow") is None


def test_a_fault_strikes_what_it_is_about_and_as_often_as_it_says(tmp_path: Path) -> None:
    write_faults(tmp_path, [THROTTLE, Fault("b", FaultKind.SLOW, times=2, seconds=0.5)])
    book = FaultBook(tmp_path)
    name = "fruits 2026-11-22 manual"
    assert book.strike(LOG_KINDS, [name], action="RunJobFlow") is None
    answers = [book.strike(API_KINDS, [name], action="RunJobFlow") for _ in range(4)]
    assert [struck(answer) for answer in answers] == ["a", "b", "b", None]
    assert answers[1] == Fault("b", FaultKind.SLOW, times=2, seconds=0.5)
    assert book.has_any()


@pytest.mark.parametrize(
    ("clusters", "action", "strikes"),
    [
        (["fruits 2026-11-22 manual"], "RunJobFlow", True),
        (["another", "fruits 2026-11-22 manual"], "RunJobFlow", True),
        (["fruits 2026-11-23 manual"], "RunJobFlow", False),
        ([], "RunJobFlow", False),
        (["fruits 2026-11-22 manual"], "ListClusters", False),
    ],
)
def test_the_cluster_is_a_part_of_the_name_and_the_action_a_whole_one(
    tmp_path: Path, clusters: list[str], action: str, strikes: bool
) -> None:
    write_faults(tmp_path, [THROTTLE])
    assert bool(FaultBook(tmp_path).strike(API_KINDS, clusters, action=action)) == strikes


def test_an_api_fault_without_a_cluster_strikes_requests_that_name_none(tmp_path: Path) -> None:
    write_faults(tmp_path, [Fault("a", FaultKind.REFUSE, action="ListClusters")])
    assert FaultBook(tmp_path).strike(API_KINDS, [], action="ListClusters")


def test_the_faults_of_a_step_and_of_its_logs_go_by_its_name(tmp_path: Path) -> None:
    write_faults(
        tmp_path,
        [
            Fault("kill", FaultKind.KILL_STEP, step="extract"),
            Fault("late", FaultKind.LATE_LOGS, step="extract", seconds=1),
        ],
    )
    faults = FaultBook(tmp_path).of_cluster("fruits")
    assert faults.of_bootstrap() is None
    assert faults.of_logs() is None
    assert faults.of_step("refresh") is None
    assert struck(faults.of_step("extract")) == "kill"
    assert struck(faults.of_logs("extract")) == "late"


def test_a_fault_of_logs_without_a_step_strikes_bootstrap_actions_too(tmp_path: Path) -> None:
    write_faults(tmp_path, [Fault("none", FaultKind.NO_LOGS, times=2)])
    faults = FaultBook(tmp_path).of_cluster("fruits")
    assert [struck(faults.of_logs()), struck(faults.of_logs("extract")), struck(faults.of_logs("extract"))] == [
        "none",
        "none",
        None,
    ]


def test_a_file_that_changed_is_read_again_and_strikes_stay_counted(tmp_path: Path) -> None:
    book = FaultBook(tmp_path)
    write_faults(tmp_path, [Fault("a", FaultKind.REFUSE)])
    assert struck(book.strike(API_KINDS, [])) == "a"
    write_faults(tmp_path, [Fault("a", FaultKind.REFUSE), Fault("b", FaultKind.REFUSE)])
    assert struck(book.strike(API_KINDS, [])) == "b"
    write_faults(tmp_path, [])
    assert not faults_path(tmp_path).exists()
    assert not book.has_any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", "Expecting"),
        ('{"id": "a"}', "a list of faults"),
        ('["a"]', "needs an id and a kind"),
        ('[{"id": "a"}]', "needs an id and a kind"),
        ('[{"id": "a", "kind": "earthquake"}]', "'earthquake' is not a valid FaultKind"),
        ('[{"id": "a", "kind": "slow", "minutes": 3}]', "a fault has no minutes"),
        ('[{"id": "a", "kind": "slow", "seconds": "3"}]', "seconds can't be '3'"),
        ('[{"id": "a", "kind": "slow", "times": 0}]', "times can't be 0"),
        ('[{"id": "a", "kind": "slow", "cluster": null}]', "cluster can't be None"),
        ('[{"id": "a", "kind": "slow"}, {"id": "a", "kind": "slow"}]', "these are not alone: a"),
    ],
)
def test_a_bad_file_is_said_once_and_means_no_faults(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    book = FaultBook(tmp_path)
    write_faults(tmp_path, [THROTTLE])
    assert book.has_any()
    faults_path(tmp_path).write_text(text)
    assert not book.has_any()
    assert book.strike(API_KINDS, ["2026-11-22"], action="RunJobFlow") is None
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert words in record.getMessage()
    assert str(faults_path(tmp_path)) in record.getMessage()


def test_a_file_that_is_no_text_means_no_faults(tmp_path: Path) -> None:
    faults_path(tmp_path).write_bytes(b"\xff\xfe")
    assert not FaultBook(tmp_path).has_any()


def test_defaults_need_not_be_written(tmp_path: Path) -> None:
    faults_path(tmp_path).write_text(json.dumps([{"id": "a", "kind": "spot_loss", "step": "extract"}]))
    assert FaultBook(tmp_path).strike(STEP_KINDS, ["fruits"], step="extract") == Fault(
        "a", FaultKind.SPOT_LOSS, step="extract"
    )


def test_many_threads_share_the_strikes(tmp_path: Path) -> None:
    write_faults(tmp_path, [Fault("a", FaultKind.REFUSE, times=25)])
    book = FaultBook(tmp_path)
    answers: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(struck(book.strike(API_KINDS, [])) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {"a": 25, None: 55}


def test_a_fault_is_over_after_its_seconds_or_when_it_is_taken_out_or_given_up(tmp_path: Path) -> None:
    short, long = Fault("short", FaultKind.SLOW, seconds=0.2), Fault("long", FaultKind.SLOW, seconds=600)
    write_faults(tmp_path, [short, long])
    book = FaultBook(tmp_path)
    started = time.monotonic()
    book.outlast(short)
    assert time.monotonic() - started >= 0.2
    given_up = threading.Event()
    given_up.set()
    book.outlast(long, given_up)
    done = threading.Event()
    book.of_cluster("any").after(long, done.set)
    assert not done.wait(0.3)
    write_faults(tmp_path, [short])
    assert done.wait(60)
    assert time.monotonic() - started < 600


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write_faults(tmp_path, [THROTTLE])
    assert list(tmp_path.iterdir()) == [faults_path(tmp_path)]
    assert json.loads(faults_path(tmp_path).read_text()) == [
        {
            "id": "a",
            "kind": "throttle",
            "cluster": "2026-11-22",
            "action": "RunJobFlow",
            "step": "",
            "times": 1,
            "seconds": 0.0,
        }
    ]
