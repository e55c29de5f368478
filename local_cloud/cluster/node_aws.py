"""The part of the AWS command line that a cluster's machine is asked for, against the local S3.

    aws s3 cp SOURCE TARGET [--recursive] [--exclude PATTERN ...] [--only-show-errors | --quiet]
    aws s3 ls s3://BUCKET/PREFIX

Options and exit codes are those of the real one; a SOURCE or TARGET of `-` is standard input or output.
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fruit_contract.lake import LakeNameError, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="aws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--region", help="accepted; the local S3 has one")
    services = parser.add_subparsers(dest="service", required=True)
    commands = services.add_parser("s3").add_subparsers(dest="command", required=True)
    copy = commands.add_parser("cp")
    copy.add_argument("source")
    copy.add_argument("target")
    copy.add_argument("--recursive", action="store_true")
    copy.add_argument("--exclude", action="append", default=[])
    copy.add_argument("--only-show-errors", "--quiet", "--no-progress", dest="quiet", action="store_true")
    copy.add_argument("--region", help=argparse.SUPPRESS)
    listing = commands.add_parser("ls")
    listing.add_argument("address")
    listing.add_argument("--recursive", action="store_true")
    listing.add_argument("--region", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    try:
        if arguments.command == "ls":
            return list_objects(s3, arguments.address, recursive=arguments.recursive, say=print)
        say = _say_nothing if arguments.quiet else print
        copy_objects(
            s3, arguments.source, arguments.target, recursive=arguments.recursive, exclude=arguments.exclude, say=say
        )
    except (BotoCoreError, ClientError, LakeNameError, OSError) as error:
        print(f"fatal error: {error}", file=sys.stderr)
        return 1
    return 0


def list_objects(s3: Any, address: str, *, recursive: bool, say: Callable[[str], None]) -> int:
    """Prints size and name of what is there. Returns the exit code: 1 if nothing is there, as the real one does."""
    bucket, prefix = split_uri(address)
    options = {} if recursive else {"Delimiter": "/"}
    found = False
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **options):
        for folder in page.get("CommonPrefixes", []):
            found = True
            say(f"PRE {folder['Prefix'].rstrip('/').rpartition('/')[2]}/")
        for item in page.get("Contents", []):
            found = True
            name = item["Key"] if recursive else item["Key"].rpartition("/")[2]
            say(f"{item['LastModified']:%Y-%m-%d %H:%M:%S} {item['Size']:>10} {name}")
    return 0 if found else 1


def copy_objects(
    s3: Any, source: str, target: str, *, recursive: bool, exclude: Sequence[str] = (), say: Callable[[str], None]
) -> None:
    """Copies one object, or with `recursive` everything below a prefix or folder.

    `exclude` leaves out what it matches when a prefix is downloaded. Raises LakeNameError if neither side is on S3.
    """
    if recursive and source.startswith("s3://"):
        bucket, prefix = split_uri(source)
        prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        for key in _keys(s3, bucket, prefix):
            if any(fnmatch(key.removeprefix(prefix), pattern) for pattern in exclude):
                continue
            _download(s3, bucket, key, _inside(Path(target), key.removeprefix(prefix)), say)
    elif recursive:
        bucket, prefix = split_uri(target)
        for file in sorted(path for path in Path(source).rglob("*") if path.is_file()):
            _upload(
                s3,
                file,
                bucket,
                "/".join(part for part in (prefix.rstrip("/"), file.relative_to(source).as_posix()) if part),
                say,
            )
    elif source.startswith("s3://"):
        bucket, key = split_uri(source)
        if target == "-":
            sys.stdout.buffer.write(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            return
        folder_meant = target.endswith("/") or Path(target).is_dir()
        _download(s3, bucket, key, Path(target) / key.rpartition("/")[2] if folder_meant else Path(target), say)
    else:
        bucket, key = split_uri(target)
        if source == "-":
            s3.put_object(Bucket=bucket, Key=key, Body=sys.stdin.buffer.read())
            return
        _upload(s3, Path(source), bucket, f"{key}{Path(source).name}" if not key or key.endswith("/") else key, say)


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                yield item["Key"]


def _inside(folder: Path, relative: str) -> Path:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise OSError(f"the key '{relative}' would be written outside {folder}")
    return target


def _download(s3: Any, bucket: str, key: str, target: Path, say: Callable[[str], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    s3.download_file(bucket, key, str(target))
    say(f"download: s3://{bucket}/{key} to {target}")


def _upload(s3: Any, source: Path, bucket: str, key: str, say: Callable[[str], None]) -> None:
    s3.upload_file(str(source), bucket, key)
    say(f"upload: {source} to s3://{bucket}/{key}")


def _say_nothing(_: str) -> None: ...


if __name__ == "__main__":
    raise SystemExit(main())
