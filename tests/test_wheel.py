"""Checks the wheel that goes where Airflow runs: what it holds, what it asks for, and that Airflow takes it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from email.parser import BytesParser
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = {"fruit_contract": "fruit_contract", "plugins/fruit_pipeline": "fruit_pipeline", "dags": "fruit_dags"}
KINDS = {".css", ".j2", ".md", ".py"}
BUILT_FROM = ("dags", "docs", "fruit_contract", "plugins", ".gitignore", "pyproject.toml")
# Whose requirements are installed with the wheel's own.
BRING_MORE = ("apache-airflow", "apache-airflow-core", "apache-airflow-providers-amazon")


def build(project: Path, to: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(to)],
        cwd=project,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        check=True,
    )
    return next(to.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PROJECT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with ZipFile(wheel) as opened:
        opened.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def metadata(installed: Path) -> Any:
    return BytesParser().parsebytes(next(installed.glob("*.dist-info/METADATA")).read_bytes())


def test_it_holds_airflows_side_and_nothing_else(installed: Path) -> None:
    ours = {
        f"{name}/{file.relative_to(PROJECT / folder)}"
        for folder, name in FOLDERS.items()
        for file in files_of(PROJECT / folder)
    }
    held = {
        str(file.relative_to(installed))
        for file in installed.rglob("*")
        if file.is_file() and file.parent.suffix != ".dist-info"
    }
    assert held == ours | {"fruits_ui.py"}
    assert {
        "fruit_pipeline/templates/report.html.j2",
        "fruit_pipeline/templates/page.css",
        "fruit_dags/fruit_image_pipeline.md",
    } <= held


def files_of(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix in KINDS)


def test_one_commit_gives_one_wheel_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    for name in BUILT_FROM:
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for file in tmp_path.rglob("*.py"):
        file.chmod(0o600)
        os.utime(file, (0, 0))
    assert build(tmp_path, tmp_path / "dist").read_bytes() == wheel.read_bytes()


def test_it_asks_for_no_more_than_what_make_compat_tries(metadata: Any) -> None:
    pythons = SpecifierSet(metadata["Requires-Python"])
    assert [minor for minor in range(20) if f"3.{minor}.0" in pythons] == [10, 11, 12, 13]
    asked = {requirement.name: requirement for requirement in map(Requirement, metadata.get_all("Requires-Dist"))}
    assert [
        version for version in ("3.1.8", "3.2.0", "3.3.2", "3.4.0") if version in asked["apache-airflow"].specifier
    ] == [
        "3.2.0",
        "3.3.2",
    ]
    for name, requirement in asked.items():
        assert any(bound.operator == ">=" for bound in requirement.specifier), f"{name} has no lower bound"


def test_it_imports_only_what_is_installed_with_it(installed: Path, metadata: Any) -> None:
    own = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    extras = {extra for requirement in own for extra in requirement.extras}
    more = [Requirement(line) for name in BRING_MORE for line in requires(name) or []]
    brought = {
        need.name.lower()
        for need in more
        if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    }
    known = brought | {requirement.name for requirement in own}
    distributions = packages_distributions()
    unknown = {
        f"{file.relative_to(installed)}: {name}"
        for file in installed.rglob("*.py")
        for name in imports_of(file)
        if name.partition(".")[0] not in sys.stdlib_module_names | {"fruit_contract", "fruit_pipeline"}
        if not known & sources_of(name, distributions)
    }
    assert unknown == set()


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def sources_of(module: str, distributions: Any) -> set[str]:
    """Returns the packages that may bring a module. All of Airflow's packages share one module name, and each provider
    has a part of it.
    """
    provider = re.match(r"airflow\.providers\.(common\.\w+|\w+)", module)
    if provider:
        return {f"apache-airflow-providers-{provider[1].replace('.', '-')}"}
    return {name.lower() for name in distributions.get(module.partition(".")[0], ())}


@pytest.mark.slow
@pytest.mark.airflow
def test_airflow_parses_its_dags_and_loads_its_plugin_once(installed: Path, tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "installing.md").read_text(encoding="utf-8")
    (tmp_path / "dags").mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "dags" / "fruits.py").write_text(
        re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_", "FRUITS_"))}
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            PROJECT / "scripts" / "compat_checks.py",
            tmp_path / "told.json",
            PROJECT / "plugins",
        ],
        env=plain
        | {
            "PYTHONPATH": str(installed),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
        check=True,
    )
    assert json.loads((tmp_path / "told.json").read_text()) == {"modules": [], "dags": [], "plugin": []}
