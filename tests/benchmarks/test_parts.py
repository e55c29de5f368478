"""Which parts a call of the benchmarks runs."""

from __future__ import annotations

import re

from benchmarks.__main__ import PARTS, chosen_parts
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


def test_one_part_alone():
    assert chosen_parts("small", "history", with_data=False) == ["history"]


def test_every_way_that_a_part_starts_is_a_module_that_answers():
    named = {name for file in BENCHMARKS.rglob("*.py") for name in WAY.findall(file.read_text(encoding="utf-8"))}
    assert {"features.ours", "pca.spark_ml", "history.daily_steps", "scale.airflow_side", "peers.ray_way"} <= named
    for name in named:
        assert ") -> dict[str, Any]:" in (BENCHMARKS / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
