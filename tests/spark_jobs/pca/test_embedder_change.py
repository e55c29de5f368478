"""Checks the PCA step while a release of other weights takes over; against a real S3 API and real Spark."""

from __future__ import annotations

import pandas as pd
import pytest

from fruit_contract import lake
from fruit_contract.pca import RefreshPolicy
from tests.spark_jobs.conftest import publish_network
from tests.spark_jobs.lake_folder import RELEASE, LakeFolder
from tests.spark_jobs.pca.steps import deliver, extract, featurised, projected, refresh

pytestmark = pytest.mark.spark


OTHER_RELEASE = "otherrelease"
OTHER_EMBEDDER = "mobilenetv2-other-p1"


@pytest.fixture
def two_releases(published: LakeFolder, other_network: bytes) -> LakeFolder:
    """Returns a lake with a second release, of other weights."""
    return publish_network(published, other_network, OTHER_RELEASE, OTHER_EMBEDDER)


def test_readers_stay_on_the_old_embedder_until_the_new_one_covers_its_images(spark, two_releases: LakeFolder) -> None:
    for day in ("2026-11-20", "2026-11-21", "2026-11-22"):
        deliver(two_releases, day, 4, "Kiwi", "Lemon")
    extract(spark, two_releases, "2026-11-20", "2026-11-21", "2026-11-22")
    old = refresh(spark, two_releases)["pca_version"]
    deliver(two_releases, "2026-11-23", 4, "Kiwi")

    # A daily run of the new release looks at some dates only.
    extract(spark, two_releases, "2026-11-22", "2026-11-23", release=OTHER_RELEASE)
    waiting = refresh(spark, two_releases, release=OTHER_RELEASE)

    assert (waiting["action"], waiting["pca_version"]) == ("nothing", None)
    assert "16 images of 2 dates (2026-11-20 to 2026-11-21)" in waiting["reason"]
    assert two_releases.store.read_json(lake.CURRENT_PCA_KEY)["version"] == old
    # Readers of the old version miss nothing.
    assert len(projected(two_releases, old)) == 24
    erased = f"{lake.raw_prefix('2026-11-22')}Kiwi/0.jpg"
    two_releases.delete(erased)
    extract(spark, two_releases, "2026-11-22", release=OTHER_RELEASE)
    assert erased not in projected(two_releases, old)
    assert len(projected(two_releases, old)) == 23

    extract(spark, two_releases, "2026-11-20", "2026-11-21", release=OTHER_RELEASE)
    covered = refresh(spark, two_releases, RefreshPolicy.AUTO, release=OTHER_RELEASE)

    assert covered["action"] == "fitted"
    assert projected(two_releases, covered["pca_version"]) == featurised(two_releases, OTHER_EMBEDDER)
    assert len(featurised(two_releases, OTHER_EMBEDDER)) == 27
    # However many versions come after it, the last one of the old embedder stays.
    for number in range(3):
        deliver(two_releases, f"2026-11-{24 + number}", 3, "Plum")
        extract(spark, two_releases, f"2026-11-{24 + number}", release=OTHER_RELEASE)
        refresh(spark, two_releases, release=OTHER_RELEASE, keep_versions=1)
    assert len(projected(two_releases, old)) == 23


def test_a_switch_to_the_new_embedder_can_be_asked_for(spark, two_releases: LakeFolder) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        deliver(two_releases, day, 4, "Kiwi")
    extract(spark, two_releases, "2026-11-21", "2026-11-22")
    refresh(spark, two_releases)
    extract(spark, two_releases, "2026-11-22", release=OTHER_RELEASE)

    summary = refresh(spark, two_releases, RefreshPolicy.AUTO, release=OTHER_RELEASE, switch_embedder=True)

    assert summary["action"] == "fitted"
    assert "asked for" in summary["reason"]
    assert two_releases.store.read_json(lake.CURRENT_PCA_KEY)["embedder_id"] == OTHER_EMBEDDER
    assert len(projected(two_releases, summary["pca_version"])) == 4


def test_keeping_a_version_of_another_embedder_leaves_its_projections_alone(spark, published: LakeFolder) -> None:
    day = "2026-11-22"
    deliver(published, day, 6, "Kiwi", "Lemon")
    extract(spark, published, day)
    first = refresh(spark, published)
    manifest_key = lake.release_prefix(RELEASE) + "embedder/manifest.json"
    manifest = published.store.read_json(manifest_key)
    published.store.write_json(manifest_key, manifest | {"embedder_id": "mobilenetv2-other-p1"})
    extract(spark, published, day)

    summary = refresh(spark, published, RefreshPolicy.NEVER)

    assert summary["action"] == "nothing"
    assert "is of embedder mobilenetv2-test-p1" in summary["reason"]
    assert len(pd.read_parquet(published.folder / lake.projections_prefix(first["pca_version"]))) == 12
