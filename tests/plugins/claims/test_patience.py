from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from fruit_pipeline.claims.patience import CLUSTER_END, longest_step, patience_for_dates, patience_for_the_pca
from fruit_pipeline.settings import Settings

HOURS = st.floats(0.1, 168)


@given(step=HOURS, log_wait=st.floats(0, 60), start=st.floats(0, 240), spot=st.integers(5, 1440))
def test_dates_are_waited_for_longer_than_a_run_may_hold_them(
    step: float, log_wait: float, start: float, spot: int
) -> None:
    settings = replace(
        Settings(),
        step_timeout_hours=step,
        log_wait_minutes=log_wait,
        cluster_start_minutes=start,
        spot_timeout_minutes=spot,
    )
    both_steps = 2 * timedelta(hours=step, minutes=log_wait)
    cluster = timedelta(minutes=start + spot) + CLUSTER_END
    assert patience_for_dates(settings) >= both_steps + cluster + patience_for_the_pca(settings)
    assert patience_for_the_pca(settings) > longest_step(settings)


def test_with_the_defaults_a_day_and_a_quarter() -> None:
    assert patience_for_the_pca(Settings()) == timedelta(hours=18, minutes=30)
    assert patience_for_dates(Settings()) == timedelta(hours=31, minutes=37)
