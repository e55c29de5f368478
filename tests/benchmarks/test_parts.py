"""Checks which parts a call of the benchmarks runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.__main__ import PARTS, Bench, chosen_parts, page_name
from local_cloud.project import PROJECT

BENCHMARKS = PROJECT / "benchmarks"
# A way is called by its room and its module.
WAY = re.compile(rf'"((?:{"|".join(folder.name for folder in BENCHMARKS.iterdir() if folder.is_dir())})\.\w+)"')


def test_full_runs_every_part_and_small_only_quick_ones():
    assert chosen_parts("full", None, with_data=False) == list(PARTS)
    small = chosen_parts("small", None, with_data=False)
    assert "features" in small
    assert "history" not in small
    assert "peers" not in small


def test_a_persons_images_are_given_only_to_what_looks_at_images():
    assert "history" not in chosen_parts("full", None, with_data=True)
    assert "features" in chosen_parts("full", None, with_data=True)


def bench(size="full", data=None, only=None, scale=""):
    return Bench(size, data and Path(data), only, scale, Console())


@pytest.mark.parametrize(
    ("part", "asked", "name"),
    [
        ("features", bench(), "features-full"),
        ("features-348", bench("small", "/photos/Äpfel"), "features-348-small-_pfel"),
        ("history", bench(data="/photos/mine"), "history-full"),
        ("scale", bench(scale="images=0,known=0"), "scale-full-images=0_known=0"),
        ("setup", bench("small"), "setup-small"),
    ],
)
def test_each_data_folder_and_scale_has_a_page_of_its_own(part, asked, name):
    assert page_name(part, asked) == name


def test_the_command_that_a_page_names():
    assert bench("small").command == "make bench SIZE=small"
    assert bench(data="/photos/mine").command == "make bench SIZE=full DATA=mine"
    assert (
        bench(only="scale", scale="known=0").command == "python -m benchmarks --only scale --size full --scale known=0"
    )


def test_one_part_alone():
    assert chosen_parts("small", "history", with_data=False) == ["history"]


def test_every_way_that_a_part_starts_is_a_module_that_answers():
    named = {name for file in BENCHMARKS.rglob("*.py") for name in WAY.findall(file.read_text(encoding="utf-8"))}
    assert {"features.ours", "pca.spark_ml", "history.daily_steps", "scale.airflow_side", "peers.ray_way"} <= named
    for name in named:
        assert ") -> dict[str, Any]:" in (BENCHMARKS / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
