#!/usr/bin/env python
"""Draws docs/demo_report.png, the picture of the README, from the lake that a finished `make demo` has left.

Call it in the project's root: `.venv/bin/python scripts/draw_readme_picture.py`. To draw from another lake, add its
folder.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from fruit_contract.lake import partition_values, pca_prefix, pca_provenance_key, raw_prefix
from fruit_contract.tables import CATEGORY, COMPONENTS
from fruit_lake import current_version, projections_files
from fruit_pipeline.checks.parquet_facts import Projections
from fruit_pipeline.report.plots import explained_variance_png, two_components_png
from fruit_pipeline.report.publish import chosen_categories

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURE: Final = Path("docs/demo_report.png")
DEMO_LAKE: Final = Path(".local/s3/fruits-lake")
WIDTH: Final = 1200
MARGIN: Final = 24
WHITE: Final = (255, 255, 255)
# A PNG with a palette can have no more colours, and has a third of the size of one with all colours. Rounds of k-means
# choose them.
COLOURS: Final = 256
ROUNDS: Final = 3


def main(lake: Path) -> None:
    version = current_version(str(lake))
    model = pq.read_table(lake / pca_prefix(version) / "model.parquet").to_pylist()[0]
    provenance = json.loads((lake / pca_provenance_key(version)).read_text(encoding="utf-8"))
    points = read_points(lake)
    chosen = chosen_categories(list(points), max(provenance["ingest_dates"]))
    picture = below_each_other(
        row_of_fruit(lake, provenance["ingest_dates"][0], sorted(points)),
        opened(two_components_png([points[category] for category in chosen], model["explained_variance_ratio"])),
        opened(
            explained_variance_png(
                model["spectrum"], provenance["k"], provenance["target_variance"], provenance["n_samples"]
            )
        ),
    )
    picture.quantize(COLOURS, kmeans=ROUNDS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes, {picture.width} x {picture.height} pixels")


def read_points(lake: Path) -> dict[str, Projections]:
    """Returns the first two components of every image that counts, by category."""
    vectors: dict[str, list[list[float]]] = {}
    for file in projections_files(str(lake)):
        category = partition_values(file)[CATEGORY]
        vectors.setdefault(category, []).extend(
            pq.read_table(file, columns=[COMPONENTS], partitioning=None)[COMPONENTS].to_pylist()
        )
    return {
        category: Projections(category, *np.array([vector[:2] for vector in rows], np.float32).T)
        for category, rows in vectors.items()
    }


def row_of_fruit(lake: Path, ingest_date: str, categories: Sequence[str]) -> Image.Image:
    """Returns a row of the first delivered pictures of each category, side by side."""
    firsts = [min((lake / raw_prefix(ingest_date) / category).glob("*.jpg")) for category in categories]
    fruit = [Image.open(first).convert("RGB") for first in firsts]
    row = Image.new("RGB", (sum(picture.width for picture in fruit), max(picture.height for picture in fruit)), WHITE)
    left = 0
    for picture in fruit:
        row.paste(picture, (left, 0))
        left += picture.width
    return row


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def below_each_other(*pictures: Image.Image) -> Image.Image:
    """Returns the pictures one below the other, each as wide as the whole."""
    scaled = [
        picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        for picture in pictures
    ]
    whole = Image.new("RGB", (WIDTH, sum(picture.height for picture in scaled) + MARGIN * (len(scaled) - 1)), WHITE)
    top = 0
    for picture in scaled:
        whole.paste(picture, (0, top))
        top += picture.height + MARGIN
    return whole


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO_LAKE)
