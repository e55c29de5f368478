"""Keeps claims in the lake, in one object for all runs, which a run replaces only if it is still as the run has read
it.

A run can take a claim while others do the same. It reads the book with its ETag, decides (claims.claims), and
replaces exactly what it has read; if another run was quicker, it reads and decides again. Where a store has no
conditional writes, it looks afterwards whether its claim stands. There remains a moment in which another run may write
over it, so the features step looks once more before it is added.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from fruit_contract.lake import claims_prefix, dates_claims_key, pca_claims_key
from fruit_contract.newer_python import UTC
from fruit_pipeline.claims.claims import Claim, answer_wish, claim_of, narrowed
from fruit_pipeline.errors import ClaimLostError, DamagedFileError, ReplacedMeanwhileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fruit_pipeline.claims.claims import ClaimAnswer, Wish
    from fruit_pipeline.lake.store import Lake

LOG: Final = logging.getLogger(__name__)
Result = TypeVar("Result")
ATTEMPTS: Final = 50
_LONGEST_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True)
class _Page:
    """Holds the claims as they were read, and the ETag of the object (None: there is none).

    `former` are the keys of files with claims among them, which are not in the object yet.
    """

    claims: tuple[Claim, ...]
    etag: str | None
    former: tuple[str, ...] = ()

    def says(self, claims: tuple[Claim, ...]) -> bool:
        return claims == self.claims and not self.former


class ClaimBook:
    """Holds all claims on things of one kind, in one object of the lake."""

    def __init__(self, lake: Lake, key: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._lake = lake
        self.key = key
        self._sleep = sleep

    def read(self) -> tuple[Claim, ...]:
        """Returns all claims. Raises DamagedFileError if the book can't be read."""
        return self._read().claims

    def take(self, wish: Wish, lives: Callable[[str], bool]) -> ClaimAnswer:
        """Returns what becomes of the wish (see claims.claims), and holds what the answer says the run holds.

        A claim that the run has already is written anew, so that whoever takes this run for ended at this moment must
        read again.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")

        def attempt() -> ClaimAnswer:
            page = self._read()
            answer = answer_wish(page.claims, wish, lives, now)
            if answer.held or not page.says(answer.claims):
                self._replace(page, answer.claims)
            if answer.held:
                self._require_that_it_stands(wish.run_id, answer.held)
            return answer

        return self._until_nobody_is_quicker(attempt)

    def keep(self, run_id: str, names: Iterable[str]) -> None:
        """Gives back all that the run holds except `names`."""
        kept = frozenset(names)

        def attempt() -> None:
            page = self._read()
            left = narrowed(page.claims, run_id, kept)
            if not page.says(left):
                self._replace(page, left)

        self._until_nobody_is_quicker(attempt)

    def give_back(self, run_id: str) -> None:
        """Gives back all that the run holds, if it holds anything."""
        self.keep(run_id, ())

    def give_back_if_possible(self, run_id: str) -> None:
        """Gives back all that the run holds, and only logs it if the store refuses or the book can't be read: the
        caller has more important news, and a claim ends with its run anyhow.
        """
        try:
            self.give_back(run_id)
        except (BotoCoreError, ClientError, DamagedFileError, ReplacedMeanwhileError) as error:
            LOG.warning(
                "What this run holds by %s could not be given back; it is free when the run has ended: %s",
                self.key,
                error,
            )

    def require(self, run_id: str) -> None:
        """Raises ClaimLostError if the run has no claim. Another run takes it over if this one had ended."""
        if claim_of(self.read(), run_id) is None:
            raise ClaimLostError(
                f"The run {run_id} had ended, and another run may have taken over its ingest dates: it can't be gone "
                "on with. Trigger a new run for these dates."
            )

    def _read(self) -> _Page:
        found = self._lake.read_json_with_etag(self.key)
        if not found:
            return _Page((), None)
        try:
            return _Page(claims_from(found[0]), found[1])
        except ValueError as error:
            raise self._lake.damaged(self.key, str(error)) from error

    def _replace(self, page: _Page, claims: Sequence[Claim]) -> None:
        # A random `write` makes each version different. Otherwise the ETag, a digest of the content, would not show
        # that a run took again what it had.
        self._lake.replace_json(
            self.key, {"claims": [claim.as_dict() for claim in claims], "write": uuid4().hex}, page.etag
        )
        for key in page.former:
            self._lake.delete(key)

    def _require_that_it_stands(self, run_id: str, held: Iterable[str]) -> None:
        claim = claim_of(self.read(), run_id)
        if claim is None or not set(held) <= set(claim.names):
            raise ReplacedMeanwhileError(
                f"Another run wrote over this one's claim in {self.key}: is the store without conditional writes?"
            )

    def _until_nobody_is_quicker(self, attempt: Callable[[], Result]) -> Result:
        retrying = Retrying(
            retry=retry_if_exception_type(ReplacedMeanwhileError),
            wait=wait_random(0, _LONGEST_PAUSE_SECONDS),
            stop=stop_after_attempt(ATTEMPTS),
            sleep=self._sleep,
            reraise=True,
        )
        result: Result = retrying(attempt)
        return result


class DatesBook(ClaimBook):
    """Holds the claims on ingest dates, and honours those that an earlier release left in a file for each run."""

    def __init__(self, lake: Lake, *, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(lake, dates_claims_key(), sleep=sleep)

    def _read(self) -> _Page:
        # The files are read first, so that what moves into the book meanwhile is read twice, and not missed.
        former = self._former_claims()
        page = super()._read()
        known = {claim.run_id for claim in page.claims}
        return _Page(
            (*page.claims, *(claim for claim in former.values() if claim.run_id not in known)), page.etag, tuple(former)
        )

    def _former_claims(self) -> dict[str, Claim]:
        found = {}
        for stored in list(self._lake.list_objects(claims_prefix())):
            if "/" in stored.key.removeprefix(claims_prefix()):
                continue
            content = self._lake.read_json_if_there(stored.key)
            if content is None:
                continue
            fields = {"names": content.get("ingest_dates"), "since": stored.modified_at.isoformat(), "cluster_id": ""}
            try:
                found[stored.key] = Claim.from_dict({**content, **fields})
            except ValueError as error:
                raise self._lake.damaged(stored.key, str(error)) from error
        return found


def pca_book(lake: Lake) -> ClaimBook:
    """Returns the claims on the turn at the PCA. There is one PCA for the whole history, so two runs must not fit it
    and flip its pointer at the same time.
    """
    return ClaimBook(lake, pca_claims_key())


def claims_from(content: dict[str, Any]) -> tuple[Claim, ...]:
    """Returns the claims that a book's JSON object holds. Raises ValueError if it is not as we write it."""
    try:
        return tuple(map(Claim.from_dict, content["claims"]))
    except (KeyError, TypeError) as error:
        raise ValueError("it is no book of claims") from error
