from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from fruit_pipeline.aws import may_pass
from fruit_pipeline.emr.client import ATTEMPTS, MOST_TERMINATED_AT_ONCE, SETTLE_SECONDS, ask_once, terminate_clusters

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "https://elasticmapreduce.eu-west-1.amazonaws.com"


def api_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "RunJobFlow"
    )


THROTTLED = api_error("ThrottlingException", 400)
REFUSED = api_error("ValidationException", 400)
LOST = [
    api_error("InternalServerException", 500),
    ConnectionClosedError(endpoint_url=ADDRESS),
    ReadTimeoutError(endpoint_url=ADDRESS),
    EndpointConnectionError(endpoint_url=ADDRESS),
]


class Emr:
    """Carries a request out, or not, and answers as told: `answers` are (carried out?, error or None)."""

    def __init__(self, *answers: tuple[bool, Exception | None]) -> None:
        self.answers = list(answers)
        self.made: list[str] = []
        self.asked = 0
        self.slept: list[float] = []

    def ask(self) -> str:
        self.asked += 1
        carried_out, error = self.answers.pop(0) if self.answers else (True, None)
        if carried_out:
            self.made.append(f"j-{len(self.made) + 1}")
        if error:
            raise error
        return self.made[-1]

    def once(self, find: Callable[[], str | None] | None = None) -> str:
        return ask_once(
            self.ask, find or (lambda: self.made[0] if self.made else None), "a cluster", sleep=self.slept.append
        )


def test_a_request_that_is_answered_is_sent_once() -> None:
    emr = Emr()
    assert emr.once() == "j-1"
    assert (emr.asked, emr.slept) == (1, [])


def test_what_is_there_already_is_not_asked_for() -> None:
    emr = Emr()
    assert emr.once(lambda: "j-7") == "j-7"
    assert emr.asked == 0


@pytest.mark.parametrize("error", [*LOST, THROTTLED], ids=lambda error: type(error).__name__)
def test_a_request_whose_answer_was_lost_is_found_and_not_repeated(error: Exception) -> None:
    emr = Emr((True, error))
    assert emr.once() == "j-1"
    assert (emr.asked, emr.made) == (1, ["j-1"])
    assert len(emr.slept) == 1
    assert (emr.slept[0] >= SETTLE_SECONDS) == (
        error is not THROTTLED
    )  # what was carried out needs a moment to be listed


@pytest.mark.parametrize("error", [*LOST, THROTTLED], ids=lambda error: type(error).__name__)
def test_a_request_that_was_not_carried_out_is_repeated(error: Exception) -> None:
    emr = Emr((False, error), (False, error))
    assert emr.once() == "j-1"
    assert (emr.asked, emr.made) == (3, ["j-1"])


def test_gives_up_with_emrs_own_error() -> None:
    emr = Emr(*[(False, THROTTLED)] * 99)
    with pytest.raises(ClientError, match="ThrottlingException"):
        emr.once()
    assert emr.asked == ATTEMPTS


@pytest.mark.parametrize(
    "error", [REFUSED, api_error("AccessDeniedException", 400), NoCredentialsError(), ValueError("a bug")]
)
def test_what_is_refused_for_good_is_not_asked_again(error: Any) -> None:
    emr = Emr((False, error))
    with pytest.raises(type(error)):
        emr.once()
    assert emr.asked == 1
    assert not may_pass(error)


def test_a_look_that_fails_is_repeated_before_anything_is_asked_for() -> None:
    looks: list[Any] = [THROTTLED, "j-1"]

    def find() -> str:
        look = looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return str(look)

    emr = Emr()
    assert emr.once(find) == "j-1"
    assert emr.asked == 0


def test_clusters_are_ended_in_lots_that_emr_takes() -> None:
    lots: list[list[str]] = []

    class Client:
        def terminate_job_flows(self, *, JobFlowIds: list[str]) -> None:  # noqa: N803  # boto3 names it so
            lots.append(JobFlowIds)

    ids = [f"j-{number}" for number in range(23)]
    terminate_clusters(Client(), ids)
    assert [entry for lot in lots for entry in lot] == ids
    assert max(map(len, lots)) <= MOST_TERMINATED_AT_ONCE
