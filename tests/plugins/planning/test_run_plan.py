from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.errors import RunTooLargeError
from fruit_pipeline.lake.facts import EmbedderHistory, LakeHistory, PcaState
from fruit_pipeline.planning.date_plan import DatePlan, FileState
from fruit_pipeline.planning.estimate import MeasuredSpeed, Nodes, estimate
from fruit_pipeline.planning.pca_state import PcaOutlook, Refit
from fruit_pipeline.planning.run_plan import over_budget, plan_of_dates, summary_lines
from fruit_pipeline.settings import ON_DEMAND, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_pipeline.planning.run_plan import RunPlan

DAY = "2026-11-22"
SETTINGS = Settings()


def date_plan(ingest_date: str = DAY, **changed: Any) -> DatePlan:
    """Returns the plan of three images, one of them new, unless told otherwise."""
    counts = {"images": 3, "new": 1, "unchanged": 2, "removed": 0, "size_bytes": 1000} | changed
    by_category: dict[str, Any] = {
        "images_by_category": {"Kiwi": 3},
        "new_by_category": {"Kiwi": 1},
        "n_strays": 0,
        "strays": [],
    }
    return DatePlan(ingest_date=ingest_date, **(by_category | counts))


def known(ingest_date: str = DAY) -> DatePlan:
    return date_plan(ingest_date, new=0, unchanged=3, size_bytes=0, new_by_category={})


def run_plan(
    asked: Sequence[DatePlan], looked_back: Sequence[DatePlan] = (), settings: Settings = SETTINGS, **options: Any
) -> RunPlan:
    options = {"not_delivered": [], "categories": []} | options
    return plan_of_dates(asked, looked_back, settings=settings, **options)


def text_of(plan: RunPlan) -> str:
    return "\n".join(summary_lines(plan))


def test_shows_new_and_known_images_and_estimates_by_the_new_ones() -> None:
    plan = run_plan([date_plan(images=100_000, new=48_000, unchanged=52_000)])
    assert (plan.images, plan.new, plan.unchanged) == (100_000, 48_000, 52_000)
    assert plan.estimate == estimate(48_000, SETTINGS)
    assert "100,000 images in 1 categories, 48,000 of them new" in text_of(plan)
    assert "52,000 known" in text_of(plan)


def test_nothing_new_means_no_cluster_and_is_said() -> None:
    plan = run_plan([known()])
    assert not plan.has_work
    assert (plan.estimate.core_instances, plan.estimate.minutes, plan.estimate.euros) == (0, 0.0, 0.0)
    assert summary_lines(plan) == [f"Nothing new, everything is known: {DAY}."]


def test_a_new_fit_that_was_asked_for_is_work_though_nothing_is_new() -> None:
    plan = run_plan([known()], refit_asked=True)
    assert plan.ingest_dates == [DAY]
    assert plan.estimate.minutes > 0


def test_a_new_fit_does_not_drag_in_earlier_dates_that_are_as_they_were() -> None:
    plan = run_plan([known()], [known("2026-11-20"), known("2026-11-21")], refit_asked=True)
    assert (plan.ingest_dates, plan.late) == ([DAY], [])


def test_a_batch_that_nobody_delivered_is_no_work_even_for_a_new_fit() -> None:
    plan = run_plan([], not_delivered=[DAY], refit_asked=True)
    assert not plan.has_work
    assert summary_lines(plan) == [f"No complete batch (no marker): {DAY}."]


@pytest.mark.parametrize(
    "trace",
    [
        {"removed": 1},
        {"files": FileState(lost=1)},
        {"files": FileState(unswept=1)},
        {"files": FileState(unprojected=1)},
        {"files": FileState(of_earlier_form=True)},
        {"waits_for_pca": True},
    ],
)
def test_a_date_without_a_new_image_may_need_a_cluster_all_the_same(trace: dict[str, Any]) -> None:
    plan = run_plan([replace(known(), **trace)])
    assert (plan.ingest_dates, plan.new, plan.nothing_new) == ([DAY], 0, [])
    assert plan.estimate == estimate(0, SETTINGS)
    assert plan.estimate.minutes > 0


def test_late_images_of_earlier_dates_are_worked_on_with_the_day_itself() -> None:
    plan = run_plan([date_plan()], [date_plan("2026-11-20"), known("2026-11-21")])
    assert plan.ingest_dates == ["2026-11-20", DAY]
    assert plan.late == ["2026-11-20"]
    assert (plan.images, plan.new) == (6, 2)
    assert "Late, replaced or vanished images of earlier dates: 2026-11-20." in text_of(plan)


def test_names_what_was_not_delivered_and_what_is_busy() -> None:
    plan = run_plan([date_plan()], not_delivered=["2026-11-19"], busy=["2026-11-20"])
    assert "No complete batch (no marker): 2026-11-19." in text_of(plan)
    assert "Left to the runs that are working on them: 2026-11-20." in text_of(plan)


