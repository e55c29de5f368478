"""Measures the way from a table of features to all its projections, by ours and by pyspark.ml, side by side.

Each way is a process of its own and waits while the other one runs. A round runs both on a new copy of the same lake,
one right after the other; every other round begins with the other way.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.harness.summary import median_stages
from benchmarks.history.synthetic_history import (
    CATEGORIES,
    SyntheticHistory,
    clone_lake,
    days_before,
    partitions_of,
    read_embedder_id,
    write_features,
)
from benchmarks.pca.result import (
    OURS,
    SPARK_ML,
    SPARK_ML_OUTPUT,
    WAYS,
    Fitted,
    PcaAgreement,
    PcaBenchmark,
    PcaRun,
    compare_pca,
)
from benchmarks.scale.made_up_stores import FolderStore
from fruit_cli.errors import CommandError
from fruit_contract import lake, tables
from fruit_features.pca.fit import inverse_scale
from fruit_features.pca.versions import model_from_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.harness.bench_lake import BenchLake
    from benchmarks.harness.way_process import WayProcess
    from fruit_cli.lake.delivery_plan import PlannedImage

_DAY_AFTER: Final = "2025-03-17"
_MODULES: Final = {OURS: "pca.ours", SPARK_ML: "pca.spark_ml"}
_COMPUTE_ROUNDS: Final = 3
_LOCAL_NODE: Final = "as on the local node"
_OPTIMISING: Final = "fully optimising"
# The variables that a way's process sees beside the local node's. `_JAVA_OPTIONS` overrides what Spark tells Java.
_JAVA: Final = {_LOCAL_NODE: {}, _OPTIMISING: {"_JAVA_OPTIONS": "-XX:TieredStopAtLevel=4"}}


@dataclass(frozen=True)
class PcaScale:
    """Says how much is measured: warm rounds with Java set as on the local node, and as on a cluster. A cold round
    comes before each of the two.
    """

    n_images: int
    n_dates: int
    rounds: int
    optimising_rounds: int


PCA_SCALES: Final = {
    "small": PcaScale(n_images=4_000, n_dates=2, rounds=1, optimising_rounds=0),
    "full": PcaScale(n_images=20_000, n_dates=4, rounds=3, optimising_rounds=2),
}


def measure_pca(
    bench: BenchLake, _: Sequence[PlannedImage], scale: PcaScale, say: Callable[[str], None]
) -> PcaBenchmark:
    """Times everything. Raises CommandError if a run breaks or does other work than it should."""
    per_partition = scale.n_images // (scale.n_dates * len(CATEGORIES))
    embedder_id = read_embedder_id(bench.folder, bench.release_id)
    history = SyntheticHistory(days_before(_DAY_AFTER, scale.n_dates), per_partition, bench.release_id, embedder_id)
    source = bench.node.buckets_folder / "pca"
    clone_lake(bench.folder, source)
    write_features(FolderStore(source.name, source), history)
    say(f"{history.n_images:,} features of {scale.n_dates} dates are written")
    runner = _Runner(bench, source, history, say)
    agreement = runner.measure(_LOCAL_NODE, scale.rounds)
    if scale.optimising_rounds:
        runner.measure(_OPTIMISING, scale.optimising_rounds)
    return PcaBenchmark(
        history.n_images, scale.n_dates, len(CATEGORIES), runner.k, runner.runs, agreement, runner.arithmetic
    )


class _Runner:
    """Runs both ways on copies of the lake in `source`, and checks that they did the work that is to be timed."""

    def __init__(self, bench: BenchLake, source: Path, history: SyntheticHistory, say: Callable[[str], None]) -> None:
        self._bench = bench
        self._source = source
        self._history = history
        self._say = say
        self.k = 0
        self.runs: list[PcaRun] = []
        self.arithmetic: dict[str, float] = {}

    def measure(self, java: str, n_rounds: int) -> PcaAgreement:
        """Runs a cold round and `n_rounds` warm ones, then compares what the two ways left in the last one."""
        names = [f"{self._source.name}-{list(_JAVA).index(java)}-{number}" for number in range(n_rounds + 1)]
        with ExitStack() as stack:
            processes = {way: stack.enter_context(self._start(way, java, names)) for way in WAYS}
            for process in processes.values():
                process.ask("start")
            for number, name in enumerate(names):
                bucket = self._bench.node.buckets_folder / name
                clone_lake(self._source, bucket)
                # Ours runs first in round 0, because it finds the k that pyspark.ml is told.
                for way in WAYS if number % 2 == 0 else reversed(WAYS):
                    self._run(java, way, number, processes[way], name)
                if number < n_rounds:
                    shutil.rmtree(bucket)
            agreement = self._compare(processes[SPARK_ML], bucket)
            if not self.arithmetic:
                self.arithmetic = self._compute(processes[OURS])
        shutil.rmtree(bucket)
        return agreement

    def _start(self, way: str, java: str, buckets: list[str]) -> WayProcess:
        module = _MODULES[way]
        return self._bench.start(module, f"{module}_{list(_JAVA).index(java)}", buckets, **_JAVA[java])

    def _run(self, java: str, way: str, number: int, process: WayProcess, bucket: str) -> None:
        arguments: dict[str, Any] = {"release_id": self._bench.release_id} if way == OURS else {"k": self.k}
        cpu_before = process.cpu_seconds() + self._bench.s3_cpu_seconds()
        answer = process.ask("run", bucket=bucket, ingest_dates=list(self._history.days), **arguments)
        cpu_seconds = process.cpu_seconds() + self._bench.s3_cpu_seconds() - cpu_before
        if answer["n_samples"] != self._history.n_images:
            raise CommandError(f"{way} took {answer['n_samples']:,} of {self._history.n_images:,} features.")
        if way == OURS:
            self._check(answer)
        self.runs.append(PcaRun(java, way, number, answer["seconds"], cpu_seconds, answer["stages"]))
        label = f"round {number}" if number else "cold"
        self._say(f"Java {java}, {label}, {way}: {answer['seconds']:.1f} s, {cpu_seconds:.1f} s of CPU")

    def _check(self, answer: Mapping[str, Any]) -> None:
        found = (answer["action"], len(answer["projected_ingest_dates"]))
        if found != ("fitted", len(self._history.days)):
            raise CommandError(
                f"The PCA was {found[0]} and {found[1]} dates projected, not fitted and {len(self._history.days)}."
            )
        if self.k not in (0, answer["k"]):
            raise CommandError(f"The same features gave {answer['k']} components after {self.k}.")
        self.k = answer["k"]

    def _compute(self, process: WayProcess) -> dict[str, float]:
        """Returns the median seconds of each stage of ours in one process without Spark."""
        answers = [
            process.ask("compute", folder=str(self._source), ingest_dates=list(self._history.days))
            for _ in range(_COMPUTE_ROUNDS)
        ]
        if any((answer["k"], answer["n_samples"]) != (self.k, self._history.n_images) for answer in answers):
            raise CommandError("Without Spark, the arithmetic came to another PCA.")
        return median_stages([answer["stages"] for answer in answers])

    def _compare(self, process: WayProcess, bucket: Path) -> PcaAgreement:
        """Compares the models, all written projections, and the float64 projections of one partition."""
        sample = partitions_of(self._history, self._history.days[0])[0]
        order = np.argsort(sample.image_keys)
        file = self._bench.node.home / f"{bucket.name}.npz"
        process.ask(
            "export", bucket=bucket.name, ingest_date=sample.ingest_date, category=sample.category, path=str(file)
        )
        with np.load(file) as stored:
            exported = dict(stored)
        if exported["image_keys"].tolist() != [sample.image_keys[index] for index in order]:
            raise CommandError(
                f"pyspark.ml's projections are not of the images of {sample.ingest_date}, {sample.category}."
            )
        keys, written = _read_projections(bucket / SPARK_ML_OUTPUT)
        theirs = Fitted(exported["components"], exported["explained_variance_ratio"], exported["projections"], written)

        version = json.loads((bucket / lake.CURRENT_PCA_KEY).read_text(encoding="utf-8"))["version"]
        model = model_from_parquet((bucket / lake.pca_prefix(version) / "model.parquet").read_bytes())
        our_keys, our_written = _read_projections(bucket / lake.projections_prefix(version))
        if our_keys != keys:
            raise CommandError("The two ways did not write projections of the same images.")
        # This is what `project` of fruit_features.pca computes before it rounds to float32.
        standardised = (sample.vectors[order].astype(np.float64) - model.mean) * inverse_scale(model.scale)
        ours = Fitted(model.components, model.explained_variance_ratio, standardised @ model.components.T, our_written)
        return compare_pca(ours, theirs)


def _read_projections(folder: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Returns the image keys below a folder, sorted, and their projections, float32[n, k]."""
    keys: list[str] = []
    parts: list[NDArray[np.float32]] = []
    for file in sorted(folder.rglob("*.parquet")):
        table = pq.read_table(file, columns=[tables.IMAGE_KEY, tables.COMPONENTS], partitioning=None).combine_chunks()
        keys += table[tables.IMAGE_KEY].to_pylist()
        parts.append(table[tables.COMPONENTS].combine_chunks().flatten().to_numpy().reshape(len(table), -1))
    order = np.argsort(keys)
    return [keys[index] for index in order], np.concatenate(parts)[order]
