"""S3 on one machine: `rclone serve s3` over a folder. A bucket is a folder, an object a file.

AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... python -m local_cloud.s3_server --root FOLDER --port PORT
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

# How long rclone trusts what it has read of a folder. Steps write beneath it, and so may a person. One second costs 0.2 ms of CPU
# a request (no caching costs 14 ms in a folder of 2,000), needs no second control port to flush it, and the local EMR
# calls a step done only when it has passed.
DIRECTORY_CACHE_SECONDS: Final = 1.0

# For clients of this server: rclone gives back the checksum of a whole object with a part of it, which boto3 then refuses.
NO_OBJECT_CHECKSUMS: Final = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}


def s3_command(rclone: str, root: Path, host: str, port: int) -> list[str]:
    return [
        rclone,
        "serve",
        "s3",
        "--addr",
        f"{host}:{port}",
        "--vfs-cache-mode",
        "off",
        "--dir-cache-time",
        f"{DIRECTORY_CACHE_SECONDS:g}s",
        "--poll-interval",
        "0",
        "--log-level",
        "NOTICE",
        str(root),
    ]


def s3_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What rclone sees: the credentials, and nothing of the user's own rclone settings. Raises KeyError without credentials."""
    return {
        "PATH": environment.get("PATH", ""),
        "HOME": environment.get("HOME", ""),
        "TMPDIR": environment.get("TMPDIR", "/tmp"),  # noqa: S108  # the system's own default
        "LC_ALL": "C.UTF-8",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_AUTH_KEY": f'"{environment["AWS_ACCESS_KEY_ID"]},{environment["AWS_SECRET_ACCESS_KEY"]}"',
        **{name: value for name, value in environment.items() if name.startswith("FRUITS_LOCAL_")},
    }


def find_rclone() -> str | None:
    """The rclone of this environment, else one on the PATH."""
    return shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="local_cloud.s3_server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds the buckets")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bucket", action="append", default=[], help="a bucket to create if it isn't there; may be repeated")
    arguments = parser.parse_args(argv)
    rclone = find_rclone()
    if rclone is None:
        print("error: rclone is not installed: run `make setup`.", file=sys.stderr)
        return 1
    try:
        environment = s3_environment(os.environ)
    except KeyError as missing:
        print(f"error: set {missing} to the credentials S3 shall ask for.", file=sys.stderr)
        return 1
    for bucket in arguments.bucket:
        (arguments.root / bucket).mkdir(parents=True, exist_ok=True)
    arguments.root.mkdir(parents=True, exist_ok=True)
    return _become(rclone, s3_command(rclone, arguments.root, arguments.host, arguments.port), environment)


def _become(program: str, command: list[str], environment: dict[str, str]) -> NoReturn:
    os.execve(program, command, environment)  # noqa: S606  # rclone takes this process over: signals reach it, no shell is involved


if __name__ == "__main__":
    raise SystemExit(main())
