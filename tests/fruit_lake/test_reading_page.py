"""Runs what docs/reading.md shows for pandas and scikit-learn, on the tests' lake. What it shows for Spark, DuckDB and
Polars is not run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from local_cloud.project import PROJECT
from tests.plugins.sample_lake import BUCKET, CATEGORIES, DAY, IMAGES_A_CATEGORY, build_sample_lake

if TYPE_CHECKING:
    from pathlib import Path

OTHERS = ("spark", "duckdb")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the names that the page's code defines, one block after the other."""
    root: Path = tmp_path_factory.mktemp("s3")
    for key, (content, _) in build_sample_lake().client.objects.items():
        path = root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    page = (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        if not block.startswith(OTHERS):
            exec(block.replace(".local/s3/fruits-lake", str(root / BUCKET)), names)  # noqa: S102  # the page is ours
    return names


@pytest.mark.parametrize("name", ["features", "exact_features", "exact_projections"])
def test_each_way_gives_all_images_with_their_dates_and_categories(shown: dict[str, Any], name: str) -> None:
    rows = shown[name]
    assert len(rows) == len(CATEGORIES) * IMAGES_A_CATEGORY
    assert set(rows["ingest_date"]) == {DAY}
    assert set(rows["category"]) == set(CATEGORIES)


def test_the_model_gives_the_components_that_the_lake_holds(shown: dict[str, Any]) -> None:
    held = dict(zip(shown["exact_projections"]["image_key"], shown["exact_projections"]["components"], strict=True))
    computed = zip(shown["exact_features"]["image_key"], shown["components"], strict=True)
    assert all(components == pytest.approx(held[key], rel=1e-3, abs=1e-3) for key, components in computed)
    assert shown["pca"].n_samples_ == len(CATEGORIES) * IMAGES_A_CATEGORY
