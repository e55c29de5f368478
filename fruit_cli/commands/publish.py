"""Puts jobs, library, bootstrap action and embedder under `code/<release>/` of the lake, and makes that the current
release.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import obstore

from fruit_cli.arguments import ABOUT_THE_LAKE
from fruit_cli.lake.store import explained, open_store, put_last, read_object
from fruit_cli.lake.target import Target, target_option
from fruit_cli.lake.whereabouts import lake_of_target
from fruit_cli.release.content import Release, gather_release
from fruit_cli.release.embedder import exported_embedder
from fruit_cli.release.wheels import cluster_wheelhouse
from fruit_contract import lake, release
from local_cloud.keys import Role
from local_cloud.project import PROJECT
from local_cloud.stack.state import local_home, make_home

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import S3Store

    from fruit_cli.lake.connection import LakeConnection

_PARALLEL_UPLOADS: Final = 8


@click.command(epilog=ABOUT_THE_LAKE)
@click.option(
    "--weights",
    metavar="FILE",
    help="MobileNetV2's Keras file, or its s3:// address.  [default: the ImageNet weights, fetched once]",
)
@click.option(
    "--with-wheelhouse/--without-wheelhouse",
    default=None,
    help="Puts the nodes' wheels in the release, too, so that a cluster needs no package index.  [default: on AWS, "
    "with]",
)
@click.option(
    "--with-tensorflow", is_flag=True, help="Lets the nodes get TensorFlow, too, for FRUITS_ENGINE=tensorflow."
)
@target_option
def command(weights: str | None, *, with_wheelhouse: bool | None, with_tensorflow: bool, target: Target) -> int:
    """Puts jobs, library, bootstrap action and embedder under code/<release>/ of the lake, and makes that the current
    release.

    A release that is there already is not uploaded again, but for files of it that somebody changed. Type this after
    every change of the jobs.

    \b
    Example:
      FRUITS_LAKE_BUCKET=my-lake FRUITS_AWS_REGION=eu-west-1 python -m fruit_cli publish --target aws
    """
    if with_wheelhouse is None:
        with_wheelhouse = target is Target.AWS
    publish(lake_of_target(target), weights=weights, with_wheelhouse=with_wheelhouse, with_tensorflow=with_tensorflow)
    return 0


def publish(
    connection: LakeConnection,
    *,
    weights: str | None = None,
    with_wheelhouse: bool = False,
    with_tensorflow: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Publishes the project as it stands and returns the release's id. A release that is there already is not uploaded
    again.

    Files go first, then `release.json`, and the pointer `code/current.json` last: a broken upload changes nothing for
    anyone.

    Raises:
        CommandError: the bucket, the weights or a file of the project is missing, or the store refuses.
    """
    connection = connection.acting_as(Role.PUBLISHER)
    store = open_store(connection)
    with explained(connection):
        # Only a listing shows that a bucket is missing. That should be told before a first export takes half a minute.
        _sizes(store, lake.CURRENT_RELEASE_KEY)
        current = _read_json(store, lake.CURRENT_RELEASE_KEY)
    home = local_home()
    make_home(home)
    embedder = exported_embedder(connection, home, weights=weights, say=say)
    requirements = PROJECT / "requirements" / ("cluster-tensorflow.txt" if with_tensorflow else "cluster.txt")
    wheels = cluster_wheelhouse(requirements, home / "cache", say) if with_wheelhouse else []
    content = gather_release(embedder, requirements, wheels)
    with explained(connection):
        n_uploaded = _upload(store, content)
        if current != content.pointer():
            _say_if_embedder_changes(store, current.get(release.CURRENT_RELEASE), content, say)
            put_last(connection, store, lake.CURRENT_RELEASE_KEY, (json.dumps(content.pointer()) + "\n").encode())
    say(f"{n_uploaded} files uploaded, {len(content.files) + 1 - n_uploaded} were there already.")
    address = lake.uri(connection.bucket, lake.release_prefix(content.release_id))
    say(f"Current release: {content.release_id} with embedder {content.embedder_id}, {address}")
    return content.release_id


def _upload(store: S3Store, content: Release) -> int:
    """Uploads what is missing or differs, `release.json` after the rest, and returns how many files went up.

    It reads the files that are there already, because a listing does not show a changed byte.
    """
    prefix = lake.release_prefix(content.release_id)
    present = _sizes(store, prefix)

    def upload(name: str) -> bool:
        file = content.files[name]
        if present.get(prefix + name) == _size(file) and _sha256(store, prefix + name) == content.digests[name]:
            return False
        obstore.put(store, prefix + name, file)
        return True

    with ThreadPoolExecutor(_PARALLEL_UPLOADS) as pool:
        n_uploaded = sum(pool.map(upload, content.files))
    manifest = content.manifest()
    if not n_uploaded and read_object(store, prefix + release.RELEASE_MANIFEST) == manifest:
        return 0
    obstore.put(store, prefix + release.RELEASE_MANIFEST, manifest)
    return n_uploaded + 1


def _say_if_embedder_changes(store: S3Store, current: str | None, content: Release, say: Callable[[str], None]) -> None:
    if current is None:
        return
    embedder_id = _read_json(store, lake.release_prefix(current) + release.RELEASE_MANIFEST).get("embedder_id")
    if embedder_id not in (None, content.embedder_id):
        say(
            f"Note: the embedder changes from {embedder_id} to {content.embedder_id}: every image will be featurised "
            "anew."
        )


def _sha256(store: S3Store, key: str) -> str:
    digest = hashlib.sha256()
    for part in obstore.get(store, key):
        digest.update(part)
    return digest.hexdigest()


def _sizes(store: S3Store, prefix: str) -> dict[str, int]:
    return {entry["path"]: entry["size"] for page in obstore.list(store, prefix) for entry in page}


def _size(file: bytes | Path) -> int:
    return file.stat().st_size if isinstance(file, Path) else len(file)


def _read_json(store: S3Store, key: str) -> dict[str, Any]:
    """Returns the object's content, or {} if there is no such object, or none that can be read."""
    body = read_object(store, key)
    try:
        content = json.loads(body) if body else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
