from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fruit_contract.limits import MOST_DATES_A_RUN, MOST_IMAGES_A_RUN
from fruit_pipeline.emr.nodes.instance_types import instance_type
from fruit_pipeline.emr.nodes.spark_sizes import most_images_a_run
from fruit_pipeline.errors import RunTooLargeError
from fruit_pipeline.planning.limits import dates_that_fit, refuse_too_many_dates, refuse_too_many_images
from fruit_pipeline.request.params import RunDates

PRIMARY = "FRUITS_PRIMARY_INSTANCE_TYPE"


def dates(n_asked: int, n_looked_back: int = 0) -> RunDates:
    return RunDates(("2026-11-22",) * n_asked, ("2026-11-21",) * n_looked_back, waits=False)


def test_a_run_may_look_at_so_many_dates_and_no_more() -> None:
    refuse_too_many_dates(dates(MOST_DATES_A_RUN))
    with pytest.raises(
        RunTooLargeError, match=r"4,001 dates.*4,000 at most\. Nothing was started\. Ask for a shorter range"
    ):
        refuse_too_many_dates(dates(MOST_DATES_A_RUN, 1))


def test_a_run_may_have_so_many_images_and_no_more() -> None:
    for name in ("m5.4xlarge", "r5.24xlarge"):
        refuse_too_many_images({"2026-11-22": MOST_IMAGES_A_RUN}, instance_type(name, PRIMARY))
        with pytest.raises(
            RunTooLargeError,
            match=rf"2026-11-22 has 10,000,001 images, and a run takes 10,000,000 at most, whatever {PRIMARY} "
            r"is.*Deliver",
        ):
            refuse_too_many_images({"2026-11-21": 7, "2026-11-22": MOST_IMAGES_A_RUN + 1}, instance_type(name, PRIMARY))


def test_a_run_may_have_as_many_images_as_the_primary_node_has_memory_for() -> None:
    small = instance_type("c5.xlarge", PRIMARY)
    fits = most_images_a_run(small)
    refuse_too_many_images({"2026-11-21": fits - 7, "2026-11-22": 7}, small)
    with pytest.raises(
        RunTooLargeError,
        match=rf"2026-11-22 has {fits + 1:,} images.*c5\.xlarge has memory for {fits:,}.*Set {PRIMARY} to.*or deliver",
    ):
        refuse_too_many_images({"2026-11-22": fits + 1}, small)
    with pytest.raises(
        RunTooLargeError,
        match=rf"The 2 dates from 2026-11-21 to 2026-11-22 .* have {fits + 1:,} images.*{PRIMARY}.*ask for a shorter "
        r"range",
    ):
        refuse_too_many_images({"2026-11-21": fits, "2026-11-22": 1}, small)


def test_no_dates_are_never_too_many() -> None:
    refuse_too_many_images({}, instance_type("c5.xlarge", PRIMARY))


@given(
    images=st.dictionaries(st.sampled_from([f"2026-11-{day:02}" for day in range(1, 9)]), st.integers(0, 5_000_000)),
    n=st.integers(0, 10**7),
)
def test_of_more_dates_those_fit_that_stay_within_the_bound_and_no_other_would(images: dict[str, int], n: int) -> None:
    primary = instance_type("m5.xlarge", PRIMARY)
    n = min(n, most_images_a_run(primary))

    fitting = dates_that_fit(images, n, primary)

    refuse_too_many_images({"2026-11-22": n, **{day: images[day] for day in fitting}}, primary)
    room = most_images_a_run(primary) - n - sum(images[day] for day in fitting)
    assert all(images[day] > room for day in images.keys() - fitting)
