"""Checks claims that runs take at the same time: whatever comes between two of their requests, no two runs hold the
same.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from fruit_contract.lake import claims_prefix, dates_claims_key
from fruit_pipeline.claims.claim_book import ATTEMPTS, ClaimBook, DatesBook
from fruit_pipeline.claims.claims import Claim, Wish
from fruit_pipeline.errors import ClaimLostError, DamagedFileError, ReplacedMeanwhileError
from fruit_pipeline.lake.store import Lake
from tests.plugins.sample_lake import BUCKET, MemoryS3, held_dates, hold_dates

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.sample_lake import SampleLake

DAY, NEXT_DAY = "2026-11-22", "2026-11-23"
DAYS = (DAY, NEXT_DAY, "2026-11-24")
A_CLAIM: dict[str, Any] = {"run_id": "own", "names": [DAY], "since": "2026-11-22T08:00:00+00:00", "cluster_id": ""}


class KilledError(BaseException):
    """Stops a run as if its worker were gone: nothing of it goes on, and no `except Exception` catches this."""


class Turnstile(MemoryS3):
    """Lets one request of one run through at a time, when it is told to. It may be a store that ignores conditions."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[int, Run] = {}

    def _wait(self) -> None:
        run = self.runs.get(threading.get_ident())
        if run:
            run.pause()

    def get_object(self, **request: Any) -> Any:
        self._wait()
        return super().get_object(**request)

    def put_object(self, **request: Any) -> None:
        self._wait()
        super().put_object(**request)


@dataclass
class Run:
    """Describes one of several runs. It takes dates, works on them and gives them back, for as many steps as the test
    lets it.
    """

    name: str
    wants: tuple[str, ...]
    book: ClaimBook
    store: Turnstile
    lives: Callable[[str], bool]
    holds: tuple[str, ...] = ()
    is_dead: bool = False
    is_over: bool = False
    turns_held: int = 0
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _paused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _kill: bool = False

    def start(self) -> None:
        self.is_dead = self.is_over = self._kill = False
        threading.Thread(target=self._live, daemon=True).start()
        self._paused.acquire()

    def step(self) -> None:
        """Lets the run go on until just before its next request."""
        self._go.release()
        self._paused.acquire()

    def kill(self) -> None:
        self._kill = True
        self.step()

    def pause(self) -> None:
        self._paused.release()
        self._go.acquire()
        if self._kill:
            raise KilledError

    def _live(self) -> None:
        self.store.runs[threading.get_ident()] = self
        try:
            while not self.holds:
                self.holds = self.book.take(Wish(self.name, self.wants), self.lives).held
                self.pause()
            self.turns_held += 1
            self.holds = ()
            self.book.give_back(self.name)
            self.is_over = True
        except KilledError:
            self.holds, self.is_dead = (), True
        finally:
            del self.store.runs[threading.get_ident()]
            self._paused.release()


@settings(max_examples=50, deadline=None)
@given(data=st.data(), wants=st.lists(st.lists(st.sampled_from(DAYS), min_size=1, unique=True), min_size=2, max_size=4))
def test_whoever_is_interrupted_or_killed_between_any_two_requests_no_two_hold_one_date(
    data: Any, wants: list[list[str]]
) -> None:
    store = Turnstile()
    runs: dict[str, Run] = {}

    def lives(name: str) -> bool:
        return not runs[name].is_dead and not runs[name].is_over

    for number, days in enumerate(wants):
        name = f"run {number}"
        book = ClaimBook(Lake(store, BUCKET), dates_claims_key(), sleep=lambda _: None)
        runs[name] = Run(name, tuple(days), book, store, lives)
        runs[name].start()
    for _ in range(data.draw(st.integers(10, 40))):
        under_way = [run for run in runs.values() if lives(run.name)]
        if not under_way:
            break
        run = data.draw(st.sampled_from(under_way))
        what = data.draw(st.sampled_from(["step"] * 8 + ["kill", "kill and set going again"]))
        if what == "step":
            run.step()
        else:
            run.kill()
            if what != "kill":
                run.start()
        held = Counter(day for other in runs.values() for day in other.holds)
        assert max(held.values(), default=0) <= 1, [(other.name, other.holds) for other in runs.values()]
    # Nobody is locked out for ever: those that live get their turn, whatever the dead have left.
    for _ in range(500):
        under_way = [run for run in runs.values() if lives(run.name)]
        for run in under_way:
            run.step()
            held = Counter(day for other in runs.values() for day in other.holds)
            assert max(held.values(), default=0) <= 1
    assert all(run.turns_held for run in runs.values() if not run.is_dead)
    assert all(run.is_over or run.is_dead for run in runs.values())


