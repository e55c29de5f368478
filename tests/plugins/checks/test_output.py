from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from fruit_contract import lake as lake_layout
from fruit_contract.commit import EmbedderFiles, MomentsObject, digest_text, images_digest
from fruit_contract.lake import step_summary_key
from fruit_pipeline.checks.ledger import LedgerRow, LedgerTally
from fruit_pipeline.checks.output import check_run, kept_versions
from fruit_pipeline.errors import DamagedFileError
from tests.plugins.sample_lake import (
    DAY,
    EMBEDDER,
    NEXT_EMBEDDER,
    RUN_ID,
    VERSION,
    WRITE,
    MemoryS3,
    commit_of,
    features_key,
    fitted,
    moments_object_key,
)

if TYPE_CHECKING:
    from tests.plugins.sample_lake import SampleLake

NEXT_DAY = "2026-11-23"
KIWI = f"features/category=Kiwi/{WRITE}-0.parquet"
KIWI_PROJECTED = f"projections/pca_version={VERSION}/ingest_date={DAY}/category=Kiwi/{WRITE}-0.parquet"
OLDER_VERSION, NEWER_VERSION = "20261101T080000Z-0123456789ab", "20261201T080000Z-0123456789ab"


def problems(sample_lake: SampleLake, after_listing: datetime, categories: list[str] | None = None) -> list[str]:
    return check_run(sample_lake.lake, RUN_ID, [DAY], categories or [], after_listing).problems


@pytest.mark.slow
def test_passes_tables_that_agree(sample_lake: SampleLake, after_listing: datetime) -> None:
    result = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing)
    assert result.problems == []
    assert (result.images_in_ledger, result.featurised, result.rejected, result.partitions) == (43, 42, 1, 7)
    assert result.pca_version == VERSION


@pytest.mark.parametrize("cut", [slice(0, -9), slice(100, None), slice(0, 0)])
@pytest.mark.parametrize(
    "key",
    [
        lake_layout.ledger_key(DAY),
        features_key("Kiwi"),
        moments_object_key(),
        lake_layout.rejected_key(DAY, WRITE),
        lake_layout.projections_file_key(VERSION, features_key("Kiwi")),
    ],
)
def test_names_a_file_that_is_not_whole(sample_lake: SampleLake, after_listing: datetime, key: str, cut: slice) -> None:
    sample_lake.put_image(key, sample_lake.client.objects[key][0][cut])
    (problem,) = problems(sample_lake, after_listing)
    assert problem.startswith(f"{lake_layout.uri(sample_lake.lake.bucket, key)} is not as it was written: ")
    assert "remove it, and run its date again" in problem


def test_refuses_a_pca_version_that_is_not_whole(sample_lake: SampleLake, after_listing: datetime) -> None:
    (key,) = (
        key
        for key in sample_lake.client.objects
        if key.startswith(lake_layout.pca_prefix(VERSION)) and key.endswith(".parquet")
    )
    sample_lake.put_image(key, b"not Parquet")
    with pytest.raises(DamagedFileError, match=f"{key} is not as it was written: "):
        problems(sample_lake, after_listing)


