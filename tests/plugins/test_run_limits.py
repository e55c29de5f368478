from __future__ import annotations

import pytest

from fruit_contract.limits import MOST_DATES_A_RUN, MOST_IMAGES_A_DATE
from fruit_pipeline.ingest_dates import RunDates
from fruit_pipeline.instance_types import instance_type
from fruit_pipeline.run_limits import RunTooLargeError, refuse_too_large_dates, refuse_too_many_dates
from fruit_pipeline.spark_sizes import most_images_a_date

PRIMARY = "FRUITS_PRIMARY_INSTANCE_TYPE"


def dates(n_asked: int, n_looked_back: int = 0) -> RunDates:
    return RunDates(("2026-11-22",) * n_asked, ("2026-11-21",) * n_looked_back, waits=False)


def test_a_run_may_look_at_so_many_dates_and_no_more() -> None:
    refuse_too_many_dates(dates(MOST_DATES_A_RUN))
    with pytest.raises(RunTooLargeError, match=r"4,001 dates.*4,000 at most\. Nothing was started\. Ask for a shorter range"):
        refuse_too_many_dates(dates(MOST_DATES_A_RUN, 1))


def test_a_date_may_have_so_many_images_and_no_more() -> None:
    for name in ("m5.xlarge", "r5.24xlarge"):
        refuse_too_large_dates({"2026-11-22": MOST_IMAGES_A_DATE}, instance_type(name, PRIMARY))
        with pytest.raises(
            RunTooLargeError, match=rf"2026-11-22 has 10,000,001 images.*10,000,000 at most, whatever {PRIMARY} is.*as several"
        ):
            refuse_too_large_dates({"2026-11-21": 7, "2026-11-22": MOST_IMAGES_A_DATE + 1}, instance_type(name, PRIMARY))


def test_a_date_may_have_as_many_images_as_the_primary_node_has_memory_for() -> None:
    small = instance_type("c5.xlarge", PRIMARY)
    fits = most_images_a_date(small)
    refuse_too_large_dates({"2026-11-21": fits, "2026-11-22": fits}, small)
    with pytest.raises(
        RunTooLargeError, match=rf"2026-11-22 has {fits + 1:,} images.*c5\.xlarge has memory for {fits:,}.*Set {PRIMARY} to"
    ):
        refuse_too_large_dates({"2026-11-22": fits + 1}, small)
