"""Checks that what a person types behind `make` reaches the program as it was typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# Stands in for the environment's Python: tells what it was given.
STAND_IN = """#!/bin/sh
printf '%s\\0' "${FRUITS_LOCAL_HOME-}" "$@" ${PYTEST_ADDOPTS:+"$PYTEST_ADDOPTS"}
"""
MACHINE_CODE = "spark_jobs/fruit_features/embedding/resizing.c"
OF_THE_MAKE_THAT_RUNS_THIS = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "PYTEST_ADDOPTS"}
HOSTILE = [
    "/photos/my fruit",
    "/photos/$ales and $$ and ${HOME}",
    "/photos/$(shell touch made-by-make)$(HOME)",
    "/photos/`touch made-by-backticks`; touch made-by-semicolon & | < > * ?",
    '/photos/"double" \'single\' "',
    "/photos/back\\slash\\",
    "/photos/#1, (100 %) = äpfel",
    "-dashes",
    "~/photos",
    "/photos/not UTF-8 \udcff",
]
YES_OR_NO = [
    ("demo", "AS_IS", "--as-is"),
    ("demo", "KEEP", "--keep"),
    ("deliver", "AS_IS", "--as-is"),
    ("run", "RETRY_REJECTED", "--retry-rejected"),
    ("run", "ACCEPT_REJECTS", "--accept-rejects"),
    ("run", "SWITCH_EMBEDDER", "--switch-embedder"),
    ("run", "OVER_BUDGET", "--over-budget"),
    ("publish", "WHEELHOUSE", "--with-wheelhouse"),
    ("deploy", "DRY_RUN", "--dry-run"),
    ("deploy", "YES", "--yes"),
    ("deploy", "SSM", "--ssm"),
    ("deploy", "BLOCK_PUBLIC_ACCESS", "--block-public-access"),
    ("destroy", "DRY_RUN", "--dry-run"),
    ("destroy", "YES", "--yes"),
]
TEXTS = [
    ("demo", "DATA", "--data"),
    ("demo", "DAYS", "--days"),
    ("deliver", "DIR", "--directory"),
    ("deliver", "DATE", "--date"),
    ("deliver", "TARGET", "--target"),
    ("run", "DATE", "--date"),
    ("run", "FROM", "--from-date"),
    ("run", "TO", "--to-date"),
    ("run", "CATEGORIES", "--categories"),
    ("run", "POLICY", "--pca-policy"),
    ("run", "TARGET", "--target"),
    ("backfill", "FROM", "--from-date"),
    ("backfill", "TO", "--to-date"),
    ("backfill", "CATEGORIES", "--categories"),
    ("backfill", "TARGET", "--target"),
    ("estimate", "IMAGES", "--images"),
    ("spark-history", "CLUSTER", "--cluster"),
    ("spark-history", "TARGET", "--target"),
    ("publish", "WEIGHTS", "--weights"),
    ("publish", "TARGET", "--target"),
    ("deploy", "STACK", "--name"),
    ("deploy", "ZONES", "--zones"),
    ("deploy", "SUBNETS", "--subnets"),
    ("deploy", "KMS_KEY", "--key"),
    ("deploy", "AIRFLOW", "--airflow"),
    ("deploy", "CERTIFICATES", "--certificates"),
    ("deploy", "ALERT_EMAIL", "--email"),
    ("deploy", "BUDGET", "--budget"),
    ("destroy", "STACK", "--name"),
    ("destroy", "ERASE_LAKE", "--erase-lake"),
    ("bench", "SIZE", "--size"),
    ("bench", "DATA", "--data"),
    ("soak", "MINUTES", "--minutes"),
]
# These reach a program otherwise than as an option that the stand-in could tell.
NO_OPTIONS = {
    ("torture", "EXAMPLES"),
    ("test", "ARGS"),
    ("test", "PYTEST_ADDOPTS"),
    ("compat", "ARGS"),
    ("lock", "UPGRADE"),
}


def named_in_recipes(pattern: str) -> set[tuple[str, str]]:
    """Returns each target of the Makefile with each variable that its recipe names as the pattern says."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8").replace("$(ON)", "$${TARGET}")
    found = set()
    target = ""
    for line in makefile.splitlines():
        rule = re.match(r"(?!\s|#)[^=]*?:(?!=)", line)
        target = rule[0].removesuffix(":") if rule else target
        if line.startswith("\t") and re.fullmatch(r"[a-z-]+", target):
            found |= {(target, variable) for variable in re.findall(pattern, line)}
    return found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Returns a clone with the project's Makefile, and an environment that seems to be up to date."""
    folder = tmp_path / "a clone"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(PROJECT / "Makefile", folder)
    shutil.copytree(PROJECT / "scripts", folder / "scripts")
    for name in ("all", "uv", "bench"):
        (folder / "requirements" / f"{name}.txt").touch()
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(STAND_IN)
    (programs / "python").chmod(0o755)
    (folder / ".venv" / ".requirements-installed").touch()
    (folder / ".venv" / ".bench-installed").touch()
    for name in (MACHINE_CODE, "fruit_cli/release/machine_code.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / MACHINE_CODE).with_name("resizing-aarch64.elf").touch()
    return folder


def make(clone: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if name not in OF_THE_MAKE_THAT_RUNS_THIS}
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env=ours | (environment or {}),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> tuple[list[str], str]:
    """Returns the arguments and the local home that the program got."""
    assert done.returncode == 0, done.stderr
    home, *arguments = done.stdout.split("\0")[:-1]
    return arguments, home


@pytest.mark.parametrize("text", HOSTILE)
def test_a_typed_text_arrives_byte_for_byte(clone: Path, text: str) -> None:
    before = sorted(clone.iterdir())
    arguments, home = told(make(clone, "deliver", f"DIR={text}", "DATE=2026-11-22", f"FRUITS_LOCAL_HOME={text}"))
    assert arguments == ["-m", "fruit_cli", "deliver", f"--directory={text}", "--date=2026-11-22"]
    assert home == text
    assert sorted(clone.iterdir()) == before


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_the_environment_arrives_byte_for_byte(clone: Path, text: str) -> None:
    arguments, home = told(
        make(clone, "deliver", environment={"DIR": text, "DATE": "2026-11-22", "FRUITS_LOCAL_HOME": text})
    )
    assert f"--directory={text}" in arguments
    assert home == text


@pytest.mark.parametrize(("target", "variable", "option"), TEXTS)
def test_every_variable_arrives_byte_for_byte(clone: Path, target: str, variable: str, option: str) -> None:
    text = "a $b `c` \"d\" 'e' $(shell touch made); f"
    arguments, _ = told(make(clone, target, f"{variable}={text}"))
    assert f"{option}={text}" in arguments
    assert not (clone / "made").exists()


@pytest.mark.parametrize(("pattern", "listed"), [(r"\$\$\{?([A-Z]\w+)", TEXTS), (r"\$\(call yes,(\w+)\)", YES_OR_NO)])
def test_every_variable_that_a_recipe_names_is_tried_here(pattern: str, listed: list[tuple[str, str, str]]) -> None:
    assert named_in_recipes(pattern) - NO_OPTIONS == {(target, variable) for target, variable, _ in listed}


def test_a_file_that_is_called_like_a_target_is_not_in_its_way() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^TARGETS := (.*)", makefile, re.MULTILINE)
    assert ".PHONY: $(TARGETS)\n" in makefile
    assert sorted(targets.split()) == sorted(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize(
    ("target", "typed", "known"),
    [
        ("run", "CATEGORY", "CATEGORIES"),
        ("run", "Categories", "CATEGORIES"),
        ("deliver", "STACK", "TARGET"),
        ("publish", "STACK", "TARGET"),
        ("down", "KEEP", "nothing"),
        ("deploy", "BUDGETS", "BUDGET"),
    ],
)
def test_what_is_no_option_of_the_target_is_refused_before_anything_is_done(
    clone: Path, target: str, typed: str, known: str
) -> None:
    done = make(clone, target, f"{typed}=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"`make {target}` takes no " in done.stderr
    assert known in done.stderr


def test_variables_of_other_programs_may_be_typed(clone: Path) -> None:
    typed = ("FRUITS_TARGET=aws", "AWS_PROFILE=me", "PYTEST_ADDOPTS=-x", "PYTHON=python3")
    assert told(make(clone, "run", "DATE=2026-11-22", *typed))[0][:3] == ["-m", "fruit_cli", "run"]


@pytest.mark.parametrize("text", HOSTILE)
def test_pytest_gets_what_was_typed_for_it(clone: Path, text: str) -> None:
    assert told(make(clone, "test", f"ARGS={text}"))[0] == ["-m", "pytest", f" {text}"]


def test_the_quick_checks_are_the_others_but_four_kinds(clone: Path) -> None:
    arguments = told(make(clone, "test-fast"))[0]
    assert arguments[:2] == ["-m", "pytest"]
    assert arguments[-2:] == ["-m", "not slow and not spark and not airflow and not e2e"]


@pytest.mark.parametrize(("target", "variable", "option"), YES_OR_NO)
@pytest.mark.parametrize(("text", "means_yes"), [("1", True), ("0", False)])
def test_every_yes_or_no_is_read_alike(
    clone: Path, target: str, variable: str, option: str, text: str, means_yes: bool
) -> None:
    arguments, _ = told(make(clone, target, f"{variable}={text}"))
    assert (option in arguments) == means_yes


@pytest.mark.parametrize("text", ["yes", "Yes", "true", "True", "on", "y"])
def test_yes_means_yes(clone: Path, text: str) -> None:
    assert "--over-budget" in told(make(clone, "run", f"OVER_BUDGET={text}"))[0]


@pytest.mark.parametrize("text", ["no", "No", "NO", "false", "False", "off", "n", "", " "])
def test_no_means_no(clone: Path, text: str) -> None:
    assert "--over-budget" not in told(make(clone, "run", f"OVER_BUDGET={text}"))[0]


@pytest.mark.parametrize("text", ["maybe", "2", "$(shell touch made)"])
def test_what_is_neither_yes_nor_no_is_refused(clone: Path, text: str) -> None:
    done = make(clone, "run", f"OVER_BUDGET={text}")
    assert done.returncode
    assert done.stdout == ""
    assert f"OVER_BUDGET={text} is neither yes nor no: type OVER_BUDGET=1 or OVER_BUDGET=0" in done.stderr
    assert not (clone / "made").exists()


def test_a_python_of_any_name_makes_the_environment(clone: Path, tmp_path: Path) -> None:
    python = tmp_path / "$my 'python'" / "python3.11"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'asked for its version'\nexit 1\n")
    python.chmod(0o755)
    (clone / ".venv" / ".requirements-installed").unlink()
    assert "asked for its version" in make(clone, "setup", f"PYTHON={python}").stdout


@pytest.mark.slow
def test_no_recipe_holds_a_text_that_was_typed(clone: Path) -> None:
    shown = make(clone, "--dry-run", "deliver", "DIR=$(shell touch made) `touch made`", "DATE=today")
    assert "touch" not in shown.stdout
    assert not (clone / "made").exists()


@pytest.mark.parametrize(("target", "variable", "option"), YES_OR_NO + TEXTS)
def test_the_help_of_a_target_names_what_it_takes(target: str, variable: str, option: str) -> None:
    lines = (PROJECT / "Makefile").read_text(encoding="utf-8").splitlines()
    (told,) = (line for line in lines if line.startswith(f"{target}:"))
    assert f"{variable}=" in told, option


def test_the_environment_finds_our_packages_from_anywhere(tmp_path: Path) -> None:
    program = "import benchmarks, fruit_cli, fruit_contract, fruit_features, fruit_lake, fruit_pipeline, local_cloud"
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=plain, check=True)
