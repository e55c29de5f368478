"""What is too large for one run: the driver on the primary node holds what a date has listed and known, and reads date after date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.limits import MOST_DATES_A_RUN, MOST_IMAGES_A_DATE
from fruit_pipeline.spark_sizes import most_images_a_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.ingest_dates import RunDates
    from fruit_pipeline.instance_types import InstanceType


class RunTooLargeError(RuntimeError):
    """A run has more dates, or one of its dates more images, than its driver holds. The message says what to do."""


def refuse_too_many_dates(dates: RunDates) -> None:
    """Raises RunTooLargeError if the run would look at more dates than MOST_DATES_A_RUN."""
    n_dates = len(dates.asked) + len(dates.looked_back)
    if n_dates > MOST_DATES_A_RUN:
        raise RunTooLargeError(
            f"The run would look at {n_dates:,} dates, and a run takes {MOST_DATES_A_RUN:,} at most. Nothing was started. "
            "Ask for a shorter range of dates at a time."
        )


def refuse_too_large_dates(images_by_date: Mapping[str, int], primary: InstanceType) -> None:
    """Raises RunTooLargeError that names the first date with more images than a driver on such a node, or any driver, holds."""
    for ingest_date, n_images in sorted(images_by_date.items()):
        message = too_large(ingest_date, n_images, primary)
        if message:
            raise RunTooLargeError(message)


def too_large(ingest_date: str, n_images: int, primary: InstanceType) -> str | None:
    """Returns why a date of so many images can't be worked on, and what to do; None if it can."""
    most = most_images_a_date(primary)
    if n_images <= most:
        return None
    if n_images > MOST_IMAGES_A_DATE:
        why = f"a date may have {MOST_IMAGES_A_DATE:,} at most, whatever {primary.setting} is"
        what_to_do = "Deliver them as several ingest dates."
    else:
        why = f"the driver on a {primary.name} has memory for {most:,} of one date"
        what_to_do = f"Set {primary.setting} to a type with more memory (m5.xlarge or larger), or deliver them as several ingest dates."
    return f"{ingest_date} has {n_images:,} images, and {why}. Nothing was started. {what_to_do}"
