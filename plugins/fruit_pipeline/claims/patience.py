"""Says how long a run waits for another one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

RUNS_AT_WORK: Final = 3
"""So many runs may be at work at the same time, beside those that wait for their batches."""

CLUSTER_END: Final = timedelta(minutes=30)
"""So long a cluster may take to end."""


def longest_step(settings: Settings) -> timedelta:
    """Returns how long it may take until a step's task knows how the step ended: the step's own time, and the wait for
    its logs.
    """
    return timedelta(hours=settings.step_timeout_hours, minutes=settings.log_wait_minutes)


def patience_for_the_pca(settings: Settings) -> timedelta:
    """Returns how long a run waits for its turn at the PCA: as long as RUNS_AT_WORK steps may take."""
    return RUNS_AT_WORK * longest_step(settings)


def patience_for_dates(settings: Settings) -> timedelta:
    """Returns how long a run waits for dates that another one holds: as long as that one may hold them.

    It holds them while its cluster starts (`spot_timeout_minutes` and `cluster_start_minutes`), while both steps run
    and their logs are waited for (`longest_step`, twice), while it waits for its turn at the PCA
    (`patience_for_the_pca`), and while its cluster ends.
    """
    start = timedelta(minutes=settings.spot_timeout_minutes + settings.cluster_start_minutes)
    return start + 2 * longest_step(settings) + patience_for_the_pca(settings) + CLUSTER_END
