"""Refuses what is too large for one run. The driver on the primary node holds what its dates have listed and known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.limits import MOST_DATES_A_RUN, MOST_IMAGES_A_RUN
from fruit_pipeline.emr.nodes.spark_sizes import most_images_a_run
from fruit_pipeline.errors import RunTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fruit_pipeline.emr.nodes.instance_types import InstanceType
    from fruit_pipeline.request.params import RunDates


def refuse_too_many_dates(dates: RunDates) -> None:
    """Raises RunTooLargeError if the run would look at more dates than MOST_DATES_A_RUN."""
    n_dates = len(dates.asked) + len(dates.looked_back)
    if n_dates > MOST_DATES_A_RUN:
        raise RunTooLargeError(
            f"The run would look at {n_dates:,} dates, and a run takes {MOST_DATES_A_RUN:,} at most. Nothing was "
            "started. Ask for a shorter range of dates at a time."
        )


def refuse_too_many_images(images_by_date: Mapping[str, int], primary: InstanceType) -> None:
    """Raises RunTooLargeError if the dates together have more images than a driver on such a node, or any driver,
    holds.

    The message names a date that alone has too many.
    """
    most = most_images_a_run(primary)
    if sum(images_by_date.values()) <= most:
        return
    if most == MOST_IMAGES_A_RUN:
        why = f"a run takes {most:,} at most, whatever {primary.setting} is"
        node = ""
    else:
        why = f"the driver on a {primary.name} has memory for {most:,}"
        node = f"Set {primary.setting} to a type with more memory (m5.2xlarge, r5.xlarge or larger), or "
    too_large = [
        f"{ingest_date} has {n_images:,} images"
        for ingest_date, n_images in sorted(images_by_date.items())
        if n_images > most
    ]
    if too_large:
        what_to_do = f"{node}deliver them as several ingest dates."
        raise RunTooLargeError(f"{too_large[0]}, and {why}. Nothing was started. {_sentence(what_to_do)}")
    first, last = min(images_by_date), max(images_by_date)
    what_to_do = f"{node}ask for a shorter range of dates at a time."
    raise RunTooLargeError(
        f"The {len(images_by_date):,} dates from {first} to {last} that need something have "
        f"{sum(images_by_date.values()):,} images, and {why}. Nothing was started. {_sentence(what_to_do)}"
    )


def dates_that_fit(images_by_date: Mapping[str, int], n_images: int, primary: InstanceType) -> set[str]:
    """Returns which of some dates can be taken in beside `n_images` others, the latest ones first."""
    room = most_images_a_run(primary) - n_images
    fitting = set()
    for ingest_date, n_more in sorted(images_by_date.items(), reverse=True):
        if n_more <= room:
            fitting.add(ingest_date)
            room -= n_more
    return fitting


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
