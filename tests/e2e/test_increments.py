"""Checks that after days one by one, late images, new fruit in old dates and days with nothing new, the lake is as one
run over everything would leave it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from fruit_cli.commands.backfill import backfill
from fruit_cli.commands.run import run_date, run_request, trigger_and_follow
from fruit_cli.demo.fruit.renderer import CATEGORIES, draw_jpeg
from fruit_cli.lake.delivery import deliver
from fruit_contract import lake
from tests.e2e.conftest import empty_lake

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200), pytest.mark.usefixtures("own_lake")]

DAYS = ("2026-02-01", "2026-02-02")
DAILY, LATER = CATEGORIES[:3], CATEGORIES[3]
IMAGES = 6


def drawn(folder: Path, category: str, first: int, n_images: int = IMAGES) -> None:
    (folder / category).mkdir(parents=True, exist_ok=True)
    for index in range(first, first + n_images):
        (folder / category / f"{index}_100.jpg").write_bytes(draw_jpeg(category, index, 36))


def n_clusters(product: Product) -> int:
    return sum(len(page["Clusters"]) for page in product.emr.get_paginator("list_clusters").paginate())


def table(product: Product, name: str) -> pd.DataFrame:
    return pd.read_parquet(product.lake / name).sort_values("image_key").reset_index(drop=True)


def projections(product: Product) -> pd.DataFrame:
    version = json.loads((product.lake / lake.CURRENT_PCA_KEY).read_text())["version"]
    return table(product, lake.projections_prefix(version))


def test_increments_leave_what_one_run_over_everything_would(product: Product, tmp_path: Path) -> None:
    batches = {day: tmp_path / day for day in DAYS}
    for number, (day, batch) in enumerate(batches.items()):
        for category in DAILY:
            drawn(batch, category, number * IMAGES)
        deliver(product.connection, batch, day, console=product.console)
        run_date(product.api, day, [], product.console)

    # A new category arrives in all of them, and a run a day takes it in.
    touched_before = {path: path.stat().st_mtime_ns for path in (product.lake / lake.FEATURES).rglob("*.parquet")}
    for number, (day, batch) in enumerate(batches.items()):
        drawn(batch, LATER, number * IMAGES)
        deliver(product.connection, batch, day, console=product.console)
    backfill(product.api, list(DAYS), [LATER], product.console)
    assert {path: path.stat().st_mtime_ns for path in touched_before if path.exists()} == touched_before
    assert set(table(product, lake.FEATURES)["category"]) == {*DAILY, LATER}

    # Late, known content under another name, and a replaced image: one run over the range, on one cluster.
    drawn(batches[DAYS[0]], DAILY[0], 30, 1)
    shutil.copy(batches[DAYS[0]] / DAILY[1] / "0_100.jpg", batches[DAYS[1]] / DAILY[1] / "the_same.jpg")
    (batches[DAYS[1]] / DAILY[2] / f"{IMAGES}_100.jpg").write_bytes(draw_jpeg(DAILY[2], 31, 36))
    for day, batch in batches.items():
        deliver(product.connection, batch, day, console=product.console)
    clusters_before = n_clusters(product)
    late = trigger_and_follow(product.api, run_request(DAYS), product.console)
    assert n_clusters(product) == clusters_before + 1
    record = json.loads((product.lake / lake.run_key(late.run_id)).read_text())
    assert (record["totals"]["new"], record["totals"]["reused"]) == (2, 1)
    assert record["images_computed"] == 2

    # Nothing new: no cluster, and it is said.
    nothing = run_date(product.api, DAYS[1], [], product.console)
    assert n_clusters(product) == clusters_before + 1
    assert json.loads((product.lake / lake.run_key(nothing.run_id)).read_text())["plan"]["nothing_new"] == [DAYS[1]]

    features, ledger, rows = table(product, lake.FEATURES), table(product, lake.LEDGER), projections(product)
    empty_lake(product)
    for day, batch in batches.items():
        deliver(product.connection, batch, day, console=product.console)
    trigger_and_follow(product.api, run_request(DAYS), product.console)

    # The same truth in other files: their names are of the runs that wrote them.
    pd.testing.assert_frame_equal(table(product, lake.LEDGER).drop(columns="file"), ledger.drop(columns="file"))
    pd.testing.assert_frame_equal(
        table(product, lake.FEATURES).drop(columns="features"), features.drop(columns="features")
    )
    whole = projections(product)
    assert whole["image_key"].to_list() == rows["image_key"].to_list()
    ours, reference = (np.stack(frame["components"].to_list()) for frame in (rows, whole))
    np.testing.assert_allclose(ours, reference, atol=1e-6 * np.abs(reference).max())


def test_an_asset_event_tells_other_dags_what_was_found_sound(product: Product) -> None:
    extra = product.api.asset_events("fruit_projections")[-1]["extra"]
    pointer = json.loads((product.lake / lake.CURRENT_PCA_KEY).read_text())
    assert extra["ingest_dates"] == list(DAYS)
    assert extra["pca_version"] == pointer["version"]
    assert extra["featurised"] == len(table(product, lake.FEATURES))
