"""Delivers every kind of odd picture under odd names and runs them as a person would: the books balance, and nothing is
lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from fruit_cli.commands.run import run_date
from fruit_cli.lake.delivery import deliver
from fruit_contract.tables import Status
from tests.spark_jobs.embedding.odd_pictures import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Product

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("own_lake")]

DAY = "2026-03-01"
# As cameras, people and programs name them: the last two categories differ in their Unicode form alone.
CATEGORIES = ("Kiwi", "007", "Apple, red", " Lemon ", "50% Birne", "a=b", "Pin\u0303a", "Pi\u00f1a")
FILES = ("_DSC{}.JPG", "IMG {}.jpeg", "{}", "{}.tar.gz", "‛{}.png", "f#{}?.jpg", "{}\u0301.jpg")


def test_each_picture_has_features_or_a_reason_and_the_books_balance(product: Product, tmp_path: Path) -> None:
    keys = {}
    for index, (name, kind) in enumerate(KINDS.items()):
        category, file = CATEGORIES[index % len(CATEGORIES)], FILES[index % len(FILES)].format(index)
        (tmp_path / category).mkdir(exist_ok=True)
        (tmp_path / category / file).write_bytes(kind.content())
        keys[f"raw/ingest_date={DAY}/{category}/{file}"] = name
    deliver(product.connection, tmp_path, DAY, console=product.console)

    finished = run_date(product.api, DAY, [], product.console)

    assert finished.state == "success"
    ledger = pd.read_parquet(product.lake / "ledger").set_index("image_key")
    assert sorted(ledger.index) == sorted(keys)
    for key, name in keys.items():
        row, kind = ledger.loc[key], KINDS[name]
        assert (row["status"] == Status.FEATURISED) == (kind.shows is not None), name
        assert kind.shows is not None or row["reason"] in kind.reasons, name
    features = pd.read_parquet(product.lake / "features")
    rejected = pd.read_parquet(product.lake / "rejected")
    assert sorted([*features["image_key"], *rejected["image_key"]]) == sorted(keys)
    assert set(features["category"]) == set(CATEGORIES)