def test_names_the_dates_by_what_is_not_as_it_should_be() -> None:
    days = [f"2026-11-{day:02}" for day in range(1, 6)]
    states = [
        FileState(lost=2),
        FileState(unswept=1),
        FileState(unprojected=1),
        FileState(of_earlier_form=True),
        FileState(),
    ]
    plans = [date_plan(day, files=state) for day, state in zip(days, states, strict=True)]
    plan = run_plan([*plans[:4], replace(plans[4], waits_for_pca=True)])
    assert (plan.lost, plan.unswept, plan.unprojected, plan.earlier_form, plan.waiting_for_pca) == tuple(
        [day] for day in days
    )
    assert plan.interrupted == days[:2]
    assert summary_lines(plan)[:5] == [
        f"Files that the ledger names are gone, what they held is computed again: {days[0]}.",
        f"Files that no ledger names, as an interrupted run leaves them, are removed: {days[1]}.",
        f"Not projected under the current PCA version yet: {days[2]}.",
        f"Featurised, and in no PCA version yet: {days[4]}.",
        f"Written by a former release, to be taken over: {days[3]}.",
    ]


def outlook(state: PcaState, history: LakeHistory, **changed: Any) -> PcaOutlook:
    return replace(PcaOutlook(state, history, "m", SETTINGS.pca_rules()), **changed)


CURRENT = PcaState("20261101T000000Z-ab", "m", 100_000, 0.95)


def test_a_refit_that_is_foreseen_is_in_the_estimate() -> None:
    history = LakeHistory({"m": EmbedderHistory(10**7, 50_000)})
    kept = run_plan([date_plan()], outlook=outlook(replace(CURRENT, n_samples=10**7), history))
    assert (kept.refit, kept.estimate) == (None, estimate(1, SETTINGS))
    refitted = run_plan([date_plan()], outlook=outlook(CURRENT, history))
    assert refitted.refit == Refit("images grew from 100,000 to 10,000,001", 10**7, 50_000)
    assert refitted.estimate == estimate(1, SETTINGS, refit=refitted.refit)
    assert refitted.estimate.minutes > kept.estimate.minutes + 3
    assert (
        "A new PCA version is foreseen (images grew from 100,000 to 10,000,001): 10,000,000 images in 50,000 files are "
        "projected again." in text_of(refitted)
    )
    assert run_plan([known()], outlook=outlook(CURRENT, history)).refit is None  # nothing is done


def test_says_what_a_change_of_the_embedder_costs_and_how_to_go_on() -> None:
    state = replace(CURRENT, embedder_id="old")
    left = EmbedderHistory(40_000, 10, ("2025-01-01", "2026-11-20"))
    plan = run_plan([date_plan()], outlook=outlook(state, LakeHistory({"old": left, "m": EmbedderHistory(70)})))
    assert plan.migration is not None
    assert (plan.migration.images, plan.migration.n_ingest_dates) == (40_000, 2)
    cost = estimate(40_000, SETTINGS)
    assert (plan.migration.minutes, plan.migration.euros) == (cost.minutes, cost.all_euros)
    line = summary_lines(plan)[-1]
    assert (
        "embedder is m, and the PCA version that readers use (20261101T000000Z-ab) is of old. 40,000 images of 2 dates"
        in line
    )
    assert (
        f"about {cost.minutes:.0f} minutes, about {cost.all_euros:.2f} EUR (`make run FROM=2025-01-01 TO=2026-11-20`)"
        in line
    )
    assert line.endswith(
        "Readers stay on the current version until then, or until a run with SWITCH_EMBEDDER=1 (`--switch-embedder`)."
    )
    assert json.loads(json.dumps(plan.as_dict()))["migration"]["from_embedder_id"] == "old"


def test_says_so_when_nothing_is_left_to_featurise_anew() -> None:
    state = replace(CURRENT, embedder_id="old")
    plan = run_plan(
        [known()], outlook=outlook(state, LakeHistory({"old": EmbedderHistory(0, 10), "m": EmbedderHistory(100_000)}))
    )
    assert plan.migration is not None
    assert (plan.migration.images, plan.migration.minutes, plan.migration.first_ingest_date) == (0, 0.0, None)
    assert summary_lines(plan)[-1].endswith("readers are switched when the next PCA version is complete.")


def test_without_a_change_of_the_embedder_there_is_no_migration() -> None:
    for state in (CURRENT, PcaState()):
        plan = run_plan([date_plan()], outlook=outlook(state, LakeHistory()))
        assert plan.migration is None


