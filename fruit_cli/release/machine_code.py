"""Compiles the resizer of pictures for the processors of nodes.

The compiler comes as a wheel (`ziglang`), compiles for any processor on any other, and makes the same bytes of the same
source everywhere.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.errors import CommandError
from fruit_cli.release.wheels import ARCHITECTURES
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE: Final = "spark_jobs/fruit_features/embedding/resizing.c"
# The sums of Pillow's weights are not contracted either.
_OPTIONS: Final = ("-O3", "-g0", "-fPIC", "-ffreestanding", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")


def machine_code(project: Path = PROJECT) -> dict[str, bytes]:
    """Returns the resizer as a shared library for each kind of node, by its name in the release's library, as
    `fruit_features.embedding.resizing.code_name` has it.

    Raises:
        CommandError: the source is not there, or can't be compiled.
    """
    source = project / SOURCE
    if not source.is_file():
        raise CommandError(
            f"A release needs {source}, and it is not there. Restore it (`git status` shows what is missing)."
        )
    folder = Path(SOURCE).relative_to("spark_jobs").parent
    return {
        (folder / f"{source.stem}-{architecture}.elf").as_posix(): _compiled(source.read_bytes(), architecture)
        for architecture in ARCHITECTURES
    }


@cache
def _compiled(source: bytes, architecture: str) -> bytes:
    target = f"--target={architecture}-freestanding-none"
    with tempfile.TemporaryDirectory() as scratch:
        _zig(["cc", target, *_OPTIONS, "-x", "c", "-", "-c", "-o", "compiled.o"], scratch, source)
        _zig(["ld.lld", "-shared", "--strip-all", "-o", "linked.elf", "compiled.o"], scratch)
        return (Path(scratch) / "linked.elf").read_bytes()


def _zig(arguments: Sequence[str], scratch: str, source: bytes = b"") -> None:
    try:
        zig = distribution("ziglang").locate_file("ziglang/zig")
    except PackageNotFoundError:
        raise CommandError("A release needs the package ziglang: install requirements/embedder.txt.") from None
    caches = {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
    done = subprocess.run(
        [str(zig), *arguments], input=source, cwd=scratch, env=os.environ | caches, capture_output=True, check=False
    )
    if done.returncode:
        raise CommandError(f"{SOURCE} can't be compiled: {done.stderr.decode(errors='replace').strip()[-1000:]}")


if __name__ == "__main__":
    for name, code in machine_code().items():
        (PROJECT / "spark_jobs" / name).write_bytes(code)
