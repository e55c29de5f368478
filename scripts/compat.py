#!/usr/bin/env python
"""Tries the wheel with the lowest and the highest of what it says it runs with, and writes the table of
docs/installing.md.

`make compat` calls it in the project's root. Each combination gets an environment of its own below .local/compat/, with
packages that are no younger than its day, so that it is what somebody installed then. A Python that this machine lacks
is named as not tried. What was found good with a wheel of the same content is not tried again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from email.parser import BytesParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZipFile

from local_cloud.page_table import PageTable
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PAGE: Final = PROJECT / "docs" / "installing.md"
MARKER: Final = "<!-- combinations, written by make compat -->"
HOME: Final = PROJECT / ".local" / "compat"
UV: Final = str(Path(sys.executable).with_name("uv"))
SHOWN: Final = ("apache-airflow", "apache-airflow-providers-amazon", "numpy", "pyarrow", "matplotlib")
TEST_TOOLS: Final = ("hypothesis", "moto[s3,server]", "pytest", "pytest-timeout", "typing-extensions")
# What the unit tests need besides themselves. The wheel has the rest.
COPIED: Final = ("tests", "local_cloud", "pyproject.toml")
UNIT_TESTS: Final = (
    *("tests/plugins", "tests/fruit_contract"),
    # These tests read our pages, and the steps' code.
    "--ignore=tests/fruit_contract/failures/test_causes.py",
    "--deselect=tests/fruit_contract/failures/test_rules.py::test_every_error_of_the_steps_has_a_cause",
)


@dataclass(frozen=True)
class Combination:
    """Names versions to try together. Packages are those of the day `on`; without it, today's."""

    what: str
    python: str
    pins: tuple[str, ...] = ()
    on: str = ""
    lowest: bool = False


COMBINATIONS: Final = (
    Combination("the lowest of everything", "3.10", on="2026-04-22", lowest=True),
    Combination("the lowest Python, the highest Airflow", "3.10", ("apache-airflow==3.3.2",)),
    Combination("Airflow 3.3.0 when it was new", "3.11", ("apache-airflow==3.3.0",), on="2026-07-20"),
    Combination(
        "MWAA 3.2, its constraints",
        "3.12",
        (
            *(
                "apache-airflow==3.2.1",
                "apache-airflow-providers-amazon==9.25.0",
                "apache-airflow-providers-common-messaging==2.0.3",
            ),
            *(
                "aiobotocore==3.4.0",
                "boto3==1.42.84",
                "fastapi==0.136.0",
                "jinja2==3.1.6",
                "numpy==2.4.4",
                "pandas==2.3.3",
            ),
            *("pyarrow==23.0.1", "sqlalchemy==2.0.49"),
        ),
        on="2026-05-20",
    ),
    Combination("the highest of everything", "3.13"),
)


@dataclass(frozen=True)
class Outcome:
    """Says what came of a combination: the versions that were installed, and the trouble of each check (an empty text
    if there is none).
    """

    versions: Mapping[str, str]
    troubles: Mapping[str, str]
    passed: int

    @property
    def is_good(self) -> bool:
        return bool(self.versions) and not any(self.troubles.values())


def main(pythons: Sequence[str]) -> int:
    wheel = next((PROJECT / "dist").glob("fruits_airflow-*.whl"))
    content = _content_of(wheel)
    outcomes: dict[Combination, Outcome] = {}
    for combination in COMBINATIONS:
        kept = _home_of(combination) / f"outcome-{content}.json"
        if kept.exists():
            outcomes[combination] = Outcome(**json.loads(kept.read_text(encoding="utf-8")))
        elif not pythons or combination.python in pythons:
            outcomes[combination] = _tried(combination, wheel)
            if outcomes[combination].is_good:
                kept.write_text(json.dumps(asdict(outcomes[combination])), encoding="utf-8")
    table = "".join(f"{line}\n" for line in _table(outcomes))
    print(table)
    PageTable(PAGE, MARKER, MARKER).write(table)
    return 0 if all(outcome.is_good or not outcome.versions for outcome in outcomes.values()) else 1


def _content_of(wheel: Path) -> str:
    """Returns the digest of a wheel's list of files, which does not change with the time of the commit."""
    with ZipFile(wheel) as opened:
        return hashlib.sha256(
            opened.read(next(name for name in opened.namelist() if name.endswith("/RECORD")))
        ).hexdigest()[:16]


def _home_of(combination: Combination) -> Path:
    return HOME / re.sub(r"\W+", "-", combination.what)


