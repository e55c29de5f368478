"""Measures very many images in every stage of a run, on one machine: seconds, memory, requests and files."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness.bench_lake import bench_lake
from benchmarks.harness.machine import usable_cores
from benchmarks.harness.requests import requests_since
from benchmarks.history.synthetic_history import (
    SyntheticHistory,
    days_before,
    read_embedder_id,
    write_days,
    write_version,
)
from benchmarks.scale.made_up_stores import FolderStore
from benchmarks.scale.result import ScaleBenchmark, ScaleSizes, Stage, written_since
from benchmarks.scale.synthetic_date import KnownDate, add_late_image, category_names, draw_batch, write_known_date
from fruit_cli.errors import CommandError
from fruit_contract import lake
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.harness.bench_lake import BenchLake
    from fruit_cli.lake.delivery_plan import PlannedImage

SCALE_SIZES: Final = {
    "small": ScaleSizes(images=2_000, categories=13, known=20_000, dates=10, per_partition=2, milliseconds=60),
    "full": ScaleSizes(images=200_000, categories=131, known=1_000_000, dates=1_000, per_partition=2, milliseconds=60),
}

_DAY: Final = "2026-11-22"
_CLUSTER: Final = "scale.steps"
_AIRFLOW: Final = "scale.airflow_side"
_WITHOUT_START: Final = {(_CLUSTER, "plan")}
_RUN_ID: Final = "scale"
# A run writes nothing to these tables.
_NOT_LOOKED_AT: Final = frozenset({lake.RAW, lake.CODE})


def measure_scale(
    home: Path, _: Sequence[PlannedImage], sizes: ScaleSizes, say: Callable[[str], None]
) -> ScaleBenchmark:
    """Measures every part. Raises CommandError if a stage breaks or does other work than it should."""
    home.mkdir()
    n_cores = usable_cores()
    stages: list[Stage] = []
    delivered_bytes = 0
    if sizes.images:
        with bench_lake(home / "new", n_cores, say, s3_latency_milliseconds=0) as bench:
            delivered_bytes = _measure_new(_Runner(bench, f"{sizes.images:,} new images", say, stages), sizes, n_cores)
    if sizes.known:
        with bench_lake(home / "known", n_cores, say, s3_latency_milliseconds=0) as bench:
            _measure_known(_Runner(bench, f"a date of {sizes.known:,} known images", say, stages), sizes)
    if sizes.dates:
        with bench_lake(home / "dates", n_cores, say, s3_latency_milliseconds=sizes.milliseconds) as bench:
            part = f"{sizes.dates:,} dates of {sizes.categories:,} categories, S3 at {sizes.milliseconds} ms"
            _measure_dates(_Runner(bench, part, say, stages), sizes, n_cores)
    return ScaleBenchmark(sizes, delivered_bytes, stages)


@dataclass
class _Runner:
    """Runs stages on one lake, each in a process of its own, and adds them to `stages`."""

    bench: BenchLake
    part: str
    say: Callable[[str], None]
    stages: list[Stage]
    _number: int = field(default=0, init=False)

    def run(self, what: str, way: str, do: str, n_images: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Asks a new process of `way` and returns its answer. Raises CommandError if the answer is about another number
        of images than `n_images`.
        """
        bench = self.bench
        self._number += 1
        name = f"{way}-{self._number}"
        files_before = _look(bench.folder)
        with bench.start(way, name, **self._environment(way, name)) as process:
            # Spark, or Airflow, is loaded before anything is measured.
            if (way, do) not in _WITHOUT_START:
                process.ask("start")
            requests_before, cpu_before = bench.request_counts(), process.cpu_seconds()
            with process.memory() as memory:
                answer = process.ask(do, bucket=bench.bucket, **arguments)
            cpu_seconds = process.cpu_seconds() - cpu_before
            requests = requests_since(requests_before, bench.request_counts())
        if answer["n_images"] != n_images:
            raise CommandError(f"{self.part}, {what}: {answer['n_images']:,} images instead of {n_images:,}.")
        written = written_since(files_before, _look(bench.folder))
        stage = Stage(
            self.part,
            what,
            answer["n_images"],
            answer["seconds"],
            cpu_seconds,
            memory.peaks,
            requests,
            written,
            answer.get("stages", {}),
        )
        self.stages.append(stage)
        peaks = ", ".join(f"{kind} {megabytes:,.0f} MB" for kind, megabytes in stage.memory.items())
        self.say(f"{self.part}: {what}: {stage.seconds:.1f} s, {stage.n_requests:,} requests, {peaks}")
        return answer

    def _environment(self, way: str, name: str) -> dict[str, str]:
        if way == _CLUSTER:
            return {}
        node = self.bench.node
        airflow_home = node.home / "ways" / name / "airflow"
        services = {"s3": {"endpoint_url": node.s3_url}}
        connection = {
            "conn_type": "aws",
            "login": node.access_key_id,
            "password": node.secret_access_key,
            "extra": {
                "region_name": node.region,
                "service_config": services,
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            },
        }
        return {
            "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "plugins")]),
            "AIRFLOW_HOME": str(airflow_home),
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        }


