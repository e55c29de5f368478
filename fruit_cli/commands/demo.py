"""Runs the main job on this machine, end to end: local cloud, a real Airflow, image batches over several dates, the
results.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fruit_cli.airflow_client.api import AirflowApi
from fruit_cli.airflow_client.follow import duration, make_ready, set_runs_aside
from fruit_cli.airflow_client.http import AirflowHttp, local_airflow
from fruit_cli.arguments import ABOUT_THE_LOCAL_CLOUD, positive, typed_path
from fruit_cli.commands.publish import publish
from fruit_cli.commands.run import run_date
from fruit_cli.commands.up import ui
from fruit_cli.demo.batches import deal, demo_dates, draw_fruit_folder, with_broken_files
from fruit_cli.demo.fruit.renderer import CATEGORIES
from fruit_cli.demo.home import empty_lake, is_the_demos, lake_folder, write_record
from fruit_cli.demo.results_table import results_table
from fruit_cli.demo.run_results import cluster_minutes_of, read_result, report_files
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import current_connection, local_bucket, local_emr_client
from fruit_cli.lake.delivery import deliver_plan
from fruit_cli.lake.delivery_plan import plan_delivery
from fruit_cli.release.embedder import default_embedder
from fruit_cli.stack.lifecycle import LocalStack
from local_cloud.stack.state import local_home, make_home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from pathlib import Path
    from types import FrameType

    from fruit_cli.demo.batches import BrokenFile
    from fruit_cli.demo.run_results import DateResult
    from fruit_cli.lake.delivery_plan import DeliveryPlan
    from local_cloud.stack.state import StackState

DEFAULT_DAYS: Final = 3
DEFAULT_IMAGES_PER_CATEGORY: Final = 36
_CLUSTER_ENDS_WITHIN_SECONDS: Final = 60
_WIDTH_OF_A_LOG: Final = 120


class DemoFailedError(CommandError):
    """Raised if the demo ran and its books don't balance, or a cluster did not end."""


@click.command(epilog=ABOUT_THE_LOCAL_CLOUD)
@click.option(
    "--data",
    type=typed_path,
    metavar="FOLDER",
    help="A folder in Fruits-360 layout to take the images from.  [default: fruit is drawn]",
)
@click.option(
    "--days",
    type=positive,
    default=str(DEFAULT_DAYS),
    show_default=True,
    metavar="NUMBER",
    help="How many ingest dates, the last one today.",
)
@click.option("--as-is", is_flag=True, help="Takes the folders in --data for categories, whatever they look like.")
@click.option("--keep", is_flag=True, help="Leaves Airflow's UI and the local cloud up.")
@click.option(
    "--images-per-category",
    type=positive,
    default=str(DEFAULT_IMAGES_PER_CATEGORY),
    show_default=True,
    metavar="NUMBER",
    help="How many fruits are drawn of a category.",
)
def command(data: Path | None, days: int, images_per_category: int, *, as_is: bool, keep: bool) -> int:
    """Runs the main job on this machine, end to end: local cloud, a real Airflow, image batches over several dates, the
    results.

    The lake is the folder s3/<bucket>/ of the local home. The demo starts from an empty one, and refuses to empty
    anybody else's.

    \b
    Examples:
      python -m fruit_cli demo
      python -m fruit_cli demo --data ~/fruits-360/Training --days 5 --keep
    """
    # A log file has no width of its own, and the table of the results must fit.
    narrator = Narrator(Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_LOG))
    home = local_home()
    stack = LocalStack(home)
    data = data.resolve() if data else None
    dates = demo_dates(days, _today())
    if data:
        # This comes before anything is started or emptied, so that a wrong folder is told at once.
        deal(plan_delivery(data, dates[0], as_is=as_is).images, dates)
    make_home(home)
    _stop_earlier_demo(stack, narrator)
    bucket = local_bucket(os.environ)
    if empty_lake(home, bucket):
        narrator.step(f"Emptied the lake of an earlier demo: {lake_folder(home, bucket)}")
    # While Airflow starts, a core is free at times, so the embedder is exported meanwhile. That needs no cloud.
    with _terminated_like_ctrl_c(), ThreadPoolExecutor(1) as beside:
        embedder = beside.submit(default_embedder, home, narrator.detail)
        try:
            narrator.step("Starting the local cloud and Airflow")
            state = stack.start(say=narrator.detail)
            if embedder.done():
                embedder.result()
            plans, broken = _prepare_batches(home, data, dates, images_per_category, narrator)
            write_record(home, {ingest_date: len(plan.images) for ingest_date, plan in plans.items()})
            embedder.result()
            narrator.step("Publishing the release")
            publish(current_connection(), say=narrator.detail)
            results = _run_all(home, state, plans, narrator)
            _show(home, state, results, broken, narrator)
        except BaseException:
            stack.stop(say=narrator.detail)
            raise
        if keep:
            narrator.step(f"Still up, as asked: {ui(state)} (`make down` stops it)")
        else:
            narrator.step("Stopping everything")
            stack.stop(say=narrator.detail)
    return 0


