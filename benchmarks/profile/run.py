"""Measures where the time of a features step goes: the CPU of each kind of process, and what the Python workers do, by
py-spy's samples.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.harness.images import lay_batch
from benchmarks.profile.result import Profile, layers_of
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psutil

    from benchmarks.harness.bench_lake import BenchLake
    from fruit_cli.lake.delivery_plan import PlannedImage


@dataclass(frozen=True)
class ProfileScale:
    n_images: int


PROFILE_SCALES: Final = {"small": ProfileScale(1000), "full": ProfileScale(5000)}
_WARM_UP_DATE, _TIMED_DATE, _SAMPLED_DATE = "2026-01-01", "2026-01-02", "2026-01-03"
_SAMPLES_PER_SECOND: Final = 100
# A worker is sampled while it computes, from some time after the step begins.
_SAMPLED_SHARE: Final = 0.5
_LISTING_SECONDS: Final = 1.0


def measure_profile(
    bench: BenchLake, images: Sequence[PlannedImage], _: ProfileScale, say: Callable[[str], None]
) -> Profile:
    """Runs a day for its CPU times, and another one under py-spy, which slows it. Raises CommandError if py-spy is not
    installed.
    """
    if sampler() is None:
        raise CommandError("py-spy is not installed: `make bench` installs it.")
    for ingest_date in (_WARM_UP_DATE, _TIMED_DATE, _SAMPLED_DATE):
        lay_batch(images, bench.folder, ingest_date)
    with bench.start("features.ours") as ours:
        ours.ask("start")

        def run(ingest_date: str) -> float:
            return float(
                ours.ask("run", bucket=bench.bucket, release_id=bench.release_id, ingest_date=ingest_date)["seconds"]
            )

        say(f"cold: {run(_WARM_UP_DATE):.1f} s")
        before, s3_before = ours.cpu_seconds_by_kind(), bench.s3_cpu_seconds()
        seconds = run(_TIMED_DATE)
        cpu = {kind: used - before[kind] for kind, used in ours.cpu_seconds_by_kind().items()}
        cpu["S3 server"] = bench.s3_cpu_seconds() - s3_before
        say(f"warm: {seconds:.1f} s; now under py-spy")
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
            step = thread.submit(run, _SAMPLED_DATE)
            time.sleep(_LISTING_SECONDS)
            stacks = _sample(ours.spark_workers(), seconds * _SAMPLED_SHARE, Path(folder))
            step.result()
    return Profile(len(images), seconds, cpu, layers_of(stacks))


def sampler() -> Path | None:
    """Returns the py-spy of this environment, or the one on the path, or None if there is neither."""
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    return Path(found) if found else None


def _sample(workers: Sequence[psutil.Process], seconds: float, folder: Path) -> Counter[str]:
    """Returns how many samples each stack has, of all workers together. A stack is `function (file:line)` from the
    outermost on, joined by semicolons.

    Raises CommandError if py-spy took no sample.
    """
    recorders = []
    for worker in workers:
        output = folder / str(worker.pid)
        words = [
            sampler(),
            "record",
            "--pid",
            worker.pid,
            "--duration",
            max(1, round(seconds)),
            "--rate",
            _SAMPLES_PER_SECOND,
        ]
        words += ["--format", "raw", "--output", output]
        recorders.append(
            (output, subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        )
    stacks: Counter[str] = Counter()
    for output, recorder in recorders:
        recorder.wait()
        for line in output.read_text(encoding="utf-8").splitlines() if output.exists() else ():
            stack, _, count = line.rpartition(" ")
            stacks[stack] += int(count)
    if not stacks:
        raise CommandError("py-spy took no sample: it may need the right to look into other processes (ptrace).")
    return stacks