class TestLedgerAndListing:
    def test_names_an_image_that_the_ledger_forgot(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/forgotten.jpg")
        assert problems(sample_lake, after_listing) == [
            f"listed but not in the ledger: 1 (raw/ingest_date={DAY}/Kiwi/forgotten.jpg)"
        ]

    def test_forgives_an_image_that_arrived_or_changed_after_the_plan(self, sample_lake: SampleLake) -> None:
        sample_lake.put_image(f"raw/ingest_date={DAY}/Kiwi/late.jpg")
        sample_lake.put_image(sample_lake.images[3].key, b"another picture")
        assert check_run(sample_lake.lake, RUN_ID, [DAY], [], datetime(2020, 1, 1, tzinfo=UTC)).problems == []

    def test_names_an_image_that_was_gone_when_the_step_listed(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        gone = sample_lake.images[0]
        sample_lake.delete(gone.key)
        key = step_summary_key(RUN_ID, "extract_features")
        summary = sample_lake.lake.read_json(key)
        summary["by_category"][DAY][gone.category].update(
            {name: summary["by_category"][DAY][gone.category][name] - 1 for name in ("listed", "new", "featurised")}
        )
        sample_lake.lake.write_json(key, summary)
        assert problems(sample_lake, after_listing) == [f"in the ledger but no longer listed: 1 ({gone.key})"]

    @pytest.mark.parametrize("chosen", [False, True])
    def test_forgives_an_image_that_was_removed_after_the_step_listed_it(
        self, sample_lake: SampleLake, after_listing: datetime, chosen: bool
    ) -> None:
        gone = sample_lake.images[0]
        sample_lake.delete(gone.key)
        if chosen:
            key = step_summary_key(RUN_ID, "extract_features")
            summary = sample_lake.lake.read_json(key)
            books = summary["by_category"][DAY]
            summary["by_category"] = {DAY: {gone.category: books[gone.category]}}
            sample_lake.lake.write_json(key, summary)
        result = check_run(sample_lake.lake, RUN_ID, [DAY], [gone.category] if chosen else [], after_listing)
        assert result.problems == []
        assert result.notes == [
            f"{DAY}: removed from raw/ since the run listed it; the next run of this date takes it out: 1 ({gone.key})"
        ]

    def test_but_not_if_it_vanished_while_it_was_fetched(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        gone = replace(sample_lake.images[-1], reason="vanished")
        sample_lake.write_ledger([*sample_lake.images[:-1], gone])
        sample_lake.write_rejected([gone])
        sample_lake.delete(gone.key)
        assert problems(sample_lake, after_listing) == []

    def test_names_a_replaced_image(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        replaced = sample_lake.images[3].key
        sample_lake.put_image(replaced, b"another picture")
        assert problems(sample_lake, after_listing) == [
            f"in the ledger with another ETag than the image has: 1 ({replaced})"
        ]

    def test_names_a_line_that_is_there_twice(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_ledger([*sample_lake.images, sample_lake.images[0]])
        assert f"in the ledger more than once: 1 ({sample_lake.images[0].key})" in problems(sample_lake, after_listing)

    def test_names_lines_that_are_not_in_order(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        keys = sorted(image.key for image in sample_lake.images)
        sample_lake.write_ledger(sample_lake.images, image_key=[keys[1], keys[0], *keys[2:]])
        found = problems(sample_lake, after_listing)
        assert f"in the ledger after a key that is greater: 1 ({keys[0]})" in found

    def test_a_store_may_list_in_another_order(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        objects = dict(reversed(sample_lake.client.objects.items()))
        sample_lake.client.objects.clear()
        sample_lake.client.objects.update(objects)
        sample_lake.client.lists_in_order = False
        assert problems(sample_lake, after_listing) == []

    def test_says_so_if_there_is_no_ledger(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.delete(lake_layout.ledger_key(DAY))
        first, second, *rest = problems(sample_lake, after_listing)
        assert first.startswith("listed but not in the ledger: 43 (")
        assert second.startswith("files that no ledger names: 16 (")
        assert rest == []

    def test_says_so_if_a_former_release_wrote_the_ledger(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.write_earlier_ledger(sample_lake.images)
        assert problems(sample_lake, after_listing) == [
            "the ledger is still as a former release wrote it: the features step did not take the date over"
        ]

    def test_names_a_column_that_the_ledger_lacks(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_ledger(sample_lake.images, width=["100"] * 43)
        assert problems(sample_lake, after_listing) == ["ledger: column 'width' is string, not int"]

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"status": ["lost"]}, "in the ledger with a status that does not exist: 1 (raw/x)"),
            ({"status": ["rejected"], "reason": [""]}, "rejected without a reason: 1 (raw/x)"),
            (
                {"status": ["rejected"], "reason": ["empty"], "file": ["f"]},
                "rejected, but with a file of features: 1 (raw/x)",
            ),
            ({"embedder_id": [""]}, "featurised without an embedder: 1 (raw/x)"),
            ({"file": [None]}, "featurised without a file of features: 1 (raw/x)"),
            ({"file": ["f"]}, "ledger: rows name files that its commit does not name: 1 (f)"),
        ],
    )
    def test_names_lines_that_make_no_sense(self, columns: dict[str, list[Any]], expected: str) -> None:
        tally = LedgerTally(commit_of([]))
        row = {
            "image_key": ["raw/x"],
            "status": ["featurised"],
            "embedder_id": ["m"],
            "file": ["g"],
            "category": ["Kiwi"],
        } | columns
        tally.add(LedgerRow(*(row.get(name, [None])[0] for name in LedgerRow._fields)))
        assert expected in tally.problems()

    def test_the_commit_counts_what_the_rows_are(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        commit = sample_lake.commit()
        embedders = {EMBEDDER: replace(commit.embedders[EMBEDDER], n_images=40)}
        sample_lake.put_commit(replace(commit, n_images=50, n_rejected=2, embedders=embedders))
        assert problems(sample_lake, after_listing) == [
            "ledger: its commit has 50 images, its rows are 43",
            "ledger: its commit has 2 rejected images, its rows are 1",
            f"ledger: its commit has 40 images of embedder '{EMBEDDER}', its rows are 42",
        ]


class TestFeatures:
    def test_names_a_lost_file(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.delete(features_key("Äpfel 50%"))
        assert problems(sample_lake, after_listing) == [
            f"features/category=Äpfel 50%25/{WRITE}-0.parquet is not there; the ledger names it"
        ]

    def test_names_garbage(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        key = features_key("Ghost")
        sample_lake.write_features("Ghost", [], np.ones((0, 1280)))
        sample_lake.write_rejected([], write="another")
        rejected = lake_layout.rejected_key(DAY, "another")
        assert problems(sample_lake, after_listing) == [f"files that no ledger names: 2 ({key}, {rejected})"]

    def test_names_images_whose_content_the_ledger_tells_differently(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        """As many rows, of the same images: only the content of one is another."""
        kiwis = sample_lake.featurised("Kiwi")
        contents = [image.content_sha256 for image in kiwis]
        sample_lake.write_features("Kiwi", kiwis, np.ones((6, 1280)), content_sha256=["00", *contents[1:]])
        first, second = problems(sample_lake, after_listing)
        assert first == f"{KIWI}: its images, or their contents, are not those of the ledger's rows that name it"
        assert second.startswith(f"moments of embedder '{EMBEDDER}': they are of other images than the features are")

    def test_names_images_of_another_file(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        """Two files of the same size, each under the other's name: together, the images are those of the moments."""
        sample_lake.write_features("Kiwi", sample_lake.featurised("Banana"), np.ones((6, 1280)))
        sample_lake.write_features("Banana", sample_lake.featurised("Kiwi"), np.ones((6, 1280)))
        found = problems(sample_lake, after_listing)
        assert f"{KIWI}: its images, or their contents, are not those of the ledger's rows that name it" in found
        assert len(found) == 4  # and their projections

    def test_names_rows_that_are_too_many_or_too_few(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        kiwis = sample_lake.featurised("Kiwi")
        sample_lake.write_features("Kiwi", [*kiwis, kiwis[0]], np.ones((7, 1280)))
        sample_lake.write_features("Banana", sample_lake.featurised("Banana")[1:], np.ones((5, 1280)))
        found = problems(sample_lake, after_listing)
        assert f"{KIWI}: it has 7 rows, and should have 6" in found
        assert f"features/category=Banana/{WRITE}-0.parquet: it has 5 rows, and should have 6" in found

    def test_names_features_of_a_stranger(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_features(
            "Kiwi", sample_lake.featurised("Kiwi"), np.ones((6, 1280)), embedder_id=["other"] * 6
        )
        assert problems(sample_lake, after_listing) == [
            f"{KIWI}: it has rows of embedder 'other', and is one of '{EMBEDDER}'"
        ]

    def test_names_vectors_of_another_length(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_features("Kiwi", sample_lake.featurised("Kiwi"), np.ones((6, 1279)))
        assert problems(sample_lake, after_listing) == [
            f"{KIWI}: 7,674 numbers in 6 vectors, which should have 1,280 each"
        ]

    @pytest.mark.parametrize(
        ("number", "expected"), [(np.inf, "vectors hold infinite numbers"), (0, "all numbers of a part of it are zero")]
    )
    def test_names_vectors_that_the_statistics_tell_are_none(
        self, sample_lake: SampleLake, after_listing: datetime, number: float, expected: str
    ) -> None:
        sample_lake.write_features("Kiwi", sample_lake.featurised("Kiwi"), np.full((6, 1280), number))
        assert problems(sample_lake, after_listing) == [f"{KIWI}: {expected}"]

    def test_names_a_wrong_type_and_an_unknown_column(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        kiwis = sample_lake.featurised("Kiwi")
        sample_lake.write_features("Kiwi", kiwis, np.ones((6, 1280)), width=["100"] * 6, note=["?"] * 6)
        assert problems(sample_lake, after_listing) == [
            f"{KIWI}: column 'note' is not in the contract",
            f"{KIWI}: column 'width' is string, not int",
        ]

    def test_reads_no_vector(
        self, sample_lake: SampleLake, after_listing: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file of many images: what is fetched of it are its footer and its short columns."""
        kiwis = sample_lake.featurised("Kiwi")
        sample_lake.write_features("Kiwi", kiwis * 500, np.random.default_rng(1).random((3000, 1280)))
        size = len(sample_lake.client.objects[features_key("Kiwi")][0])
        fetched = Counter[str]()
        get_object = MemoryS3.get_object

        def count(client: MemoryS3, *, Key: str, **options: Any) -> dict[str, Any]:  # noqa: N803  # boto3's name
            answer = get_object(client, Key=Key, **options)
            fetched[Key] += len(answer["Body"].getvalue())
            return answer

        monkeypatch.setattr(MemoryS3, "get_object", count)
        assert f"{KIWI}: it has 3,000 rows, and should have 6" in problems(sample_lake, after_listing)
        assert 0 < fetched[features_key("Kiwi")] < size / 50
        assert 0 < fetched[moments_object_key()] < len(sample_lake.client.objects[moments_object_key()][0]) / 50


class TestMoments:
    def test_names_lost_moments(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.delete(moments_object_key())
        assert problems(sample_lake, after_listing) == [
            f"moments of embedder '{EMBEDDER}': {moments_object_key()} is not there"
        ]

    def test_names_a_commit_that_forgot_them(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.change_embedder_files(moments=None)
        assert f"moments of embedder '{EMBEDDER}': the commit names none, and 42 rows of features" in problems(
            sample_lake, after_listing
        )

    def test_names_moments_that_count_other_images(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        columns = {
            "embedder_id": [EMBEDDER],
            "n_samples": pa.array([41], pa.int64()),
            "mean": pa.array([np.zeros(1279)]),
            "scatter": pa.array([np.zeros(819_840)]),
            "content_digest": pa.array([7], pa.int64()),
        }
        sample_lake.write_table(moments_object_key(), columns)
        where = f"moments of embedder '{EMBEDDER}'"
        assert problems(sample_lake, after_listing) == [
            f"{where}: 'mean' has 1,279 numbers, not 1,280",
            f"{where}: the file is of 41 samples of embedder '{EMBEDDER}', the commit says 42",
        ]

    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_a_feature_that_is_no_number_shows_in_the_mean(
        self, sample_lake: SampleLake, after_listing: datetime, number: float
    ) -> None:
        mean = np.zeros(1280)
        mean[7] = number
        columns = {
            "embedder_id": [EMBEDDER],
            "n_samples": pa.array([42], pa.int64()),
            "mean": pa.array([mean]),
            "scatter": pa.array([np.zeros(819_840)]),
            "content_digest": pa.array([7], pa.int64()),
        }
        sample_lake.write_table(moments_object_key(), columns)
        where = f"moments of embedder '{EMBEDDER}'"
        assert problems(sample_lake, after_listing) == [
            f"{where}: the mean holds NaN or infinity, and so do features of the date"
        ]

    def test_names_moments_of_other_images_than_the_features(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.change_embedder_files(moments=MomentsObject(moments_object_key(), 41, "00000000000000ff"))
        first, second, third = problems(sample_lake, after_listing)
        where = f"moments of embedder '{EMBEDDER}'"
        assert first == f"{where}: the commit says 41 samples of 42 rows"
        assert second.startswith(
            f"{where}: they are of other images than the features are (digest 00000000000000ff, not "
        )
        assert third == f"{where}: the file is of 42 samples of embedder '{EMBEDDER}', the commit says 41"


class TestProjections:
    def test_names_missing_short_and_other_ones(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        missing = lake_layout.projections_file_key(VERSION, features_key("007"))
        sample_lake.delete(missing)
        kiwis, bananas = sample_lake.featurised("Kiwi"), sample_lake.featurised("Banana")
        sample_lake.write_projections("Kiwi", [*kiwis[:5], kiwis[0]], np.ones((6, sample_lake.k)))
        sample_lake.write_projections("Banana", bananas, np.ones((6, sample_lake.k - 1)))
        banana = KIWI_PROJECTED.replace("Kiwi", "Banana")
        numbers = f"{6 * (sample_lake.k - 1):,} numbers in 6 vectors, which should have {sample_lake.k:,} each"
        assert problems(sample_lake, after_listing) == [
            f"projections under PCA version {VERSION}: features that have none: 1 ({missing})",
            f"{banana}: {numbers}",
            f"{KIWI_PROJECTED}: images that are not those of its features: 1 ({kiwis[5].key})",
        ]

    def test_names_too_few_rows(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_projections("Kiwi", sample_lake.featurised("Kiwi")[:5], np.ones((5, sample_lake.k)))
        assert f"{KIWI_PROJECTED}: it has 5 rows, and should have 6" in problems(sample_lake, after_listing)

    def keep(self, sample_lake: SampleLake, version: str) -> None:
        """Adds another complete version, with the projections of this one."""
        provenance = sample_lake.lake.read_json(lake_layout.pca_provenance_key(VERSION)) | {"version": version}
        sample_lake.lake.write_json(lake_layout.pca_provenance_key(version), provenance)
        for stored in list(sample_lake.lake.list_objects(lake_layout.projections_prefix(VERSION))):
            content = sample_lake.client.objects[stored.key][0]
            sample_lake.put_image(stored.key.replace(VERSION, version), content)

    def test_kept_versions_are_checked_too(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        self.keep(sample_lake, OLDER_VERSION)
        assert problems(sample_lake, after_listing) == []
        gone = lake_layout.projections_file_key(OLDER_VERSION, features_key("Kiwi"))
        too_much = lake_layout.projections_file_key(OLDER_VERSION, features_key("Ghost"))
        sample_lake.put_image(too_much, sample_lake.client.objects[gone][0])
        sample_lake.delete(gone)
        assert problems(sample_lake, after_listing) == [
            f"files that no ledger names: 1 ({too_much})",
            f"projections under PCA version {OLDER_VERSION}: features that have none: 1 ({gone})",
            f"projections under PCA version {OLDER_VERSION}: files without features of its embedder: 1 ({too_much})",
        ]

    def test_a_former_version_that_cannot_be_read_need_not_have_what_is_new(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        self.keep(sample_lake, OLDER_VERSION)
        sample_lake.delete(lake_layout.projections_file_key(OLDER_VERSION, features_key("Kiwi")))
        assert problems(sample_lake, after_listing) != []
        key = step_summary_key(RUN_ID, "refresh_pca")
        summary = sample_lake.lake.read_json(key)
        sample_lake.lake.write_json(key, summary | {"damaged_versions": [OLDER_VERSION]})
        assert problems(sample_lake, after_listing) == []
        # Of the current one all is needed.
        sample_lake.lake.write_json(key, summary | {"damaged_versions": [OLDER_VERSION, VERSION]})
        sample_lake.delete(lake_layout.projections_file_key(VERSION, features_key("Kiwi")))
        assert problems(sample_lake, after_listing) != []

    def test_a_version_that_another_run_removes_meanwhile_is_no_problem(
        self, sample_lake: SampleLake, after_listing: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.keep(sample_lake, OLDER_VERSION)

        def kept_and_then_removed(lake: Any) -> Any:
            versions = kept_versions(lake)
            for prefix in (lake_layout.pca_prefix(OLDER_VERSION), lake_layout.projections_prefix(OLDER_VERSION)):
                sample_lake.delete_below(prefix)
            return versions

        monkeypatch.setattr("fruit_pipeline.checks.output.kept_versions", kept_and_then_removed)
        assert problems(sample_lake, after_listing) == []

    def test_a_version_that_is_on_its_way_need_not_be_complete(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        self.keep(sample_lake, NEWER_VERSION)
        sample_lake.delete(lake_layout.projections_file_key(NEWER_VERSION, features_key("Kiwi")))
        assert problems(sample_lake, after_listing) == []

    def test_says_so_when_there_is_no_pca_though_there_are_features(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.delete_below("pca/")
        assert problems(sample_lake, after_listing) == ["There is no PCA version although 42 images have features."]

    def test_a_first_version_that_others_keep_from_being_complete_is_gone_on_with(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.delete(lake_layout.CURRENT_PCA_KEY)
        key = step_summary_key(RUN_ID, "refresh_pca")
        sample_lake.lake.write_json(key, sample_lake.lake.read_json(key) | {"unsettled_ingest_dates": [NEXT_DAY]})
        assert problems(sample_lake, after_listing) == []

    @pytest.mark.parametrize("action", ["nothing", "waiting"])
    def test_where_there_is_nothing_to_fit_no_projections_are_asked_for(
        self, sample_lake: SampleLake, after_listing: datetime, action: str
    ) -> None:
        """All images alike, say: the PCA step said so, and the batch is sound."""
        sample_lake.delete_below("pca/")
        sample_lake.delete_below("projections/")
        key = step_summary_key(RUN_ID, "refresh_pca")
        sample_lake.lake.write_json(key, sample_lake.lake.read_json(key) | {"action": action, "pca_version": None})
        result = check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing)
        assert (result.problems, result.pca_version) == ([], None)


class TestRejected:
    def test_names_rejects_that_the_two_tables_tell_differently(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.write_rejected([sample_lake.images[-1]], reason=["empty"])
        key = lake_layout.rejected_key(DAY, WRITE)
        assert problems(sample_lake, after_listing) == [
            f"rejected: the rows of {key} are not the ledger's rejected rows"
        ]

    def test_names_rejects_that_are_not_there_or_too_many(
        self, sample_lake: SampleLake, after_listing: datetime
    ) -> None:
        sample_lake.write_rejected([sample_lake.images[-1]] * 2)
        assert problems(sample_lake, after_listing) == ["rejected: it has 2 rows, and should have 1"]
        key = lake_layout.rejected_key(DAY, WRITE)
        sample_lake.delete(key)
        assert problems(sample_lake, after_listing) == [
            f"rejected: {key} is not there; the ledger has 1 rejected images"
        ]

    def test_rejects_of_a_date_without_any_are_garbage(self, sample_lake: SampleLake, after_listing: datetime) -> None:
        sample_lake.write_ledger(sample_lake.images[:-1])
        sample_lake.delete(sample_lake.images[-1].key)
        assert problems(sample_lake, after_listing) == [
            f"files that no ledger names: 1 ({lake_layout.rejected_key(DAY, WRITE)})"
        ]


class TestMigration:
    """Checks a date that another embedder featurised anew. Readers' version keeps its features and projections."""

    @pytest.fixture
    def migrated(self, sample_lake: SampleLake) -> SampleLake:
        images = [image for image in sample_lake.images if image.status == "featurised"]
        before = sample_lake.commit().embedders[EMBEDDER]
        key = f"{lake_layout.date_prefix('features', DAY)}category=Kiwi/new-0.parquet"
        sample_lake.write_features("Kiwi", images, fitted()[0], key=key, embedder_id=[NEXT_EMBEDDER] * 42)
        moments_key = lake_layout.moments_key(DAY, "new", NEXT_EMBEDDER)
        self.write_moments(sample_lake, moments_key)
        digest = digest_text(images_digest((image.key, image.content_sha256) for image in images))
        after = EmbedderFiles(42, {"category=Kiwi/new-0.parquet": 42}, MomentsObject(moments_key, 42, digest))
        commit = replace(sample_lake.commit(), embedders={EMBEDDER: replace(before, n_images=0), NEXT_EMBEDDER: after})
        in_order = sorted(sample_lake.images, key=lambda image: image.key)
        files = [key if image.status == "featurised" else None for image in in_order]
        sample_lake.write_ledger(sample_lake.images, commit=commit, file=files, embedder_id=[NEXT_EMBEDDER] * 43)
        summary = step_summary_key(RUN_ID, "refresh_pca")
        waiting = {"action": "waiting", "pca_version": None, "embedder_id": NEXT_EMBEDDER}
        sample_lake.lake.write_json(summary, sample_lake.lake.read_json(summary) | waiting)
        return sample_lake

    def write_moments(self, sample_lake: SampleLake, key: str) -> None:
        columns = {
            "embedder_id": [NEXT_EMBEDDER],
            "n_samples": pa.array([42], pa.int64()),
            "mean": pa.array([np.zeros(1280)]),
            "scatter": pa.array([np.zeros(819_840)]),
            "content_digest": pa.array([7], pa.int64()),
        }
        sample_lake.write_table(key, columns)

    def test_a_run_that_waits_for_the_switch_is_sound(self, migrated: SampleLake, after_listing: datetime) -> None:
        result = check_run(migrated.lake, RUN_ID, [DAY], [], after_listing)
        assert (result.problems, result.pca_version, result.featurised) == ([], None, 42)

    def test_names_rows_of_images_that_have_vanished_since(self, migrated: SampleLake, after_listing: datetime) -> None:
        """Nobody's image stays in the features of an embedder that is no longer the release's."""
        kiwis = migrated.featurised("Kiwi")
        ghost = replace(kiwis[0], key=f"raw/ingest_date={DAY}/Kiwi/ghost.jpg")
        migrated.write_features("Kiwi", [ghost, *kiwis[1:]], np.ones((6, 1280)))
        found = problems(migrated, after_listing)
        assert f"{KIWI}: images, or contents, that the ledger does not have: 1 ({ghost.key})" in found

    def test_names_an_image_that_a_file_of_both_lacks(self, migrated: SampleLake, after_listing: datetime) -> None:
        """One image's row still names the old file, whose other rows are named no more."""
        in_order = sorted(migrated.images, key=lambda image: image.key)
        kiwi = migrated.featurised("Kiwi")[0]
        files = [
            features_key("Kiwi") if image == kiwi else None if image.status == "rejected" else "x" for image in in_order
        ]
        commit = migrated.commit()
        embedders = {
            EMBEDDER: replace(commit.embedders[EMBEDDER], n_images=1),
            NEXT_EMBEDDER: commit.embedders[NEXT_EMBEDDER],
        }
        owners = [EMBEDDER if image == kiwi else NEXT_EMBEDDER for image in in_order]
        migrated.write_ledger(
            migrated.images, commit=replace(commit, embedders=embedders), file=files, embedder_id=owners
        )
        assert not [problem for problem in problems(migrated, after_listing) if problem.startswith(f"{KIWI}: ")]
        migrated.write_features("Kiwi", migrated.featurised("Banana"), np.ones((6, 1280)))
        assert f"{KIWI}: 1 images whose rows in the ledger name it are not in it" in problems(migrated, after_listing)


def test_a_run_is_checked_date_by_date_and_by_its_own_books(sample_lake: SampleLake, after_listing: datetime) -> None:
    key = step_summary_key(RUN_ID, "extract_features")
    summary = sample_lake.lake.read_json(key)
    summary["by_category"][DAY]["Kiwi"]["new"] += 1
    sample_lake.lake.write_json(key, summary)
    sample_lake.put_image("raw/ingest_date=2026-11-23/Kiwi/forgotten.jpg")
    assert check_run(sample_lake.lake, RUN_ID, [DAY, "2026-11-23"], [], after_listing).problems == [
        "2026-11-23: listed but not in the ledger: 1 (raw/ingest_date=2026-11-23/Kiwi/forgotten.jpg)",
        (
            f"The books of 'Kiwi' of {DAY} do not balance: 7 listed, 8 new + 0 unchanged + 0 reused, 6 featurised + 1 "
            "rejected."
        ),
    ]


@pytest.mark.slow
def test_a_run_of_several_dates_is_sound_if_each_of_them_is(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    result = check_run(sample_lake.lake, RUN_ID, [DAY, NEXT_DAY], [], after_listing)
    assert result.problems == []
    assert (result.ingest_dates, result.pca_version) == ([DAY, NEXT_DAY], VERSION)
    assert (result.images_in_ledger, result.featurised, result.rejected, result.partitions) == (86, 84, 2, 14)
    assert json.loads(json.dumps(result.as_dict())) == result.as_dict()


def test_a_problem_of_one_of_several_dates_bears_its_date(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.delete(features_key("Kiwi", NEXT_DAY))
    assert check_run(sample_lake.lake, RUN_ID, [DAY, NEXT_DAY], [], after_listing).problems == [
        f"{NEXT_DAY}: {KIWI} is not there; the ledger names it"
    ]


def test_a_run_is_checked_for_its_own_dates_only(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.add_date(NEXT_DAY)
    sample_lake.delete_below(f"features/ingest_date={NEXT_DAY}/")
    assert check_run(sample_lake.lake, RUN_ID, [DAY], [], after_listing).problems == []


def test_a_run_of_some_categories_is_checked_for_these(sample_lake: SampleLake, after_listing: datetime) -> None:
    sample_lake.put_image(f"raw/ingest_date={DAY}/Plum/1.jpg")
    result = check_run(sample_lake.lake, RUN_ID, [DAY], ["Kiwi", "007"], after_listing)
    assert (result.problems, result.images_in_ledger, result.featurised, result.partitions) == ([], 13, 12, 2)
    assert problems(sample_lake, after_listing, ["Plum"]) == [
        f"listed but not in the ledger: 1 (raw/ingest_date={DAY}/Plum/1.jpg)"
    ]


def test_unfinished_files_are_not_read(sample_lake: SampleLake, after_listing: datetime) -> None:
    prefix = lake_layout.partition_prefix("features", DAY, "Kiwi")
    sample_lake.put_image(f"{prefix}_temporary/0/part-1.parquet", b"half a file")
    sample_lake.put_image(f"{prefix}_SUCCESS", b"")
    assert problems(sample_lake, after_listing) == []