class Narrator:
    """Says what the demo is doing, with the time since its start."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def step(self, text: str) -> None:
        self.console.print(f"==> {text}", style="bold", markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        self.console.print(f"  {text}", markup=False, soft_wrap=True)


def check_promise(results: Sequence[DateResult], broken: Sequence[BrokenFile]) -> list[str]:
    """Returns a sentence for each promise that the demo didn't keep: balanced books, and both broken files rejected."""
    problems = [f"{result.ingest_date}: {problem}" for result in results for problem in result.problems]
    rejected = {key for result in results for key in result.rejects}
    problems += [
        f"{file.key} is broken on purpose, and was not rejected" for file in broken if file.key not in rejected
    ]
    return problems


def _stop_earlier_demo(stack: LocalStack, narrator: Narrator) -> None:
    state = stack.state()
    if state is None:
        return
    if not is_the_demos(stack.home, state.bucket):
        raise CommandError(
            "The local cloud is up, with images in its lake that no demo delivered. The demo needs a lake of its own: "
            "`make down` and `FRUITS_LOCAL_HOME=/tmp/fruits-demo make demo`."
        )
    narrator.step("Stopping the local cloud that is up: it holds nothing but an earlier demo")
    stack.stop(say=narrator.detail)


def _prepare_batches(
    home: Path, data: Path | None, dates: Sequence[str], images_per_category: int, narrator: Narrator
) -> tuple[dict[str, DeliveryPlan], list[BrokenFile]]:
    """Draws fruit if none is given, deals it over the dates and adds the broken files. Returns a plan for each date,
    and the broken files.
    """
    scratch = home / "demo"
    shutil.rmtree(scratch, ignore_errors=True)
    if data is None:
        data = scratch / "drawn"
        narrator.step(f"Drawing {len(CATEGORIES)} kinds of fruit, {images_per_category} pictures each: {data}")
        with _progress(narrator.console) as progress:
            task = progress.add_task("drawing", total=len(CATEGORIES) * images_per_category)
            draw_fruit_folder(data, images_per_category, lambda count: progress.advance(task, count))
    plans, broken = with_broken_files(deal(plan_delivery(data, dates[0], as_is=True).images, dates), scratch / "broken")
    counts = ", ".join(f"{len(plan.images):,} for {ingest_date}" for ingest_date, plan in plans.items())
    narrator.step(f"Dealt the images of {data} over {len(dates)} dates: {counts}")
    for file in broken:
        narrator.detail(f"broken on purpose: {file.key} ({file.what})")
    return plans, broken


def _run_all(home: Path, state: StackState, plans: dict[str, DeliveryPlan], narrator: Narrator) -> list[DateResult]:
    """Delivers and runs one date after another, as days would pass, and returns the result of each."""
    emr = local_emr_client(state)
    results = []
    with AirflowHttp(local_airflow(state)) as http:
        api = AirflowApi(http)
        make_ready(api, narrator.console)
        # Today's own run, or one that was under way when an earlier demo was stopped, would take a batch at the same
        # time as ours.
        set_runs_aside(api, {})
        for number, (ingest_date, plan) in enumerate(plans.items(), start=1):
            narrator.step(f"Day {number} of {len(plans)}: {ingest_date}")
            deliver_plan(current_connection(), plan, console=narrator.console)
            # The last day ends with a PCA of all images, whatever the policy thinks of the few that are new.
            policy = "always" if number == len(plans) else None
            finished = run_date(api, ingest_date, [], narrator.console, pca_policy=policy)
            narrator.detail(f"the run took {duration(finished.seconds or 0)}")
            minutes = _cluster_minutes(api, emr, finished.run_id)
            delivered = {plan.key_of(image) for image in plan.images}
            results.append(
                read_result(lake_folder(home, state.bucket), ingest_date, finished.run_id, delivered, minutes)
            )
    return results


def _cluster_minutes(api: AirflowApi, emr: object, run_id: str) -> float | None:
    """Returns how many minutes the run's cluster was up, or None if the run started none. It waits for the cluster's
    end, which may come a moment after the run's, and raises DemoFailedError if that does not come within a minute.
    """
    cluster_id = api.xcom(run_id, "create_cluster")
    if not isinstance(cluster_id, str):
        return None
    for _ in range(_CLUSTER_ENDS_WITHIN_SECONDS):
        minutes = cluster_minutes_of(emr, cluster_id)
        if minutes is not None:
            return minutes
        time.sleep(1)
    raise DemoFailedError(
        f"The cluster {cluster_id} of {run_id} has not ended a minute after its run. It would go on costing money."
    )


def _show(
    home: Path, state: StackState, results: Sequence[DateResult], broken: Sequence[BrokenFile], narrator: Narrator
) -> None:
    narrator.console.print()
    narrator.console.print(results_table(results))
    folder = lake_folder(home, state.bucket)
    rejects = {key: reason for result in results for key, reason in result.rejects.items()}
    narrator.step("Broken on purpose")
    for file in broken:
        narrator.detail(f"{file.key}: {rejects.get(file.key, 'NOT rejected')}")
    narrator.step(f"The report of {results[-1].ingest_date}")
    for path in report_files(folder, results[-1].ingest_date):
        narrator.detail(str(path))
    narrator.step(f"The lake, for any Parquet reader: {folder}")
    problems = check_promise(results, broken)
    if problems:
        raise DemoFailedError("The books don't balance:\n" + "\n".join(problems))
    narrator.step(
        "The books balance: every delivered image is featurised or rejected with a reason. "
        f"{duration(narrator.seconds)} since the start"
    )


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM, and the SIGHUP of a closed terminal, end the demo as Ctrl-C does, so that it stops what it has
    started.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _today() -> date:
    return datetime.now(UTC).date()
