"""Measures how long a newcomer waits: `make demo` in a fresh clone, from the call to the first features and to the end
of the first day.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final

from benchmarks.setup.result import Setup
from fruit_cli.errors import CommandError
from fruit_contract import lake
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fruit_cli.lake.delivery_plan import PlannedImage

_POLL_SECONDS: Final = 0.1
# This process may have these variables, a newcomer's shell does not.
_NOT_A_NEWCOMERS: Final = ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")


def measure_setup(folder: Path, _: Sequence[PlannedImage], __: None, say: Callable[[str], None]) -> Setup:
    """Clones the last commit into `folder` and runs its demo of one day. Raises CommandError if it can't be cloned, or
    if the demo fails.
    """
    clone = folder / "clone"
    git = shutil.which("git")
    if git is None or subprocess.run([git, "clone", "--quiet", str(PROJECT), str(clone)], check=False).returncode:
        raise CommandError(f"{PROJECT} can't be cloned: the set-up is measured on the last commit of a git repository.")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_A_NEWCOMERS and not name.startswith(("FRUITS_", "AIRFLOW"))
    }
    say("make demo DAYS=1 in a fresh clone")
    demo = subprocess.Popen(
        ["make", "demo", "DAYS=1"],
        cwd=clone,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return _follow(demo, clone, say)
    finally:
        _end(demo)


def _follow(demo: subprocess.Popen[str], clone: Path, say: Callable[[str], None]) -> Setup:
    started = time.monotonic()
    first_features: list[float] = []
    threading.Thread(target=_watch, args=(clone, demo, started, first_features), daemon=True).start()
    lines = [(time.monotonic() - started, line.rstrip()) for line in demo.stdout or ()]
    if demo.wait() or not first_features:
        raise CommandError(
            "The demo in a fresh clone failed. Its last words:\n" + "\n".join(line for _, line in lines[-15:])
        )
    say(f"first features after {first_features[0]:.1f} s")
    return Setup(lines, first_features[0])


def _watch(clone: Path, demo: subprocess.Popen[str], started: float, first_features: list[float]) -> None:
    """Looks for the first file of features until the demo ends."""
    features = clone / ".local" / "s3" / lake.DEFAULT_BUCKET / lake.FEATURES
    while demo.poll() is None and not first_features:
        if any(features.rglob("*.parquet")):
            first_features.append(time.monotonic() - started)
        time.sleep(_POLL_SECONDS)


def _end(demo: subprocess.Popen[str]) -> None:
    """Stops the demo as Ctrl-C does if it still runs (we were interrupted), so that it stops what it has started."""
    if demo.poll() is None:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait()
