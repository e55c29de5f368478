"""Checks what a job tells of the error that ends it, and that telling never hides the error."""

from __future__ import annotations

import importlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py4j.protocol import Py4JNetworkError

from fruit_contract.failures.record import StepFailure
from fruit_contract.lake import failure_key
from fruit_features import failure as failure_module
from fruit_features.extraction.step import BooksError
from fruit_features.failure import failure_in, failure_told
from fruit_features.lake.store import LostPlaceError, Store
from fruit_features.moments.algebra import NotFiniteError
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN_ID, STEP = "manual__2026-11-22T00:00:00+00:00", "extract_features"
KEY = failure_key(RUN_ID, STEP)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    objects: dict[str, bytes] = {}
    monkeypatch.setattr(Store, "write", lambda _, key, content: objects.update({key: bytes(content)}))
    return objects


def ended_by(error: BaseException) -> None:
    with failure_told("fruits-lake", RUN_ID, STEP):
        raise error


def told(written: dict[str, bytes]) -> StepFailure:
    failure = StepFailure.read(written[KEY])
    assert failure
    return failure


@pytest.mark.parametrize(
    ("error", "cause", "may_pass"),
    [
        (BooksError("The books of 'Kiwi' of 2026-11-22 do not balance: 3 listed"), "books_do_not_balance", False),
        (LostPlaceError("Another writer committed 2026-11-22 meanwhile."), "another_writer", True),
        (NotFiniteError("raw/ingest_date=2026-11-22/Kiwi/1.jpg"), "features_not_finite", False),
        (MemoryError("Unable to allocate 12.5 GiB"), "out_of_memory", False),
        (OSError(28, "No space left on device"), "disk_full", False),
        (TimeoutError("read timed out"), "network", True),
        (ZeroDivisionError("division by zero"), "code_error", False),
        (type("NewKindOfError", (Exception,), {})("never seen"), "unknown", False),
    ],
)
def test_an_error_is_told_with_its_cause_and_whether_it_may_pass(
    written: dict[str, bytes], error: Exception, cause: str, may_pass: bool
) -> None:
    with pytest.raises(type(error)) as raised:
        ended_by(error)
    assert raised.value is error
    failure = told(written)
    assert (failure.step, failure.cause, failure.may_pass) == (STEP, cause, may_pass)
    assert failure.name.endswith(type(error).__name__)
    assert str(error) in failure.message
    assert failure.what_to_do
    assert any("raise error" in line for line in failure.context)


CLASS = re.compile(r"^class (\w+Error)\(", re.MULTILINE)
OWN = [
    (".".join(file.relative_to(root).with_suffix("").parts), name)
    for root, package in ((PROJECT / "spark_jobs", "fruit_features"), (PROJECT, "fruit_contract"))
    for file in sorted((root / package).rglob("*.py"))
    for name in CLASS.findall(file.read_text(encoding="utf-8"))
    # Three are always caught by the steps themselves, and one is a base class.
    if name not in {"UnreadableImageError", "UnusableFileError", "TooFewImagesError", "RefusedError"}
]


@pytest.mark.parametrize(("module", "name"), OWN)
def test_every_error_of_the_steps_is_told_as_more_than_a_defect(
    written: dict[str, bytes], module: str, name: str
) -> None:
    kind = getattr(importlib.import_module(module), name)
    with pytest.raises(kind):
        ended_by(kind("s3://fruits-lake/raw/ingest_date=2026-11-22/Kiwi/1.jpg"))
    failure = told(written)
    assert failure.name == f"{module}.{name}"
    assert failure.cause not in {"code_error", "unknown"}


def test_the_root_of_a_chain_is_told_also_if_the_end_of_the_session_fails_on_top(written: dict[str, bytes]) -> None:
    def cleaning_up() -> None:
        try:
            raise BooksError("Kiwi")
        finally:
            raise Py4JNetworkError("Answer from Java side is empty")

    with pytest.raises(Py4JNetworkError), failure_told("fruits-lake", RUN_ID, STEP):
        cleaning_up()
    assert told(written).cause == "books_do_not_balance"


@pytest.mark.parametrize(
    "error", [Py4JNetworkError("Answer from Java side is empty"), KeyboardInterrupt(), SystemExit(2), GeneratorExit()]
)
def test_what_others_decided_or_what_follows_from_a_lost_java_is_not_told(
    written: dict[str, bytes], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        ended_by(error)
    assert written == {}


def test_nothing_is_told_of_a_step_that_succeeds(written: dict[str, bytes]) -> None:
    with failure_told("fruits-lake", RUN_ID, STEP):
        pass
    assert written == {}


def refuse(*_: object) -> None:
    raise PermissionError("denied: retry")


def hang(*_: object) -> None:
    time.sleep(60)


@pytest.mark.parametrize("write", [refuse, hang])
def test_a_store_that_refuses_or_does_not_answer_hides_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], write: Callable[..., Any]
) -> None:
    monkeypatch.setattr(Store, "write", write)
    monkeypatch.setattr(failure_module, "_PATIENCE_SECONDS", 0.5)
    error = BooksError("Kiwi")
    with pytest.raises(BooksError) as raised:
        ended_by(error)
    assert raised.value is error
    said = capsys.readouterr().out
    assert said == (
        "warning: why the step failed could not be told to the lake (PermissionError); its log says it.\n"
        * (write is refuse)
    )
    # What was said stands right before the traceback in the log, and changes nothing of what is read there.
    found = failure_in(
        STEP,
        f'{said}Traceback (most recent call last):\n  File "job.py", line 1, in main\nfruit_features.x.BooksError: '
        "Kiwi\n",
    )
    assert found
    assert found.cause == "books_do_not_balance"


def test_a_process_that_can_start_no_thread_ends_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(BooksError) as raised:
        ended_by(BooksError("Kiwi"))
    assert raised.value.__context__ is None


@given(
    st.text(),
    st.sampled_from([ValueError, BooksError, RuntimeError, type("Odd", (Exception,), {"__str__": lambda _: 1 / 0})]),
)
def test_whatever_an_error_says_it_is_raised_on(text: str, kind: type[Exception]) -> None:
    objects: dict[str, bytes] = {}
    error = kind(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "write", lambda _, key, content: objects.update({key: content}))
        with pytest.raises(kind) as raised:
            ended_by(error)
    assert raised.value is error
    assert all(StepFailure.read(content) for content in objects.values())


@pytest.fixture(autouse=True)
def _no_thread_is_waited_for() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
