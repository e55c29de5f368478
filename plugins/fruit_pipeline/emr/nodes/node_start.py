#!/usr/bin/env python3
"""Runs as the bootstrap action of every node: fetches a release, checks each of its files, and only then runs what it
brings.

    node_start.py s3://<bucket>/code/<release>/ <SHA-256 of its release.json>

Airflow puts this file into the lake, below `runs/`, where whoever may write `code/` can't, and says the digest in its
request for the cluster. So nothing that is checked here has a say in how. It runs on a bare node: Python 3.9, nothing
but the standard library.

FRUITS_RELEASE_FOLDER   where the release goes (default /opt/fruits/release)
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = "/opt/fruits/release"  # `fruit_contract.release.NODE_FOLDER`: a step finds its job there
MANIFEST = "release.json"
INSTALLER = "bootstrap/install_cluster_packages.sh"
ATTEMPTS = 4
# Wheels' names end in the machine that they are built for. Those for the other kind are not fetched.
FOREIGN_WHEELS = {"x86_64": "_aarch64.whl", "aarch64": "_x86_64.whl"}


class StartError(Exception):
    """Raised for what keeps a node from starting. The message says what to do."""


def main(arguments: list[str]) -> None:
    """Brings the release to this node and becomes its installer. Ends the process with exit code 1 if something of the
    release is missing or changed.
    """
    # Executors run as another user than this script.
    os.umask(0o022)
    folder = Path(os.environ.get("FRUITS_RELEASE_FOLDER", FOLDER))
    try:
        address, manifest_sha256 = read(arguments)
        machine = platform.machine()
        make_folder(folder)
        print(f"==> fetching {address} to {folder}", flush=True)
        fetch(address, folder, machine)
        check(address, folder, manifest_sha256, machine)
    except StartError as error:
        # A release that can't be trusted must not stay where a step would look for it.
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(f"bootstrap failed: {error}")
    print("==> every file of the release is as it was published", flush=True)
    installer = str(folder / INSTALLER)
    os.execvp("bash", ["bash", installer, str(folder)])  # noqa: S606


def read(arguments: list[str]) -> tuple[str, str]:
    """Returns the release's address and the digest of its list of files. Raises StartError for other arguments."""
    if len(arguments) != 2 or not arguments[0].startswith("s3://"):
        raise StartError(
            "reading the arguments. Call it as: node_start.py s3://<bucket>/code/<release>/ <SHA-256 of its "
            "release.json>"
        )
    return arguments[0], arguments[1]


def make_folder(folder: Path) -> None:
    """Makes an empty folder, with sudo where only root may make one."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except PermissionError:
        subprocess.run(["sudo", "mkdir", "-p", str(folder)], check=True)
        subprocess.run(["sudo", "chown", "-R", f"{os.getuid()}:{os.getgid()}", str(folder.parent)], check=True)


def fetch(address: str, folder: Path, machine: str) -> None:
    """Copies all that lies below the address, except wheels for another kind of machine. Raises StartError if that
    fails.
    """
    command = ["aws", "s3", "cp", "--recursive", "--only-show-errors", address, str(folder)]
    if machine in FOREIGN_WHEELS:
        command += ["--exclude", f"*{FOREIGN_WHEELS[machine]}"]
    for attempt in range(1, ATTEMPTS + 1):
        if subprocess.run(command, check=False).returncode == 0:
            return
        if attempt < ATTEMPTS:
            time.sleep(attempt * float(os.environ.get("FRUITS_RETRY_SECONDS", "3")))
    raise StartError(f"downloading {address}. Does the release exist, and may the node's instance profile read it?")


def check(address: str, folder: Path, manifest_sha256: str, machine: str) -> None:
    """Raises StartError unless the folder holds the files of the release with that digest, each as it was published.

    Other files in the folder are removed, because Python would import one beside a job for its name.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise StartError(
            f"downloading {address}{MANIFEST}: it is not there. Was the release published whole? Run `make publish` "
            "again."
        )
    require(address + MANIFEST, manifest, manifest_sha256)
    listed = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(there - {MANIFEST} - set(listed)):
        print(f"    {address}{name} is no file of the release: left out", flush=True)
        (folder / name).unlink()
    foreign = FOREIGN_WHEELS.get(machine)
    for name, sha256 in sorted(listed.items()):
        if name in there:
            require(address + name, folder / name, sha256)
        elif not (foreign and name.endswith(foreign)):
            raise StartError(changed(f"{address}{name} is not there."))


def require(address: str, file: Path, sha256: str) -> None:
    """Raises StartError if the file has another digest."""
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise StartError(changed(f"{address} has SHA-256 {found}, and was published with {sha256}."))


def changed(what: str) -> str:
    """Returns the message for a release that is not what Airflow planned with."""
    return (
        f"the release is not as it was published: {what} Nothing of it was run. See who wrote below code/, run `make "
        "publish`, which puts back what differs, and clear plan_run (with *downstream*, without *only failed*)."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