def test_another_run_that_was_quicker_is_seen(empty_lake: SampleLake) -> None:
    """Between the look and the write of the one, the other takes the date."""
    lake = empty_lake.lake
    write = lake.replace_json

    def be_slower(*place: Any) -> None:
        lake.replace_json = write  # type: ignore[method-assign]
        hold_dates(lake, "quick", DAY)
        write(*place)

    lake.replace_json = be_slower  # type: ignore[assignment, method-assign]
    answer = DatesBook(lake, sleep=lambda _: None).take(Wish("slow", (DAY,), (NEXT_DAY,)), lambda _: True)
    assert (answer.held, answer.busy[DAY].run_id) == ((), "quick")
    assert held_dates(lake) == {"quick": [DAY]}


def test_a_run_that_others_are_always_quicker_than_says_so(empty_lake: SampleLake) -> None:
    tries = []

    def refuse(*_: Any) -> None:
        tries.append(1)
        raise ReplacedMeanwhileError("again")

    empty_lake.lake.replace_json = refuse  # type: ignore[assignment, method-assign]
    with pytest.raises(ReplacedMeanwhileError):
        DatesBook(empty_lake.lake, sleep=lambda _: None).take(Wish("slow", (DAY,)), lambda _: True)
    assert len(tries) == ATTEMPTS


def test_whoever_takes_again_what_it_holds_is_seen_by_those_who_take_it_for_dead(empty_lake: SampleLake) -> None:
    """A run that had ended is set going again, between another one's look and its write."""
    lake = empty_lake.lake
    hold_dates(lake, "back again", DAY)
    alive: set[str] = set()

    def lives(run_id: str) -> bool:
        found = run_id in alive
        if not found:
            hold_dates(lake, "back again", DAY)
            alive.add("back again")
        return found

    assert DatesBook(lake, sleep=lambda _: None).take(Wish("other", (DAY,)), lives).held == ()
    assert held_dates(lake) == {"back again": [DAY]}


class Unconditional(MemoryS3):
    """Ignores conditions, or says that it has none (501), as some stores do."""

    refuses = False

    def put_object(self, *, IfMatch: str | None = None, IfNoneMatch: str | None = None, **request: Any) -> None:  # noqa: N803
        if self.refuses and (IfMatch or IfNoneMatch):
            answer: Any = {
                "Error": {"Code": "NotImplemented", "Message": ""},
                "ResponseMetadata": {"HTTPStatusCode": 501},
            }
            raise ClientError(answer, "PutObject")
        super().put_object(**request)


@pytest.mark.parametrize("refuses", [False, True])
def test_a_store_without_conditional_writes_still_keeps_claims_and_tells_a_run_that_was_written_over(
    refuses: bool,
) -> None:
    store = Unconditional()
    store.refuses = refuses
    lake = Lake(store, BUCKET)
    hold_dates(lake, "first", DAY)
    assert DatesBook(lake).take(Wish("second", (DAY,)), lambda _: True).held == ()
    book = DatesBook(lake, sleep=lambda _: None)
    stands = book._require_that_it_stands

    def be_written_over(*what: Any) -> None:
        book._require_that_it_stands = stands  # type: ignore[method-assign]
        lake.write_json(
            dates_claims_key(), {"claims": [Claim("third", (NEXT_DAY,), A_CLAIM["since"]).as_dict()], "write": "x"}
        )
        stands(*what)

    book._require_that_it_stands = be_written_over  # type: ignore[assignment, method-assign]
    assert book.take(Wish("fourth", (NEXT_DAY,)), lambda _: True).busy[NEXT_DAY].run_id == "third"


def test_what_a_run_does_not_need_it_gives_back(empty_lake: SampleLake) -> None:
    lake = empty_lake.lake
    hold_dates(lake, "own", *DAYS)
    DatesBook(lake).keep("own", [NEXT_DAY])
    assert held_dates(lake) == {"own": [NEXT_DAY]}
    DatesBook(lake).give_back("own")
    written = lake.read_json(dates_claims_key())
    DatesBook(lake).give_back("own")
    assert held_dates(lake) == {}
    assert lake.read_json(dates_claims_key()) == written  # nothing to say, nothing written


