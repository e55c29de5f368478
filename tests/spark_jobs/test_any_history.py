"""Checks that whatever happens to the lake, in whatever order, settled runs leave what a run from an empty lake would
have written.

Random sequences of deliveries, late, replaced and vanished images, files that somebody took away, runs of some dates
and categories with two releases of different weights, other runs beside them, and crashes before or after any single
write, on a real S3 API, are compared with a model that recomputes everything in numpy. A reader looks at the snapshot
all the while: no row that was there and stays may be missing, and none is there twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from fruit_contract import lake, tables
from fruit_contract.commit import METADATA_KEY, Commit, commit_from_json, images_digest
from fruit_contract.pca import PolicySettings, RefreshPolicy
from fruit_contract.tables import Status
from fruit_features.embedding.artefact import load_embedder
from fruit_features.embedding.engines import load_engine
from fruit_features.embedding.preprocessing import decode_image, network_input
from fruit_features.extraction import rewriting
from fruit_features.extraction.step import ExtractionRequest, extract_features
from fruit_features.lake import store
from fruit_features.lake.store import Store
from fruit_features.pca import projecting
from fruit_features.pca.step import RefreshRequest, refresh_pca
from fruit_features.pca.versions import load_version
from tests.spark_jobs.conftest import publish_network
from tests.spark_jobs.lake_folder import LakeFolder, jpeg
from tests.spark_jobs.without_spark import NoSpark, deal_in_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fruit_contract.summaries import ExtractionSummary

pytestmark = [pytest.mark.timeout(3600)]

DAYS = ("2026-03-31", "2026-04-01", "2026-11-22")
CATEGORIES = ("Kiwi", "Äpfel 50%", "007")
N_CONTENTS = 10
# PySpark's accumulator server fails beyond 1,023.
MOST_MORE_OPEN_FILES = 350
# A release and its embedder: the weights of the two differ.
RELEASES = {"release-a": "mobilenetv2-a-p1", "release-b": "mobilenetv2-b-p1"}


class CrashError(Exception):
    """Ends the process: nothing after this happens."""


@dataclass
class Writes:
    """Counts the writes of a run. It crashes before or after one of them, and lets something else happen at another."""

    crash_at: int | None = None
    after: bool = False
    beside_at: int | None = None
    beside: Callable[[], Any] = lambda: None
    look: Callable[[], None] = lambda: None
    n_done: int = 0
    is_dead: bool = False

    def write(self, call: Callable[[], Any], *, shows: bool) -> Any:
        """Does one write. `shows` says whether a reader may see a difference."""
        if self.is_dead:
            raise CrashError
        self.n_done += 1
        if self.n_done == self.beside_at:
            self.beside()
        if self.n_done == self.crash_at and not self.after:
            self.is_dead = True
            raise CrashError
        result = call()
        # If another run made a version the current one just before a ledger was replaced, the version lacks some rows
        # until the next write.
        if shows and self.n_done != self.beside_at:
            self.look()
        if self.n_done == self.crash_at:
            self.is_dead = True
            raise CrashError
        return result


@dataclass(frozen=True)
class Content:
    """Describes a file that may be delivered under any name: its bytes, and what becomes of them. `features` are by
    embedder.
    """

    data: bytes
    status: str
    reason: str | None
    features: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def n_open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture(scope="module")
def contents(small_network: bytes, other_network: bytes) -> list[Content]:
    engines = dict(
        zip(
            RELEASES.values(),
            (load_engine("litert", network) for network in (small_network, other_network)),
            strict=True,
        )
    )
    found = [Content(b"no image at all", Status.REJECTED, "not_an_image"), Content(b"", Status.REJECTED, "empty")]
    for seed in range(N_CONTENTS):
        data = jpeg(seed)
        pixels = network_input(decode_image(data).pixels[None])
        features = {embedder_id: engine.embed(pixels)[0] for embedder_id, engine in engines.items()}
        found.append(Content(data, Status.FEATURISED, None, features))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by", ["one process", pytest.param("Spark", marks=pytest.mark.spark)])
def test_settled_runs_leave_what_one_run_over_everything_would(
    by: str,
    request: pytest.FixtureRequest,
    small_network: bytes,
    other_network: bytes,
    contents: list[Content],
    new_lake: Callable[[], LakeFolder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spark = request.getfixturevalue("spark") if by == "Spark" else None
    if spark is None:
        deal_in_this_process(monkeypatch)
    monkeypatch.setattr(rewriting, "MOST_SMALL_FILES", 2)
    networks = dict(zip(RELEASES, (small_network, other_network), strict=True))
    n_open_before = n_open_files()

    class OneHistory(History):
        def __init__(self) -> None:
            super().__init__(spark, new_lake(), networks, contents, n_open_before)

    n_histories = int(os.environ.get("FRUITS_TEST_HISTORIES", "6"))
    run_state_machine_as_test(
        OneHistory,
        settings=settings(
            max_examples=n_histories if spark is None else max(1, n_histories // 3),
            stateful_step_count=9,
            # An example takes seconds: what was drawn is reported as it is, not made smaller first.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


class History(RuleBasedStateMachine):
    """Holds a lake and what was delivered to it. If `spark` is None, tasks are done in this process, and any of their
    writes may be the last.
    """

    def __init__(
        self, spark: Any, test_lake: LakeFolder, networks: dict[str, bytes], contents: list[Content], n_open_before: int
    ) -> None:
        super().__init__()
        self.n_open_before = n_open_before
        self.spark = spark
        self.lake = test_lake
        self.contents = contents
        self.images: dict[str, Content] = {}
        self.n_delivered = 0
        for release, network in networks.items():
            publish_network(self.lake, network, release, RELEASES[release])

    @initialize(content=st.lists(st.sampled_from(range(N_CONTENTS)), min_size=2, max_size=4, unique=True))
    def first_delivery(self, content: list[int]) -> None:
        for index in content:
            self.put(DAYS[0], CATEGORIES[0], self.contents[index + 2])

    @rule(
        day=st.sampled_from(DAYS),
        category=st.sampled_from(CATEGORIES),
        chosen=st.lists(st.integers(0, N_CONTENTS + 1), min_size=1, max_size=3),
    )
    def images_arrive(self, day: str, category: str, chosen: list[int]) -> None:
        for index in chosen:
            self.put(day, category, self.contents[index])

    @precondition(lambda self: self.images)
    @rule(which=st.integers(0, 10**6), content=st.integers(0, N_CONTENTS + 1))
    def an_image_is_replaced(self, which: int, content: int) -> None:
        key = sorted(self.images)[which % len(self.images)]
        self.lake.put(key, self.contents[content].data)
        self.images[key] = self.contents[content]

    @precondition(lambda self: self.images)
    @rule(which=st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
    def images_vanish(self, which: list[int]) -> None:
        for number in which:
            if self.images:
                key = sorted(self.images)[number % len(self.images)]
                self.lake.delete(key)
                del self.images[key]

    @rule(which=st.integers(0, 10**6))
    def somebody_takes_a_file_away(self, which: int) -> None:
        tables_with_files = (lake.FEATURES, lake.MOMENTS, lake.REJECTED, lake.PROJECTIONS)
        keys = [key for table in tables_with_files for key in self.lake.store.list_keys(f"{table}/")]
        keys += self.lake.store.list_keys(f"{lake.LEDGER}/_content/")
        if keys:
            self.lake.store.delete([keys[which % len(keys)]])

    @rule(
        days=st.sets(st.sampled_from(DAYS), min_size=1),
        scope=st.sets(st.sampled_from(CATEGORIES), max_size=1),
        policy=st.sampled_from(RefreshPolicy),
        retry_rejected=st.booleans(),
        crash_at=st.one_of(st.none(), st.integers(1, 40)),
        after=st.booleans(),
        beside_at=st.one_of(st.none(), st.integers(1, 25)),
        beside_refreshes=st.booleans(),
        release=st.sampled_from(sorted(RELEASES)),
        switch=st.booleans(),
    )
    def a_run(
        self,
        days: set[str],
        scope: set[str],
        policy: RefreshPolicy,
        retry_rejected: bool,
        crash_at: int | None,
        after: bool,
        beside_at: int | None,
        beside_refreshes: bool,
        release: str,
        switch: bool,
    ) -> None:
        others = sorted(set(DAYS) - days)
        is_extracting = True

        def beside() -> None:
            if others:
                self.extract(release, others, ())
            # Claims keep two PCA steps apart.
            if beside_refreshes and is_extracting:
                self.refresh(release, others, policy)

        writes = Writes(crash_at, after, beside_at, beside, self.reader(switch=switch))
        try:
            with self.hooked(writes):
                books = self.extract(release, sorted(days), tuple(scope), retry_rejected=retry_rejected)["by_category"]
                is_extracting = False
                self.refresh(release, sorted(days), policy, switch=switch)
        except CrashError:
            return
        for day, categories in books.items():
            for category, counts in categories.items():
                listed = [key for key in self.images if key.startswith(lake.raw_prefix(day) + category + "/")]
                assert counts["listed"] == len(listed)

    def teardown(self) -> None:
        release = random.Random(self.n_delivered).choice(sorted(RELEASES))
        # What a file that was taken away has left of other dates is mended by the next run of these.
        self.extract(release, list(DAYS), ())
        self.refresh(release, list(DAYS), RefreshPolicy.ALWAYS)
        again = self.extract(release, list(DAYS), ())
        assert again["images_computed"] == 0
        assert again["touched_ingest_dates"] == []
        self.check(RELEASES[release])
        shutil.rmtree(self.lake.folder)
        let_go_of_lakes()
        assert n_open_files() < self.n_open_before + MOST_MORE_OPEN_FILES

    def put(self, day: str, category: str, content: Content) -> None:
        self.n_delivered += 1
        key = lake.image_key(day, category, f"{self.n_delivered}.jpg")
        self.lake.put(key, content.data)
        self.images[key] = content

    def extract(
        self, release: str, days: Sequence[str], scope: tuple[str, ...], *, retry_rejected: bool = False
    ) -> ExtractionSummary:
        request = ExtractionRequest(
            self.lake.bucket,
            release,
            "run",
            tuple(days),
            scope,
            "litert",
            retry_rejected,
            accept_rejects=True,
            task_slots=2,
        )
        return extract_features(self.spark or NoSpark(), request)  # type: ignore[arg-type]

    def refresh(self, release: str, days: Sequence[str], policy: RefreshPolicy, *, switch: bool = False) -> None:
        settings_ = PolicySettings(policy, always_below=0)
        request = RefreshRequest(self.lake.bucket, release, "run", settings_, tuple(days), 2, 0.0, switch, task_slots=2)
        refresh_pca(lambda: self.spark or NoSpark(), request)  # type: ignore[arg-type, return-value]

    @contextmanager
    def hooked(self, writes: Writes) -> Iterator[None]:
        """Counts every write of this process, all of which go through one of these methods. With Spark, the writes of
        workers are not seen.
        """
        write, replace_, delete = Store.write, Store.replace, Store.delete

        def writing(store: Store, key: str, content: Any) -> None:
            if key.startswith((lake.RUNS, lake.RAW, lake.CODE)):
                write(store, key, content)
            else:
                writes.write(lambda: write(store, key, content), shows=False)

        def replacing(store: Store, key: str, content: Any, etag: str | None) -> str:
            return str(writes.write(lambda: replace_(store, key, content, etag), shows=True))

        def deleting(store: Store, keys: Sequence[str]) -> None:
            if keys:
                writes.write(lambda: delete(store, keys), shows=True)

        def beside(call: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                with pytest.MonkeyPatch.context() as patch:
                    for name, method in (("write", write), ("replace", replace_), ("delete", delete)):
                        patch.setattr(Store, name, method)
                    call()

            return run

        writes.beside = beside(writes.beside)
        with pytest.MonkeyPatch.context() as patch:
            for name, method in (("write", writing), ("replace", replacing), ("delete", deleting)):
                patch.setattr(Store, name, method)
            yield

    def reader(self, *, switch: bool) -> Callable[[], None]:
        """Reads the snapshot as it is, and returns a function that looks at it again later: rows of images that stay
        must stay.

        Whoever asks for the switch to another embedder does without the projections of what is not featurised anew yet.
        """
        features, projections, embedder = self.read_features(), self.read_projections(), self.read_embedder()
        staying = {
            key
            for key, content_sha256 in features.items()
            if key in self.images and self.images[key].sha256 == content_sha256
        }

        def look() -> None:
            now = self.read_features()
            assert not {key for key in staying if now.get(key) != features[key]}
            if not switch or self.read_embedder() == embedder:
                assert not (projections & staying) - self.read_projections()

        return look

    def read_features(self) -> dict[str, str]:
        """Returns the content by key of the rows whose file the ledger names. Lost files have no rows."""
        found: dict[str, str] = {}
        for day in DAYS:
            ledger = read_ledger(self.lake.folder, day)
            if ledger is None:
                continue
            rows = ledger[0]
            for file, own in rows[rows["file"].notna()].groupby("file"):
                path = self.lake.folder / str(file)
                if path.exists():
                    there = pq.read_table(path, columns=["image_key", "content_sha256"], partitioning=None).to_pandas()
                    assert there["image_key"].is_unique
                    contents = dict(zip(there["image_key"], there["content_sha256"], strict=True))
                    for key, content_sha256 in zip(own["image_key"], own["content_sha256"], strict=True):
                        assert contents[key] == content_sha256
                        assert key not in found
                        found[key] = content_sha256
        return found

    def read_embedder(self) -> str | None:
        """Returns the embedder of the current version."""
        pointer = self.lake.folder / lake.CURRENT_PCA_KEY
        return str(json.loads(pointer.read_text())["embedder_id"]) if pointer.exists() else None

    def read_projections(self) -> set[str]:
        """Returns the keys of the rows of the current version whose file the ledger names."""
        pointer = self.lake.folder / lake.CURRENT_PCA_KEY
        if not pointer.exists():
            return set()
        values = json.loads(pointer.read_text())
        found: set[str] = set()
        for day in DAYS:
            ledger = read_ledger(self.lake.folder, day)
            files = ledger[1].embedders.get(values["embedder_id"]) if ledger else None
            for name in files.files if files else ():
                path = self.lake.folder / f"{lake.projections_date_prefix(values['version'], day)}{name}"
                if path.exists():
                    keys = pq.read_table(path, columns=["image_key"], partitioning=None).column(0).to_pylist()
                    assert not found.intersection(keys)
                    found.update(keys)
        return found

    def check(self, embedder_id: str) -> None:
        featurised = {key: content for key, content in self.images.items() if content.status == Status.FEATURISED}
        features = self.check_features(embedder_id, featurised)
        n_by_embedder = self.check_ledgers(features)
        rejected = read_all(self.lake.folder / lake.REJECTED, ["image_key", "reason"])
        assert sorted(zip(rejected["image_key"], rejected["reason"], strict=True)) == sorted(
            (key, content.reason) for key, content in self.images.items() if content.status == Status.REJECTED
        )
        assert not self.lake.store.list_keys(f"{lake.MOMENTS}/_parts/")
        self.check_pca(embedder_id, features, n_by_embedder)

    def check_features(self, embedder_id: str, featurised: dict[str, Content]) -> pd.DataFrame:
        """Checks and returns all rows of `features/`: the embedder has one for every image, and the other one has some,
        with the content that the images have now.
        """
        features = read_all(self.lake.folder / lake.FEATURES, list(tables.FEATURES_COLUMNS))
        assert not features.duplicated(["image_key", "embedder_id"]).any()
        own = features[features["embedder_id"] == embedder_id]
        assert sorted(own["image_key"]) == sorted(featurised)
        row: Any
        for row in features.itertuples():
            content = featurised[row.image_key]
            assert (row.content_sha256, row.width, row.height) == (content.sha256, 60, 40)
            parts = lake.parse_image_key(row.image_key)
            assert row.path.startswith(lake.partition_prefix(lake.FEATURES, parts.ingest_date, parts.category))
            np.testing.assert_allclose(row.features, content.features[row.embedder_id], atol=1e-5)
        return features

    def check_ledgers(self, features: pd.DataFrame) -> dict[str, int]:
        """Checks each date's rows, and that its commit names exactly the files and moments that are there. Returns the
        number of images by embedder.
        """
        lines: dict[str, tuple[Any, ...]] = {}
        n_by_embedder: dict[str, int] = defaultdict(int)
        named: set[str] = set()
        moments: set[str] = set()
        for day in DAYS:
            ledger = read_ledger(self.lake.folder, day)
            if ledger is None:
                continue
            rows, commit = ledger
            assert list(rows["image_key"]) == sorted(rows["image_key"])
            row: Any
            for row in rows.itertuples():
                lines[row.image_key] = (row.status, row.reason, row.content_sha256, row.etag, row.size_bytes)
            named |= commit.features_keys()
            moments |= commit.moments_keys()
            for other, found in commit.embedders.items():
                own = features[
                    (features["embedder_id"] == other) & features["image_key"].str.startswith(lake.raw_prefix(day))
                ]
                assert found.n_rows == len(own) == found.moments.n_samples
                assert int(found.moments.images_digest, 16) == images_digest(
                    zip(own["image_key"], own["content_sha256"], strict=True)
                )
                n_by_embedder[other] += len(own)
                stored = pq.read_table(self.lake.folder / found.moments.key, partitioning=None).to_pylist()[0]
                vectors = np.stack(own["features"].to_list()).astype(np.float64)
                np.testing.assert_allclose(stored["mean"], vectors.mean(axis=0), atol=1e-9)
                assert stored["n_samples"] == len(own)
        assert lines == {
            key: (
                content.status,
                content.reason,
                content.sha256,
                hashlib.md5(content.data, usedforsecurity=False).hexdigest(),
                len(content.data),
            )
            for key, content in self.images.items()
        }
        assert named == set(features["path"])
        assert moments == set(self.lake.store.list_keys(f"{lake.MOMENTS}/")) - set(
            self.lake.store.list_keys(f"{lake.MOMENTS}/_compacted/")
        )
        return n_by_embedder

    def check_pca(self, embedder_id: str, features: pd.DataFrame, n_by_embedder: dict[str, int]) -> None:
        for version in [name.partition("=")[2] for name in self.lake.store.list_folders(f"{lake.PCA}/")]:
            model, provenance = load_version(self.lake.store, version)
            own = features[features["embedder_id"] == provenance.embedder_id].set_index("image_key")["features"]
            projections = read_all(
                self.lake.folder / lake.projections_prefix(version), list(tables.PROJECTIONS_COLUMNS)
            )
            assert sorted(projections["image_key"]) == sorted(own.index)
            row: Any
            for row in projections.itertuples():
                values = np.divide(
                    own[row.image_key] - model.mean, model.scale, out=np.zeros(1280), where=model.scale > 0
                )
                np.testing.assert_allclose(row.components, values @ model.components.T, rtol=1e-4, atol=1e-2)
        written = (
            np.stack(features[features["embedder_id"] == embedder_id]["features"].to_list())
            if n_by_embedder[embedder_id]
            else np.zeros((0, 1280))
        )
        written = written.astype(np.float64)
        if len(np.unique(written, axis=0)) < 2:
            return
        pointer = json.loads((self.lake.folder / lake.CURRENT_PCA_KEY).read_text())
        model, provenance = load_version(self.lake.store, pointer["version"])
        assert (provenance.n_samples, provenance.embedder_id) == (len(written), embedder_id)
        scale = written.std(axis=0, ddof=1)
        standardised = np.divide(written - written.mean(axis=0), scale, out=np.zeros_like(written), where=scale > 0)
        eigenvalues = np.zeros(1280)
        singular = np.linalg.svd(standardised, compute_uv=False) ** 2 / (len(written) - 1)
        eigenvalues[: len(singular)] = singular
        np.testing.assert_allclose(model.explained_variance, eigenvalues[: model.k], atol=1e-9 * eigenvalues[0])


def let_go_of_lakes() -> None:
    """Closes the connections to all lakes and forgets what was loaded from them. A process of the product has one lake,
    this one has many.
    """
    for keeps in (store._store, load_embedder, projecting._projector):
        keeps.cache_clear()


def read_ledger(folder: Path, day: str) -> tuple[pd.DataFrame, Commit] | None:
    path = folder / lake.ledger_key(day)
    if not path.exists():
        return None
    table = pq.read_table(path, partitioning=None)
    return table.to_pandas(), commit_from_json(pq.read_metadata(path).metadata[METADATA_KEY.encode()].decode())


def read_all(folder: Path, columns: list[str]) -> pd.DataFrame:
    """Returns the rows of every Parquet file below a folder, with the file's path below the lake's."""
    found = [pd.DataFrame({name: [] for name in (*columns, "path")})]
    for path in sorted(folder.rglob("*.parquet")):
        rows = pq.read_table(path, columns=columns, partitioning=None).to_pandas()
        found.append(
            rows.assign(path=str(path.relative_to(next(p for p in path.parents if p.name.startswith("fruits-")))))
        )
    return pd.concat(found, ignore_index=True)
