"""Wheels fetched from the package index by pip: exact pins only, every hash checked, kept under the local home."""

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

# An EMR 7 node: Amazon Linux 2023 (glibc 2.34) on x86_64, with Python 3.11. It runs what was built for any glibc up to its own, and pip
# takes only those that are named.
_NODE_PLATFORMS: Final = (*(f"manylinux_2_{minor}_x86_64" for minor in range(34, 16, -1)), "manylinux2014_x86_64")
_NODE_OPTIONS: Final = (
    *(option for platform in _NODE_PLATFORMS for option in ("--platform", platform)),
    *("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--abi", "abi3", "--abi", "none"),
)


def cluster_wheelhouse(requirements: Path, cache: Path, say: Callable[[str], None] = print) -> list[Path]:
    """The wheels that a node installs for `requirements`, sorted by name; fetched once for the same pins."""
    directory = cache / f"wheelhouse-{file_sha256(requirements)[:16]}"
    if not directory.is_dir():
        say(f"Fetching the cluster's wheels for {requirements.name} (once for these pins) ...")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fetched = Path(scratch) / "wheels"
            fetch_wheels(requirements, fetched, *_NODE_OPTIONS, what=f"The cluster's wheels ({requirements.name})")
            shutil.rmtree(directory, ignore_errors=True)
            fetched.rename(directory)
    return sorted(directory.glob("*.whl"))


def fetch_wheels(requirements: Path, directory: Path, *platform: str, what: str) -> None:
    """Fetches exactly the pinned wheels into `directory`, with this machine's own index settings.

    Raises:
        CommandError: the index can't be reached, or a wheel or its hash is not what is pinned. `what` begins the message.
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
