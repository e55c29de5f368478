#!/usr/bin/env python
"""Asks which known vulnerabilities the pins of requirements/*.txt have, and prints them: `make audit`.

pip-audit asks OSV's database, or PyPI's if OSV can't be reached. A package that nobody was asked about may still have
vulnerabilities: an index that is a mirror often has no such database, and pip-audit then skips the package and ends
well.

The exit code is 0 if all were asked about and nothing is known, 1 if something is known, and 3 if some or all could not
be asked about.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT: Final = Path(__file__).resolve().parent.parent
# Together these have every pin of every group.
LOCKS: Final = ("all", "postgres", "cluster-tensorflow", "bench", "audit", "uv")
SERVICES: Final = ("osv", "pypi")
NOTHING_KNOWN, SOMETHING_KNOWN, NOT_ASKED = 0, 1, 3


@dataclass(frozen=True)
class Vulnerability:
    package: str
    version: str
    names: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class ServiceAnswer:
    """Holds what a service said. `asked` has the packages as `<name> <version>`; `not_asked` has the names that it
    knows nothing of, and why.
    """

    service: str
    asked: frozenset[str]
    not_asked: dict[str, str]
    known: tuple[Vulnerability, ...]


def main() -> int:
    """Asks one service after the other until one answers for every package, and returns the exit code."""
    best: ServiceAnswer | None = None
    for service in SERVICES:
        answer = read_answer(service, *_ask(service))
        if isinstance(answer, str):
            print(f"{service} can't be asked: {answer}")
            continue
        if best is None or len(answer.asked) > len(best.asked):
            best = answer
        if not answer.not_asked:
            break
    for line in report(best):
        print(line)
    return verdict(best)


def _ask(service: str) -> tuple[str, str]:
    """Returns pip-audit's standard output and its last line about an error."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "tool",
        "run",
        "--isolated",
        "--with-requirements",
        "requirements/audit.txt",
        "pip-audit",
    ]
    command += [
        "--disable-pip",
        "--no-deps",
        "--format",
        "json",
        "--aliases",
        "on",
        "--progress-spinner",
        "off",
        "--vulnerability-service",
    ]
    command += [service, *(word for lock in LOCKS for word in ("--requirement", f"requirements/{lock}.txt"))]
    finished = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return finished.stdout, (
        finished.stderr.strip().splitlines() or [f"pip-audit ended with exit code {finished.returncode}"]
    )[-1]


def read_answer(service: str, output: str, last_words: str) -> ServiceAnswer | str:
    """Returns what pip-audit found out, or a text that says why it found out nothing."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return last_words
    not_asked = {entry["name"]: entry["skip_reason"] for entry in dependencies if "skip_reason" in entry}
    asked = [entry for entry in dependencies if "skip_reason" not in entry]
    known = [
        Vulnerability(
            entry["name"], entry["version"], (found["id"], *found.get("aliases", ())), tuple(found["fix_versions"])
        )
        for entry in asked
        for found in entry["vulns"]
    ]
    return ServiceAnswer(
        service, frozenset(f"{entry['name']} {entry['version']}" for entry in asked), not_asked, tuple(known)
    )


def report(answer: ServiceAnswer | None) -> list[str]:
    """Returns the lines that a person reads."""
    if answer is None or not answer.asked:
        return ["No database of vulnerabilities could be asked about any package. This says nothing about them."]
    lines = [
        (
            f"{answer.service} was asked about {len(answer.asked)} packages and knows {len(answer.known)} "
            "vulnerabilities of them."
        )
    ]
    for found in answer.known:
        remedy = f"fixed in {', '.join(found.fixed_in)}" if found.fixed_in else "not fixed yet"
        lines.append(f"  {found.package} {found.version}: {' = '.join(found.names)}, {remedy}")
    if answer.known:
        lines.append("To take fixed versions: make lock UPGRADE=1, then make test.")
    if answer.not_asked:
        lines.append(f"It could not be asked about {len(answer.not_asked)}: {_some(sorted(answer.not_asked))}.")
    return lines


def verdict(answer: ServiceAnswer | None) -> int:
    """Returns the exit code. Known vulnerabilities outweigh packages that could not be asked about."""
    if answer is not None and answer.known:
        return SOMETHING_KNOWN
    return NOT_ASKED if answer is None or answer.not_asked or not answer.asked else NOTHING_KNOWN


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" and others" if len(names) > 10 else "")


if __name__ == "__main__":
    sys.exit(main())
