"""`python -m benchmarks.soak [--minutes 60]`: runs small dates at once for an hour, prints what it found and saves it
in results/.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.harness.grid import markdown_page
from benchmarks.harness.machine import describe_machine, load
from benchmarks.soak.run import AT_ONCE, soak
from fruit_cli.errors import CommandError
from local_cloud.page_table import PageTable, is_to_be_written
from local_cloud.project import PROJECT
from local_cloud.stack.java import JavaNotFoundError
from local_cloud.stack.ports import keep_loopback_direct

RESULTS: Final = PROJECT / "benchmarks" / "results"
TABLES: Final = PageTable(
    PROJECT / "docs" / "operations.md",
    "<!-- soak, written by `make soak` with FRUITS_WRITE_DOCS=1 -->",
    "<!-- end of the soak -->",
)
DEFAULT_MINUTES: Final = 60.0


def main(argv: list[str] | None = None) -> int:
    keep_loopback_direct(os.environ)
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=_minutes, default=DEFAULT_MINUTES, help="for how long runs are begun (default: %(default)g)"
    )
    minutes: float = parser.parse_args(argv).minutes
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    started, load_before = time.monotonic(), load()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - started:5.0f} s  {text}", markup=False, soft_wrap=True)

    # On SIGTERM it ends what it has started, as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="fruits-soak-", ignore_cleanup_errors=True) as home:
            result = soak(Path(home), minutes, console, say)
    except (CommandError, JavaNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    facts = {
        "command": f"`make soak MINUTES={minutes:g}`",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "runs": f"{AT_ONCE} at once, each of a small date, each date twice; LocalExecutor, SQLite, Airflow "
        f"{version('apache-airflow')}",
        **describe_machine(),
        "load": f"{load_before:.1f} before, {load():.1f} after (the last minute's average)",
    }
    for grid in result.grids():
        console.print(grid.to_rich())
    for note in result.notes():
        console.print(note, markup=False)
    page = RESULTS / f"soak-{minutes:g}-minutes.md"
    page.write_text(
        markdown_page(f"Soak, {minutes:g} minutes", facts, result.grids(), result.notes()), encoding="utf-8"
    )
    say(f"Saved as benchmarks/results/{page.name}")
    if is_to_be_written():
        tables = "\n".join(
            [
                facts["command"] + f", {facts['day']}, {facts['cores']} cores.\n",
                *(grid.to_markdown() for grid in result.grids()),
            ]
        )
        TABLES.write(tables)
        say(f"Written into docs/{TABLES.page.name}")
    return 1 if result.problems() else 0


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 7 * 24 * 60:
        raise ValueError
    return minutes


if __name__ == "__main__":
    raise SystemExit(main())
