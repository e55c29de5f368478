"""Runs the demo from its first line to its last, as a person does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fruit_cli.demo.fruit.renderer import CATEGORIES
from local_cloud.stack.state import HOME_VARIABLE
from local_cloud.stack.sweep import STACK_MARK, marked_processes
from tests.e2e.conftest import copy_database, copy_embedder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
IMAGES_PER_CATEGORY = 2


def test_the_demo_runs_the_main_job_shows_what_it_did_and_leaves_nothing_running(
    tmp_path: Path, airflow_database: Path, home_with_embedder: Path
) -> None:
    copy_database(airflow_database, tmp_path)
    copy_embedder(home_with_embedder, tmp_path)
    environment = os.environ | {HOME_VARIABLE: str(tmp_path)}
    environment |= {f"FRUITS_LOCAL_{name}_PORT": "0" for name in ("UI", "S3", "EMR")}
    demo = subprocess.run(
        [sys.executable, "-m", "fruit_cli", "demo", "--images-per-category", str(IMAGES_PER_CATEGORY), "--days", "1"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=500,
    )  # fmt: skip

    assert demo.returncode == 0, demo.stdout
    n_images = len(CATEGORIES) * IMAGES_PER_CATEGORY
    row = next(line for line in demo.stdout.splitlines() if re.match(r"│ \d{4}-\d{2}-\d{2} ", line))
    listed, featurised, rejected = (cell.strip() for cell in row.split("│")[2:5])
    assert (listed, featurised) == (str(n_images + 2), str(n_images))
    assert rejected.startswith("2 (1 not_an_image")
    assert "The books balance" in demo.stdout
    files = [
        Path(line.strip())
        for line in demo.stdout.splitlines()
        if line.strip().startswith(str(tmp_path)) and "reports" in line
    ]
    assert sorted(path.name for path in files) == ["explained_variance.png", "first_two_components.png", "index.html"]
    assert all(path.stat().st_size > 1000 for path in files)
    lake = next(Path(line.rpartition(" ")[2]) for line in demo.stdout.splitlines() if "for any Parquet reader" in line)
    assert len(pd.read_parquet(lake / "features")) == n_images
    assert marked_processes(STACK_MARK, str(tmp_path)) == []
