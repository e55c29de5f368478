"""Tells how far a running step has come: turns what its driver writes to `lake.progress_key` into a line for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from fruit_contract.newer_python import UTC
from fruit_contract.progress import StepProgress, StepState

_MINUTE: Final = 60
_MINUTES_SHOWN_ALONE: Final = 90


def parse_progress(content: bytes | Mapping[str, Any]) -> StepProgress | None:
    """Returns a step's progress, or None if it can't be understood. It does not raise, because a run must not fail over
    the display of its progress.
    """
    try:
        fields = content if isinstance(content, Mapping) else json.loads(content)
        total = _count(fields["total"])
        done = min(_count(fields["done"]), total)
        speed = fields["images_per_second"]
        updated_at = datetime.fromisoformat(fields["updated_at"])
        if updated_at.tzinfo is None:
            return None
        return StepProgress(
            run_id=str(fields["run_id"]),
            step=str(fields["step"]),
            state=StepState(fields["state"]),
            total=total,
            done=done,
            rejected=min(_count(fields["rejected"]), done),
            images_per_second=None if speed is None else _amount(speed),
            seconds=_amount(fields["seconds"]),
            updated_at=updated_at.astimezone(UTC),
        )
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def progress_line(progress: StepProgress, now: datetime) -> str:
    """Returns for example `1,024 of 22,688 images (4.5 %), 118 images/s, 2 rejected so far, about 3 min left`."""
    silence = progress.silence(now)
    parts = _line_parts(progress, show_time_left=silence is None)
    if silence is not None:
        parts.append(f"no news for {duration(silence.total_seconds())}")
    return ", ".join(parts)


def percent(share: float) -> str:
    """Returns the share in percent, rounded down so that it is never 100 before the end."""
    return f"{math.floor(share * 1000) / 10:g} %"


def rate(images_per_second: float) -> str:
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.2g}"


def duration(seconds: float) -> str:
    """Returns the time in the unit that a person would say it in, rounded up."""
    if seconds < _MINUTE:
        return "less than a minute"
    minutes = math.ceil(seconds / _MINUTE)
    if minutes < _MINUTES_SHOWN_ALONE:
        return f"{minutes} min"
    return f"{minutes // 60:,} h {minutes % 60} min"


def time_left(seconds: float) -> str:
    return f"{'' if seconds < _MINUTE else 'about '}{duration(seconds)} left"


def _line_parts(progress: StepProgress, *, show_time_left: bool) -> list[str]:
    if progress.state == StepState.LISTING:
        return ["listing the images and what is known of them"]
    rejected = f"{progress.rejected:,} rejected"
    if progress.state == StepState.DONE:
        return [f"done: {progress.total:,} images", rejected] if progress.total else ["done: no new images"]
    if progress.state == StepState.WRITING:
        return (
            [f"{progress.done:,} images computed", rejected, "writing the tables"]
            if progress.total
            else ["writing the tables"]
        )
    if not progress.done:
        return [f"none of {progress.total:,} images done yet"]
    parts = [f"{progress.done:,} of {progress.total:,} images ({percent(progress.share)})"]
    parts += [f"{rate(progress.images_per_second)} images/s"] if progress.images_per_second else []
    parts.append(f"{rejected} so far")
    seconds_left = progress.seconds_left
    parts += [time_left(seconds_left)] if show_time_left and seconds_left is not None else []
    return parts


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"'{value}' is not a number of images.")
    return value


def _amount(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"'{value}' is neither zero nor a positive number.")
    return float(value)