def test_a_long_range_is_shown_by_its_ends() -> None:
    october, september = ([f"2026-{month}-{day:02}" for day in range(1, 31)] for month in ("10", "09"))
    plan = run_plan([date_plan(day) for day in october], not_delivered=september, busy=september[:9])
    assert "30 dates from 2026-10-01 to 2026-10-30: 90 images" in text_of(plan)
    assert "(no marker): 30 dates from 2026-09-01 to 2026-09-30." in text_of(plan)
    assert "working on them: 9 dates from 2026-09-01 to 2026-09-09." in text_of(plan)
    assert max(len(line) for line in summary_lines(plan)) < 200


def test_few_dates_are_shown_by_name() -> None:
    days = [f"2026-11-{day:02}" for day in range(1, 9)]
    assert f"(no marker): {', '.join(days)}." in text_of(run_plan([], not_delivered=days))


DATES = st.integers(1, 28).map(lambda day: f"2026-11-{day:02}")
COUNTS = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2))


@given(st.dictionaries(DATES, COUNTS, max_size=8), st.sets(DATES), st.booleans())
def test_every_date_is_worked_on_or_has_nothing_new_and_the_sums_are_those_of_the_work(
    counts: dict[str, tuple[int, int, int]], earlier: set[str], refit_asked: bool
) -> None:
    plans = {
        day: date_plan(day, images=new + old, new=new, unchanged=old, removed=removed, size_bytes=new * 10)
        for day, (new, old, removed) in counts.items()
    }
    asked = [plan for day, plan in plans.items() if day not in earlier]
    looked_back = [plan for day, plan in plans.items() if day in earlier]
    plan = run_plan(asked, looked_back, refit_asked=refit_asked)

    asked_days = {one.ingest_date for one in asked}
    assert set(plan.ingest_dates) | set(plan.nothing_new) == asked_days | set(plan.late)
    assert set(plan.late) == {one.ingest_date for one in looked_back if one.has_work}
    assert plan.ingest_dates == sorted(set(plan.ingest_dates))
    assert refit_asked or not set(plan.ingest_dates) & set(plan.nothing_new)
    worked = [plans[day] for day in plan.ingest_dates]
    for name in ("images", "new", "unchanged", "removed", "size_bytes"):
        assert getattr(plan, name) == sum(getattr(one, name) for one in worked)
    assert plan.estimate == estimate(plan.new, SETTINGS, needs_cluster=plan.has_work)


def test_names_categories_that_nobody_delivered_and_strays() -> None:
    plan = run_plan([date_plan(n_strays=5000, strays=["raw/x.jpg"] * 20)], categories=["Fig", "Kiwi"])
    assert plan.missing_categories == ["Fig"]
    assert "Asked for, but nothing was delivered: Fig." in text_of(plan)
    assert any("5,000 objects" in line and line.endswith(" and more.") for line in summary_lines(plan))


def test_names_with_outer_spaces_or_commas_are_shown_in_quotes() -> None:
    assert "nothing was delivered: ' Fig', 'Plum, red', Kiwi Gold." in text_of(
        run_plan([], categories=[" Fig", "Plum, red", "Kiwi Gold"])
    )


def test_says_which_names_are_much_like_a_missing_one() -> None:
    there = frozenset({"Kiwi ", "kiwi", "e\u0301", "Apple Red 1", "Plum"})
    plan = run_plan([date_plan(categories_there=there)], categories=["Kiwi", "\xe9", "Aple Red 1", "Durian"])
    assert plan.similar_categories == {"\xe9": ["e\u0301"], "Aple Red 1": ["Apple Red 1"]}
    plan = run_plan([date_plan(categories_there=there, images_by_category={})], categories=["Kiwi"])
    assert "Much like 'Kiwi': 'Kiwi ', 'kiwi'." in text_of(plan)


def test_an_earlier_date_with_a_folder_that_can_be_no_category_is_left_alone_and_named() -> None:
    """What it knows of such a folder would count as removed; and it must not be in the way of every later day."""
    odd = date_plan("2026-11-21", refused_categories={"a\tb": "it holds a control character"})
    plan = run_plan([date_plan()], [odd, date_plan("2026-11-20")])
    assert (plan.ingest_dates, plan.refused_categories) == (["2026-11-20", DAY], {"2026-11-21": ["a\tb"]})
    assert (
        "Left alone: 2026-11-21 holds folders that can be no category. Rename them, or take them out: 'a\\tb'."
        in text_of(plan)
    )


def test_a_category_that_was_delivered_and_is_known_is_not_missing() -> None:
    assert run_plan([known()], [date_plan("2026-11-20")], categories=["Kiwi"]).missing_categories == []
    late = date_plan("2026-11-20", images_by_category={"Fig": 3})
    assert run_plan([known()], [late], categories=["Fig"]).missing_categories == ["Fig"]  # of the dates asked for


