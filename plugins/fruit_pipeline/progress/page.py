"""Makes the page that shows how far a run's features step has come.

It renews itself until the step is done. How it looks is in `templates/progress.html.j2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from fruit_contract.progress import StepProgress, StepState
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID
from fruit_pipeline.html_page import render_page
from fruit_pipeline.progress.tracking import duration, percent, rate

if TYPE_CHECKING:
    from datetime import datetime, timedelta

URL_PREFIX: Final = "/fruits"

# The page itself has this policy, too. But who may put the page in a frame can only be said in a header.
CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_RENEW_SECONDS: Final = 5
# The page is renewed so seldom if nothing is expected soon.
_RENEW_IDLE_SECONDS: Final = 15
_TITLES: Final = {
    StepState.LISTING: "Listing the images",
    StepState.COMPUTING: "Computing features",
    StepState.WRITING: "Writing the tables",
    StepState.DONE: "Features are done",
}
_SENTENCES: Final = {
    StepState.LISTING: "The images are listed, and looked up in what is known.",
    StepState.WRITING: "All images are computed; their tables are being written.",
    StepState.DONE: "All images are computed, and their tables are written.",
}


def progress_path(run_id: str) -> str:
    """Returns where the page of a run is, below Airflow's own address."""
    return f"{URL_PREFIX}/progress/{quote(run_id, safe='')}"


def progress_page(run_id: str, progress: StepProgress | None, now: datetime, airflow_path: str = "") -> str:
    """Returns the page of a run; without progress it says when there will be some. `airflow_path` is put before a path
    in Airflow's UI.
    """
    shown = _shown(progress, now) if progress else {"title": "No progress yet", "renew_seconds": _RENEW_IDLE_SECONDS}
    run_link = f"{airflow_path}/dags/{MAIN_DAG_ID}/runs/{quote(run_id, safe='')}"
    return render_page(
        "progress.html.j2", CONTENT_SECURITY_POLICY, run_id=run_id, run_link=run_link, progress=progress, **shown
    )


def message_page(title: str, text: str, airflow_path: str = "", *, renew: bool = False) -> str:
    """Returns what is shown to somebody who can't see the progress. `renew` is true if that may change by itself."""
    renew_seconds = _RENEW_IDLE_SECONDS if renew else None
    return render_page(
        "message.html.j2",
        CONTENT_SECURITY_POLICY,
        title=title,
        text=text,
        airflow_path=airflow_path,
        renew_seconds=renew_seconds,
    )


def _shown(progress: StepProgress, now: datetime) -> dict[str, object]:
    """Returns what the template shows of the progress."""
    silence = progress.silence(now)
    share = 1.0 if progress.state == StepState.DONE else progress.share
    renew_seconds = _RENEW_SECONDS if silence is None else _RENEW_IDLE_SECONDS
    return {
        "title": _TITLES[progress.state],
        "renew_seconds": None if progress.state == StepState.DONE else renew_seconds,
        "share": share,
        "percent": percent(share),
        "silence": silence,
        "news": _news(progress, silence),
        "facts": _facts(progress, show_time_left=silence is None),
    }


def _news(progress: StepProgress, silence: timedelta | None) -> str:
    """Returns the sentence below the bar, which says what the numbers beside it don't."""
    said = _SENTENCES.get(progress.state, percent(progress.share))
    return (
        said if silence is None else f"{said.removesuffix('.')}, but no news for {duration(silence.total_seconds())}."
    )


def _facts(progress: StepProgress, *, show_time_left: bool) -> list[tuple[str, str]]:
    """Returns the value and the label of each tile."""
    facts = []
    if progress.state != StepState.LISTING:
        facts += [(f"{progress.done:,}", f"of {progress.total:,} images done")]
        facts += [
            (
                f"{progress.rejected:,}",
                "rejected" if progress.state in (StepState.WRITING, StepState.DONE) else "rejected so far",
            )
        ]
    if progress.images_per_second and progress.state != StepState.LISTING:
        facts.append((rate(progress.images_per_second), "images a second"))
    seconds_left = progress.seconds_left
    if seconds_left is not None and show_time_left:
        facts.append((duration(seconds_left), "left (estimate)"))
    if progress.state != StepState.LISTING:
        facts.append(
            (
                _clock(progress.seconds),
                f"minutes of computing{' so far' if progress.state == StepState.COMPUTING else ''}",
            )
        )
    return facts


def _clock(seconds: float) -> str:
    """Returns minutes and seconds, as on a stopwatch."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,}:{rest:02}"
