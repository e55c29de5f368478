"""The page that shows how far a run's features step has come. Pure: progress in, text out.

Whatever came from outside (run ids) is escaped, the page forbids scripts and renews itself until the step is done.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from fruit_contract.progress import StepState
from fruit_pipeline.emr.cluster_request import MAIN_DAG_ID
from fruit_pipeline.html_page import html_page, tiles
from fruit_pipeline.progress.tracking import Progress, duration, percent, rate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

URL_PREFIX: Final = "/fruits"

# The page has it, too, but who may put it in a frame can only be said in a header.
CONTENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_RENEW_SECONDS: Final = 5
# Nothing is expected soon.
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
_STYLE: Final = """
progress { appearance: none; display: block; width: 100%; height: 1.25rem; margin: 1.5rem 0 .5rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--soft); color: var(--accent); overflow: hidden; }
progress::-webkit-progress-bar { background: var(--soft); }
progress::-webkit-progress-value { background: var(--accent); }
progress::-moz-progress-bar { background: var(--accent); }
.news { font-variant-numeric: tabular-nums; }
a { color: var(--accent); }
h1 { overflow-wrap: anywhere; } .run { overflow-wrap: anywhere; }
"""


def progress_path(run_id: str) -> str:
    """Where the page of a run is, below Airflow's own address."""
    return f"{URL_PREFIX}/progress/{quote(run_id, safe='')}"


def progress_page(run_id: str, progress: Progress | None, now: datetime, airflow_path: str = "") -> str:
    """The page of a run; without progress it says when there will be some. `airflow_path` comes before a path in Airflow's UI."""
    run_link = f"{airflow_path}/dags/{MAIN_DAG_ID}/runs/{quote(run_id, safe='')}"
    foot = f'<p><a href="{escape(run_link)}">The run in Airflow</a>, with its cluster and logs</p>'
    run = f'<p class="muted run">Run {escape(run_id)}</p>'
    if progress is None:
        text = "The features step says how far it has come once it has started on its cluster, which takes some minutes."
        return _page("No progress yet", [run, f"<p>{text} A run without new images has no such step.</p>", foot], _RENEW_IDLE_SECONDS)
    silence = progress.silence(now)
    renew = _RENEW_SECONDS if silence is None else _RENEW_IDLE_SECONDS
    said_at = f"{progress.updated_at:%Y-%m-%d %H:%M:%S} UTC"
    return _page(
        _TITLES[progress.state],
        [
            run,
            _bar(progress),
            f'<p class="news {"muted" if silence is None else "bad"}">{escape(_news(progress, silence))}</p>',
            tiles(_facts(progress, show_time_left=silence is None)),
            f'<p class="muted">Last news: <time datetime="{progress.updated_at.isoformat()}">{said_at}</time></p>',
            foot,
        ],
        None if progress.state == StepState.DONE else renew,
    )


def message_page(title: str, text: str, airflow_path: str = "", *, renew: bool = False) -> str:
    """What is shown instead of progress to somebody who can't see it; `renew` if that may change by itself."""
    home = f'<p><a href="{escape(airflow_path)}/">To Airflow</a></p>'
    return _page(title, [f"<p>{escape(text)}</p>", home], _RENEW_IDLE_SECONDS if renew else None)


def _page(title: str, body: Iterable[str], renew_seconds: int | None) -> str:
    heading = f"<h1>{escape(title)}</h1>"
    return html_page(title, [heading, *body], CONTENT_SECURITY_POLICY, style=_STYLE, renew_seconds=renew_seconds)


def _bar(progress: Progress) -> str:
    if progress.state == StepState.LISTING:
        return '<progress aria-label="Images done"></progress>'
    share = 1.0 if progress.state == StepState.DONE else progress.share
    return f'<progress aria-label="Images done" max="1" value="{share:.4f}">{percent(share)}</progress>'


def _news(progress: Progress, silence: timedelta | None) -> str:
    """The sentence below the bar, for what the numbers beside it don't say."""
    said = _SENTENCES.get(progress.state, percent(progress.share))
    return said if silence is None else f"{said.removesuffix('.')}, but no news for {duration(silence.total_seconds())}."


def _facts(progress: Progress, *, show_time_left: bool) -> list[tuple[str, str]]:
    """Value and label of each tile."""
    facts = []
    if progress.state != StepState.LISTING:
        facts += [(f"{progress.done:,}", f"of {progress.total:,} images done")]
        facts += [(f"{progress.rejected:,}", "rejected" if progress.state in (StepState.WRITING, StepState.DONE) else "rejected so far")]
    if progress.images_per_second and progress.state != StepState.LISTING:
        facts.append((rate(progress.images_per_second), "images a second"))
    seconds_left = progress.seconds_left
    if seconds_left is not None and show_time_left:
        facts.append((duration(seconds_left), "left (estimate)"))
    if progress.state != StepState.LISTING:
        facts.append((_clock(progress.seconds), f"minutes of computing{' so far' if progress.state == StepState.COMPUTING else ''}"))
    return facts


def _clock(seconds: float) -> str:
    """Minutes and seconds, as on a stopwatch."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,}:{rest:02}"
