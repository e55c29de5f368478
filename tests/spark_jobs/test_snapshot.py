"""Checks which files count, as pandas and Spark read them."""

from __future__ import annotations

import pandas as pd
import pytest

from fruit_contract import lake
from fruit_lake import NoPcaVersionError, current_version, features_files, projections_files
from tests.spark_jobs.lake_folder import EMBEDDER_ID, LakeFolder, jpeg
from tests.spark_jobs.pca.steps import extract, refresh

pytestmark = pytest.mark.spark
DAYS = ("2026-11-21", "2026-11-22")
CATEGORY = "Äpfel 50%"


@pytest.fixture
def processed(spark, published: LakeFolder) -> LakeFolder:
    """Returns a lake with two processed dates, and beside their files some that no ledger names."""
    for day in DAYS:
        published.deliver(day, {f"{CATEGORY}/{index}.jpg": jpeg(hash((day, index)) % 2**31) for index in range(4)})
    extract(spark, published, *DAYS)
    version = refresh(spark, published)["pca_version"]
    garbage = f"{lake.partition_prefix(lake.FEATURES, DAYS[0], CATEGORY)}dead-000001.parquet"
    published.put(garbage, b"half a file")
    published.put(lake.projections_file_key(version, garbage), b"half a file")
    return published


def test_lists_what_the_ledgers_name_and_nothing_else(processed: LakeFolder) -> None:
    folder = str(processed.folder)

    features = pd.concat(pd.read_parquet(file, partitioning=None) for file in features_files(folder))
    projections = pd.concat(pd.read_parquet(file, partitioning=None) for file in projections_files(folder))

    keys = sorted(lake.image_key(day, CATEGORY, f"{index}.jpg") for day in DAYS for index in range(4))
    assert sorted(features["image_key"]) == sorted(projections["image_key"]) == keys
    assert features_files(folder, [DAYS[1]]) == [file for file in features_files(folder) if DAYS[1] in file]
    assert features_files(folder, embedder_id=EMBEDDER_ID) == features_files(folder)
    assert features_files(folder, embedder_id="another") == []
    assert current_version(folder) in projections_files(folder)[0]


def test_spark_reads_them_with_their_partitions(spark, processed: LakeFolder) -> None:
    files = features_files(str(processed.folder))

    rows = spark.read.option("basePath", f"{processed.folder}/features").parquet(*files)

    assert rows.count() == 8
    assert {row[0] for row in rows.select("category").distinct().collect()} == {CATEGORY}


def test_a_lake_without_a_pca_says_so(published: LakeFolder) -> None:
    with pytest.raises(NoPcaVersionError, match="no run has fitted a PCA yet"):
        projections_files(str(published.folder))
