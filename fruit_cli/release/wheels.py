"""Fetches wheels from the package index with pip: exact pins only, every hash checked, kept under the local home."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

# What an EMR 7 node has: Amazon Linux 2023 (glibc 2.34), Python 3.11, and a processor of either kind.
ARCHITECTURES: Final = ("x86_64", "aarch64")
_GLIBC_MINORS: Final = range(34, 16, -1)
_NODE_PYTHON: Final = (
    "--implementation",
    "cp",
    "--python-version",
    "3.11",
    "--abi",
    "cp311",
    "--abi",
    "abi3",
    "--abi",
    "none",
)
# TensorFlow publishes these for x86-64 only; the plan refuses that engine on other nodes.
_ONE_ARCHITECTURE: Final = "tensorflow-cpu=="


def cluster_wheelhouse(requirements: Path, cache: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Returns the wheels that nodes of each architecture install for `requirements`, sorted by name. They are fetched
    once for the same pins.
    """
    architectures = node_architectures(requirements)
    directory = cache / f"wheelhouse-{'-'.join(architectures)}-{file_sha256(requirements)[:16]}"
    if not directory.is_dir():
        say(
            f"Fetching the cluster's wheels for {requirements.name}, {' and '.join(architectures)} (once for these "
            "pins) ..."
        )
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fetched = Path(scratch) / "wheels"
            for architecture in architectures:
                what = f"The cluster's wheels ({requirements.name}) for {architecture}"
                fetch_wheels(requirements, fetched, *node_options(architecture), what=what)
            shutil.rmtree(directory, ignore_errors=True)
            fetched.rename(directory)
    return sorted(directory.glob("*.whl"))


def node_architectures(requirements: Path) -> tuple[str, ...]:
    """Returns the architectures for which everything that is pinned has a wheel."""
    return ARCHITECTURES[:1] if _ONE_ARCHITECTURE in requirements.read_text(encoding="utf-8") else ARCHITECTURES


def node_options(architecture: str) -> tuple[str, ...]:
    """Returns the options that tell pip of a node's system. Each version of glibc is named, because pip takes the name
    of one for that one alone.
    """
    names = (f"manylinux2014_{architecture}", *(f"manylinux_2_{minor}_{architecture}" for minor in _GLIBC_MINORS))
    return (*(option for name in names for option in ("--platform", name)), *_NODE_PYTHON)


def fetch_wheels(requirements: Path, directory: Path, *platform: str, what: str) -> None:
    """Fetches exactly the pinned wheels into `directory`, with this machine's own index settings.

    Raises:
        CommandError: the index can't be reached, or a wheel or its hash is not what is pinned. `what` begins the
        message.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", *platform]
    command += ["--dest", str(directory), "--requirement", str(requirements)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        errors = " ".join(line.strip() for line in finished.stderr.splitlines() if line.startswith("ERROR"))
        raise CommandError(
            f"{what} can't be fetched from the package index: {errors or finished.stderr[-500:]} "
            "Check the network and pip's index settings (`pip config list`)."
        )


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