def test_a_store_that_refuses_does_not_hide_what_the_run_has_to_say(
    empty_lake: SampleLake, caplog: pytest.LogCaptureFixture
) -> None:
    hold_dates(empty_lake.lake, "own", DAY)
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    def refuse(*_: Any) -> None:
        raise ClientError(answer, "PutObject")

    empty_lake.lake.replace_json = refuse  # type: ignore[assignment, method-assign]
    DatesBook(empty_lake.lake).give_back_if_possible("own")
    assert "could not be given back" in caplog.text


def test_a_run_whose_claim_was_taken_away_can_not_go_on(empty_lake: SampleLake) -> None:
    book = DatesBook(empty_lake.lake)
    hold_dates(empty_lake.lake, "own", DAY)
    book.require("own")
    book.take(Wish("another", (DAY,)), lambda _: False)
    with pytest.raises(ClaimLostError, match="Trigger a new run"):
        book.require("own")


def put_former(lake: Lake, run_id: str, *ingest_dates: str) -> str:
    """Writes claims in the form of a release that had a file for each run, and returns the key."""
    key = f"{claims_prefix()}{run_id}.json"
    lake.write_json(key, {"run_id": run_id, "ingest_dates": list(ingest_dates)})
    return key


def test_the_claims_of_a_former_release_are_honoured_and_move_into_the_book(empty_lake: SampleLake) -> None:
    lake = empty_lake.lake
    put_former(lake, "living", DAY)
    put_former(lake, "ended", NEXT_DAY)
    book = DatesBook(lake)
    book.require("living")
    answer = book.take(Wish("own", (DAY,), (NEXT_DAY,)), lambda run_id: run_id == "living")
    assert (answer.held, answer.busy[DAY].run_id) == ((), "living")
    assert [stored.key for stored in lake.list_objects(claims_prefix())] == [dates_claims_key()]
    assert held_dates(lake) == {"living": [DAY]}
    book.give_back("living")
    assert book.take(Wish("own", (DAY,)), lambda _: True).held == (DAY,)


def test_a_run_of_a_former_release_is_not_in_its_own_way_and_gives_its_file_back(empty_lake: SampleLake) -> None:
    key = put_former(empty_lake.lake, "own", DAY, NEXT_DAY)
    DatesBook(empty_lake.lake).give_back("own")
    assert key not in empty_lake.client.objects
    assert held_dates(empty_lake.lake) == {}


def test_a_former_claim_whose_move_was_cut_off_is_no_second_one(empty_lake: SampleLake) -> None:
    hold_dates(empty_lake.lake, "own", DAY)
    key = put_former(empty_lake.lake, "own", DAY)
    assert held_dates(empty_lake.lake) == {"own": [DAY]}
    DatesBook(empty_lake.lake).give_back("own")
    assert key not in empty_lake.client.objects


def book_of(**changed: object) -> bytes:
    return json.dumps({"claims": [A_CLAIM | changed]}).encode()


@pytest.mark.parametrize(
    ("key", "content"),
    [
        *(
            (dates_claims_key(), content)
            for content in (
                b'{"claims',
                b'{"claim": []}',
                b'{"claims": 1}',
                b'{"claims": [1]}',
                b'{"claims": [{"run_id": "own"}]}',
                book_of(run_id=[]),
                book_of(names=[[DAY]]),
                book_of(names=1),
                book_of(since="yesterday"),
                book_of(since=None),
            )
        ),
        (f"{claims_prefix()}own.json", b"{}"),  # a claim of an earlier release
        (f"{claims_prefix()}own.json", b'{"run_id": "own", "ingest_dates": 1}'),
    ],
)
def test_a_book_that_cannot_be_read_is_named_and_does_not_hide_what_the_run_has_to_say(
    empty_lake: SampleLake, caplog: pytest.LogCaptureFixture, key: str, content: bytes
) -> None:
    empty_lake.lake.write(key, content, "application/json")
    book = DatesBook(empty_lake.lake)
    with pytest.raises(DamagedFileError, match=key):
        book.take(Wish("own", (DAY,)), lambda _: True)
    book.give_back_if_possible("own")
    assert "could not be given back" in caplog.text