def test_the_plan_fits_into_xcom() -> None:
    plan = run_plan([date_plan()])
    assert json.loads(json.dumps(plan.as_dict())) == plan.as_dict()


def test_an_unknown_price_is_said_and_not_guessed() -> None:
    settings = replace(SETTINGS, core_instance_type="m7i.4xlarge")
    plan = run_plan([date_plan()], settings=settings)
    assert plan.estimate.euros is None
    assert "cost unknown" in summary_lines(plan)[-1]


def test_names_the_nodes_and_whether_the_speed_was_measured() -> None:
    small, large = run_plan([date_plan()]), run_plan([date_plan(images=10**6, new=10**6, unchanged=0)])
    assert (
        summary_lines(small)[-1]
        == "Plan: 1 primary and 2 core nodes (m5.xlarge), about 10 minutes, about 0.13 EUR; speed assumed."
    )
    assert summary_lines(large)[-1].startswith(
        "Plan: 1 primary, 2 core and 1 spot task nodes (m5.xlarge), about 58 minutes, "
    )
    speed = MeasuredSpeed(15.0, SETTINGS.engine, SETTINGS.core_instance_type, "manual__1")
    settings = replace(SETTINGS, task_market=ON_DEMAND)
    slow = run_plan([date_plan(images=10**6, new=10**6, unchanged=0)], settings=settings, speed=speed)
    assert "2 core and 4 on-demand task nodes" in summary_lines(slow)[-1]
    assert summary_lines(slow)[-1].endswith(" EUR; speed measured by run manual__1.")


SMALL = replace(SETTINGS, primary_instance_type="c5.xlarge")


def test_a_date_that_was_asked_for_and_is_too_large_for_the_driver_is_refused() -> None:
    large = date_plan(images=1_000_000)
    assert run_plan([large]).ingest_dates == [DAY]
    with pytest.raises(RunTooLargeError, match=f"{DAY} has 1,000,000 images.*c5.xlarge has memory for"):
        run_plan([large], settings=SMALL)


def test_a_large_date_of_which_everything_is_known_is_in_nobodys_way() -> None:
    large = replace(known(), images=1_000_000)
    assert run_plan([large], settings=SMALL).nothing_new == [DAY]
    assert run_plan([date_plan("2026-11-23")], [large], settings=SMALL).too_large == []


def test_an_earlier_date_that_is_too_large_is_left_alone_and_named() -> None:
    plan = run_plan([date_plan("2026-11-23")], [date_plan(images=1_000_000), date_plan("2026-11-21")], settings=SMALL)
    assert (plan.ingest_dates, plan.late, plan.too_large) == (["2026-11-21", "2026-11-23"], ["2026-11-21"], [DAY])
    assert (
        f"Left alone, for with them the run would have more images than a driver on c5.xlarge holds: {DAY}."
        in text_of(plan)
    )


def test_earlier_dates_come_in_as_long_as_all_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fruit_pipeline.planning.limits.most_images_a_run", lambda _: 25)
    earlier = [date_plan(day, images=10) for day in ("2026-11-19", "2026-11-20", "2026-11-21")]
    plan = run_plan([date_plan(images=8)], earlier)
    assert (plan.ingest_dates, plan.too_large) == (["2026-11-21", DAY], ["2026-11-19", "2026-11-20"])
    with pytest.raises(RunTooLargeError, match=r"The 3 dates from 2026-11-19 to 2026-11-21 .* have 30 images"):
        run_plan(earlier)


def test_a_run_may_cost_its_budget_and_no_more() -> None:
    planned = estimate(10**6, SETTINGS)
    euros = planned.all_euros
    assert euros == planned.euros + planned.s3_euros > planned.euros
    assert over_budget(planned, replace(SETTINGS, budget_eur=euros)) is None
    message = over_budget(planned, replace(SETTINGS, budget_eur=euros - 0.01))
    assert message == f"The run would cost about {euros:.2f} EUR, and the budget of a run is {euros - 0.01:.2f} EUR."


def test_a_price_that_is_not_known_may_be_over_any_budget() -> None:
    settings = replace(SETTINGS, core_instance_type="m7i.4xlarge", budget_eur=10**6)
    message = over_budget(estimate(1, settings), settings)
    assert message
    assert "FRUITS_PRICES_EUR_PER_HOUR has no price of m7i.4xlarge" in message


@given(st.integers(0, 10**9), st.floats(0.01, 10**5))
def test_either_a_run_is_within_its_budget_or_it_is_said(images: int, budget: float) -> None:
    planned = estimate(images, SETTINGS, nodes=Nodes(2, 8))
    assert planned.all_euros is not None
    assert (over_budget(planned, replace(SETTINGS, budget_eur=budget)) is None) == (planned.all_euros <= budget)
