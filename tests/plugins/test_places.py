from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fruit_contract.regions import RegionNotAllowedError
from fruit_pipeline.errors import NoPlaceError
from fruit_pipeline.places import (
    Place,
    ask_each,
    ask_everywhere,
    forget,
    known_places,
    remember,
    remembered_places,
    settings_in,
    settings_of_run,
)
from fruit_pipeline.settings import Settings
from tests.plugins.memory_variables import OlderVariables

if TYPE_CHECKING:
    from tests.plugins.memory_variables import MemoryVariables

SETTINGS = Settings(lake_bucket="new-lake", region="eu-central-1", aws_conn_id="new", poll_seconds=7)
HERE = Place.of(SETTINGS)
BEFORE = Place("old-lake", "123456789012", "eu-west-1", "old")


def test_a_run_works_in_the_place_of_its_plan_and_waits_as_is_set_now() -> None:
    settings = settings_of_run(SETTINGS, json.loads(json.dumps(BEFORE.as_dict())))
    assert (settings.lake_bucket, settings.lake_owner, settings.region, settings.aws_conn_id) == (
        *BEFORE.as_dict().values(),
    )
    assert settings.poll_seconds == 7


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        "old-lake",
        {"lake_bucket": "old-lake"},
        BEFORE.as_dict() | {"lake_bucket": "No Bucket/.."},
    ],
)
def test_a_plan_that_does_not_say_where_leads_nowhere(told: Any) -> None:
    with pytest.raises(NoPlaceError):
        settings_of_run(SETTINGS, told)


def test_no_plan_leads_out_of_the_eu() -> None:
    with pytest.raises(RegionNotAllowedError):
        settings_of_run(SETTINGS, BEFORE.as_dict() | {"region": "us-east-1"})
    with pytest.raises(RegionNotAllowedError):
        settings_in(SETTINGS, Place("old-lake", "", "eu-west-2", "old"))


def test_every_place_is_remembered_by_itself_with_the_moment_it_was_last_used(variables: MemoryVariables) -> None:
    for place in (BEFORE, HERE):
        remember(place)
    first = remembered_places()
    assert len(variables.values) == 2
    remember(BEFORE)
    second = remembered_places()
    assert set(first) == set(second) == {HERE, BEFORE}
    assert second[BEFORE] > first[BEFORE]
    assert second[HERE] == first[HERE]
    forget(BEFORE)
    assert set(remembered_places()) == {HERE}


def test_places_are_remembered_where_tasks_can_not_list_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Airflow 3.2."""
    variables = OlderVariables()
    monkeypatch.setattr("fruit_pipeline.places.variables", lambda: variables)
    assert remembered_places() == {}
    for place in (BEFORE, HERE, BEFORE):
        remember(place)
    assert set(remembered_places()) == {HERE, BEFORE}
    forget(BEFORE)
    assert set(remembered_places()) == {HERE}


def test_the_place_that_is_set_is_known_before_it_was_ever_used(variables: MemoryVariables) -> None:
    assert known_places(SETTINGS) == [HERE]
    remember(BEFORE)
    remember(HERE)
    assert known_places(SETTINGS) == [HERE, BEFORE]
    assert known_places(Settings()) == [BEFORE, HERE]  # where no lake is set, none is known by that


@pytest.mark.parametrize(
    "text", ["", "nonsense", "{}", json.dumps(BEFORE.as_dict()), json.dumps({"last_used": "now"} | BEFORE.as_dict())]
)
def test_what_somebody_broke_by_hand_is_told_and_hides_no_other_place(
    variables: MemoryVariables, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    remember(HERE)
    variables.values[BEFORE.variable] = text
    assert set(remembered_places()) == {HERE}
    assert f"The Variable {BEFORE.variable} does not say where runs have worked" in caplog.text


def test_a_place_that_is_forgotten_between_two_looks_is_none(
    variables: MemoryVariables, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(HERE)
    monkeypatch.setattr(variables, "keys", lambda prefix: [f"{prefix}gone", HERE.variable])
    assert set(remembered_places()) == {HERE}


class Places:
    """Answers for each place with its region, unless the place is out of reach."""

    def __init__(self, *out_of_reach: Place) -> None:
        self.out_of_reach, self.asked = out_of_reach, list[Place]()

    def ask(self, settings: Settings) -> str:
        place = Place.of(settings)
        self.asked.append(place)
        if place in self.out_of_reach:
            raise OSError(place.region)
        return place.region


def test_a_place_that_can_not_be_asked_keeps_no_other_from_being_asked(caplog: pytest.LogCaptureFixture) -> None:
    outside = Place("old-lake", "", "eu-west-2", "old")
    answers, errors = ask_each(SETTINGS, [BEFORE, outside, HERE], Places(BEFORE).ask)
    assert answers == {HERE: "eu-central-1"}
    assert [type(errors[place]) for place in (BEFORE, outside)] == [OSError, RegionNotAllowedError]
    assert "lake 'old-lake' in eu-west-1 (connection 'old') can't be asked" in caplog.text


def test_a_run_is_content_if_its_own_place_answers(variables: MemoryVariables) -> None:
    remember(BEFORE)
    assert ask_everywhere(SETTINGS, BEFORE, Places(HERE).ask) == {BEFORE: "eu-west-1"}


@pytest.mark.parametrize("own", [BEFORE, None])
def test_a_run_whose_place_may_be_the_one_out_of_reach_fails_when_all_others_are_asked(
    variables: MemoryVariables, own: Place | None
) -> None:
    remember(BEFORE)
    remember(Place("third-lake", "", "eu-west-3", "old"))
    places = Places(BEFORE)
    with pytest.raises(OSError, match="eu-west-1"):
        ask_everywhere(SETTINGS, own, places.ask)
    assert {place.region for place in places.asked} == {"eu-west-1", "eu-west-3", "eu-central-1"}


def test_a_place_of_a_plan_is_asked_also_if_nobody_remembers_it(variables: MemoryVariables) -> None:
    assert ask_everywhere(SETTINGS, BEFORE, Places().ask) == {BEFORE: "eu-west-1", HERE: "eu-central-1"}


def test_the_moment_is_told_with_its_zone(variables: MemoryVariables) -> None:
    before = datetime.now(UTC)
    remember(HERE)
    assert before <= remembered_places()[HERE] <= datetime.now(UTC)
