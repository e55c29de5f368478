"""Checks that a question that can't be meant is refused, and not answered with an empty list."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from fruit_contract import lake
from fruit_contract.lake import LakeNameError
from fruit_lake import NoLedgerError, NoPcaVersionError, current_version, features_files, projections_files
from tests.fruit_lake.folders import DAYS, VERSION, point_at_the_version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("day", [DAYS[0], dt.date.fromisoformat(DAYS[0])])
def test_a_day_may_stand_alone_or_in_a_list(folder: Path, day: str | dt.date) -> None:
    of_the_day = [file for file in features_files(str(folder)) if DAYS[0] in file]
    assert len(of_the_day) == 1
    assert features_files(str(folder), [day]) == of_the_day
    assert features_files(str(folder), day) == of_the_day
    assert len(projections_files(str(folder), day, version=VERSION)) == 1


@pytest.mark.parametrize("day", ["2026-11-62", "ingest_date=2026-11-21", ""])
def test_what_is_no_calendar_day_is_refused(folder: Path, day: str) -> None:
    for wrong in (day, [DAYS[0], day]):
        with pytest.raises(LakeNameError, match=f"'{day}' is not an ingest date"):
            features_files(str(folder), wrong)
        with pytest.raises(LakeNameError, match=f"'{day}' is not an ingest date"):
            projections_files(str(folder), wrong, version=VERSION)


def test_a_day_that_no_run_has_committed_has_no_files(folder: Path) -> None:
    assert features_files(str(folder), "2026-11-30") == []
    assert features_files(str(folder), []) == []


def test_a_place_without_a_ledger_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "such" / "lake"
    with pytest.raises(NoLedgerError, match=f"{nowhere} has no ledger/ingest_date=…/"):
        features_files(str(nowhere))


def test_projections_without_a_ledger_are_refused_too(folder: Path) -> None:
    (folder / lake.LEDGER).rename(folder / "elsewhere")
    with pytest.raises(NoLedgerError, match=f"{folder} has no ledger"):
        projections_files(str(folder), version=VERSION)


def test_an_unknown_version_is_named(folder: Path) -> None:
    with pytest.raises(NoPcaVersionError, match=f"{folder} has no PCA version 'nosuch'"):
        projections_files(str(folder), version="nosuch")


def test_a_path_is_as_good_as_its_text(folder: Path) -> None:
    point_at_the_version(folder)
    assert current_version(folder) == VERSION
    assert features_files(folder) == features_files(str(folder)) != []
    assert projections_files(folder) == projections_files(str(folder)) != []