def _measure_new(runner: _Runner, sizes: ScaleSizes, n_cores: int) -> int:
    """Measures one date of new images from its plan to its check, and returns the bytes that were delivered."""
    bench, n_images = runner.bench, sizes.images
    date = KnownDate(_DAY, n_images, category_names(sizes.categories), "")
    delivered_bytes = draw_batch(bench.folder, date, n_cores)
    runner.say(f"{n_images:,} images are delivered")
    run_and_date = {"run_id": _RUN_ID, "ingest_date": _DAY}
    runner.run("plan (Airflow)", _AIRFLOW, "plan", n_images, run_and_date)
    runner.run("features step", _CLUSTER, "extract", n_images, {"release_id": bench.release_id, **run_and_date})
    refit = {"release_id": bench.release_id, "run_id": _RUN_ID, "ingest_dates": [_DAY], "refit": True}
    runner.run("refit", _CLUSTER, "refresh", n_images, refit)
    runner.run("check (Airflow)", _AIRFLOW, "check", n_images, run_and_date)
    return delivered_bytes


def _measure_known(runner: _Runner, sizes: ScaleSizes) -> None:
    """Measures a date whose images are known: its plan on both sides, then a features step of one late image."""
    bench = runner.bench
    embedder_id = read_embedder_id(bench.folder, bench.release_id)
    date = KnownDate(_DAY, sizes.known, category_names(sizes.categories), embedder_id)
    write_known_date(FolderStore(bench.bucket, bench.folder), date, bench.node.home / "pictures")
    runner.say(f"{sizes.known:,} known images are written")
    of_release = {"release_id": bench.release_id, "ingest_date": _DAY}
    runner.run("plan (cluster's driver)", _CLUSTER, "plan", sizes.known, of_release)
    runner.run("plan (Airflow)", _AIRFLOW, "plan", sizes.known, {"run_id": _RUN_ID, "ingest_date": _DAY})
    add_late_image(bench.folder, date)
    runner.run("features step of one late image", _CLUSTER, "extract", 1, {**of_release, "run_id": f"{_RUN_ID}-late"})


def _measure_dates(runner: _Runner, sizes: ScaleSizes, n_cores: int) -> None:
    """Measures a refit of many dates, after a PCA step that keeps the blocks of merged moments as daily runs do."""
    bench = runner.bench
    embedder_id = read_embedder_id(bench.folder, bench.release_id)
    history = SyntheticHistory(
        days_before(_DAY, sizes.dates),
        sizes.per_partition,
        bench.release_id,
        embedder_id,
        category_names(sizes.categories),
    )
    store = FolderStore(bench.bucket, bench.folder)
    days = [history.days[start::n_cores] for start in range(n_cores)]
    with ProcessPoolExecutor(n_cores) as pool:
        list(pool.map(write_days, repeat(store), (replace(history, days=some) for some in days)))
    write_version(store, history)
    runner.say(f"{history.n_images:,} images in {history.n_partitions:,} partitions are written")
    step = {"release_id": bench.release_id, "run_id": _RUN_ID, "ingest_dates": []}
    kept = runner.run("PCA step without a refit", _CLUSTER, "refresh", history.n_images, {**step, "refit": False})
    refit = runner.run("refit", _CLUSTER, "refresh", history.n_images, {**step, "refit": True})
    if (kept["n_dates"], refit["n_dates"]) != (0, sizes.dates):
        raise CommandError(
            f"{kept['n_dates']:,} and {refit['n_dates']:,} dates were projected, not 0 and {sizes.dates:,}."
        )


def _look(bucket_folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the time of change and the size of everything that a run writes, by key."""
    return dict(_files(str(bucket_folder), "", _NOT_LOOKED_AT))


def _files(folder: str, prefix: str, left_out: frozenset[str] = frozenset()) -> Iterator[tuple[str, tuple[int, int]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name not in left_out:
                    yield from _files(entry.path, f"{prefix}{entry.name}/")
            else:
                status = entry.stat()
                yield f"{prefix}{entry.name}", (status.st_mtime_ns, status.st_size)
