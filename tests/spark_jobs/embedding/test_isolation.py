from __future__ import annotations

import io
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fruit_contract.tables import RejectReason
from fruit_features.embedding import isolation
from fruit_features.embedding.isolation import decode, end_process
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a picture with these bytes in it does to the process that decodes it.
FAULTY_DECODER = """
    import os, sys, time
    from fruit_features.embedding import preprocessing

    decode = preprocessing.decode_image

    def faulty(content):
        # Of the program that decodes, for the pictures that follow.
        sys.modules["__main__"].DECODING_SECONDS = 1
        if b"crash" in content:
            os.abort()
        if b"leave" in content:
            os._exit(3)
        if b"compute" in content:
            while True:
                pass
        if b"wait" in content:
            time.sleep(600)
        if b"allocate" in content:
            return bytearray(2**31)
        return decode(content)

    preprocessing.decode_image = faulty
"""


def encoded(file_format: str = "PNG", size: tuple[int, int] = (40, 30), comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, file_format)
    return stream.getvalue() + comment


@pytest.fixture
def faulty_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gives a faulty decoder to the processes that decode apart."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(FAULTY_DECODER), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    end_process()
    yield
    end_process()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("apart", [False, True])
def test_pixels_are_the_same_wherever_they_are_decoded(file_format: str, apart: bool) -> None:
    decoded = decode(encoded(file_format), apart=apart)

    expected = decode_image(encoded(file_format))
    np.testing.assert_array_equal(decoded.pixels, expected.pixels)
    assert (decoded.width, decoded.height) == (expected.width, expected.height)


def test_what_is_no_image_is_the_same_reject_wherever_it_is_decoded() -> None:
    for content in (b"", b"no image", encoded("TIFF")[:40]):
        with pytest.raises(UnreadableImageError) as expected:
            decode_image(content)
        with pytest.raises(UnreadableImageError) as caught:
            decode(content, apart=True)
        assert (caught.value.reason, caught.value.detail) == (expected.value.reason, expected.value.detail)


@pytest.mark.slow
@pytest.mark.usefixtures("faulty_decoder")
@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        (b"crash", RejectReason.CRASHED_THE_DECODER, "was killed by SIGABRT"),
        (b"leave", RejectReason.CRASHED_THE_DECODER, "ended with status 3"),
        (b"compute", RejectReason.TOO_COSTLY, "more than 1 seconds of a core"),
        (b"wait", RejectReason.TOO_COSTLY, "more than 2 seconds"),
        (b"allocate", RejectReason.CRASHED_THE_DECODER, "ended with status 1"),
    ],
)
def test_a_picture_that_ends_or_stalls_its_decoder_is_rejected_and_the_next_one_is_decoded(
    fault: bytes, reason: RejectReason, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_STALLED_SECONDS", 2.0 if fault == b"wait" else 60.0)
    monkeypatch.setattr(isolation, "DECODING_SECONDS", 1)
    assert decode(encoded(), apart=True).width == 40

    with pytest.raises(UnreadableImageError) as caught:
        decode(encoded(comment=fault), apart=True)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert decode(encoded(), apart=True).width == 40


def test_a_process_that_cannot_start_fails_the_task_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(7)\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    end_process()

    with pytest.raises(ChildProcessError, match="did not start"):
        decode(encoded(), apart=True)