def _tried(combination: Combination, wheel: Path) -> Outcome:
    print(f"==> {combination.what}: Python {combination.python}", flush=True)
    home = _home_of(combination)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    python = home / "venv" / "bin" / "python"
    if trouble := _trouble_of(
        [UV, "venv", "--quiet", f"--python={combination.python}", home / "venv"], home, _with_pyenv(combination)
    ):
        return Outcome({}, {"install": trouble}, 0)
    constraints = home / "constraints.txt"
    constraints.write_text(
        "\n".join([*combination.pins, *(_lower_bounds(wheel) if combination.lowest else ())]), encoding="utf-8"
    )
    until = [f"--exclude-newer={combination.on}"] if combination.on else []
    install = [
        UV,
        "pip",
        "install",
        "--quiet",
        f"--python={python}",
        f"--constraint={constraints}",
        *until,
        str(wheel),
        *TEST_TOOLS,
    ]
    if trouble := _trouble_of(install, home):
        return Outcome({}, {"install": trouble}, 0)
    tree = _tree(home / "tree")
    troubles = _checks(python, tree, home)
    passed, troubles["unit tests"] = _unit_tests(combination, python, tree)
    for check, trouble in troubles.items():
        print(f"    {check}: {trouble or 'good'}", flush=True)
    return Outcome(_versions(python), troubles, passed)


def _with_pyenv(combination: Combination) -> dict[str, str]:
    """Returns the environment in which uv finds the interpreters of pyenv, too, whatever pyenv's own choice is."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    bins = [str(found) for found in sorted(root.glob(f"versions/{combination.python}.*/bin"))]
    return {"PATH": os.pathsep.join([*bins, os.environ["PATH"]])}


def _lower_bounds(wheel: Path) -> Iterator[str]:
    with ZipFile(wheel) as opened:
        metadata = BytesParser().parsebytes(
            opened.read(next(name for name in opened.namelist() if name.endswith("/METADATA")))
        )
    for requirement in metadata.get_all("Requires-Dist", []):
        if bound := re.search(r">=([\w.]+)", requirement):
            yield f"{re.split(r'[^a-zA-Z0-9_.-]', requirement)[0]}=={bound[1]}"


def _tree(tree: Path) -> Path:
    """Makes a folder that has the tests, the DAG file of the page, and none of what the wheel holds, and returns it."""
    for name in COPIED:
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    (tree / "plugins").mkdir()
    (tree / "dags").mkdir()
    dag_file = re.search(r"```python\n(# dags/fruits\.py.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert dag_file, f"{PAGE} shows no file of DAGs"  # noqa: S101  # a script's own
    (tree / "dags" / "fruits.py").write_text(dag_file[1], encoding="utf-8")
    return tree


def _checks(python: Path, tree: Path, home: Path) -> dict[str, str]:
    told = home / "checks.json"
    airflow = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tree / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tree / "plugins"),
    }
    if trouble := _trouble_of(
        [python, "-W", "ignore", PROJECT / "scripts" / "compat_checks.py", told, PROJECT / "plugins"], tree, airflow
    ):
        return {"checks": trouble}
    return {check: "; ".join(troubles) for check, troubles in json.loads(told.read_text(encoding="utf-8")).items()}


def _unit_tests(combination: Combination, python: Path, tree: Path) -> tuple[int, str]:
    names = ["-p", "tests.python_310"] if combination.python == "3.10" else []
    # Other versions warn of other things, which does not matter here.
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "-o", "pythonpath=.", "-o", "filterwarnings=default"]
    only = ["--hypothesis-profile=few", "-m", "not slow and not spark and not e2e"]
    done = _done([python, "-m", "pytest", *names, *options, *only, *UNIT_TESTS], tree, {"PYTHONPATH": str(tree)})
    (tree.parent / "unit-tests.log").write_text(done.stdout, encoding="utf-8")
    counted = re.search(r"(\d+) passed", done.stdout.splitlines()[-1] if done.stdout else "")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))] or [done.stderr[-300:]]
    return int(counted[1]) if counted else 0, "" if done.returncode == 0 else "; ".join(failed)


def _versions(python: Path) -> dict[str, str]:
    told = json.loads(_done([UV, "pip", "list", "--quiet", f"--python={python}", "--format=json"], PROJECT).stdout)
    return {package["name"]: package["version"] for package in told}


def _trouble_of(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    done = _done(command, folder, environment)
    return "" if done.returncode == 0 else " ".join(done.stderr.split())[-600:]


def _done(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program without what this shell has set for the product, for AWS and for Python."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "AWS_", "FRUITS_", "PYTHON"))
    }
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=plain | dict(environment or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def _table(outcomes: Mapping[Combination, Outcome]) -> Iterator[str]:
    yield (
        "| what | Python | Airflow | amazon provider | numpy | pyarrow | matplotlib | imports, DAGs, plugin | unit "
        "tests |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for combination in COMBINATIONS:
        outcome = outcomes.get(combination, Outcome({}, {"install": "left out this time"}, 0))
        versions = [outcome.versions.get(name, "") for name in SHOWN]
        yield f"| {' | '.join([combination.what, combination.python, *versions, *_verdicts(outcome)])} |"


def _verdicts(outcome: Outcome) -> tuple[str, str]:
    if not outcome.versions:
        return f"not tried: {outcome.troubles['install']}".replace("|", "\\|"), ""
    bad: dict[str, Any] = {
        check: trouble for check, trouble in outcome.troubles.items() if trouble and check != "unit tests"
    }
    return f"not good: {', '.join(bad)}" if bad else "good", f"{outcome.passed} passed" + ", some failed" * bool(
        outcome.troubles["unit tests"]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
