from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fruit_contract.tables import RejectReason
from fruit_features.embedding import preprocessing
from fruit_features.embedding.colours import to_rgb
from fruit_features.embedding.containers.container import Container
from fruit_features.embedding.preprocessing import UnreadableImageError, decode_image, network_input

if TYPE_CHECKING:
    from pathlib import Path


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def picture(width: int = 100, height: int = 80) -> Image.Image:
    """Returns a picture with red above, green below left and blue below right, so that every turn and flip looks
    different.
    """
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2] = (220, 30, 30)
    pixels[height // 2 :, : width // 2] = (30, 200, 30)
    pixels[height // 2 :, width // 2 :] = (30, 30, 220)
    return Image.fromarray(pixels)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def test_gives_the_pixels_of_pillows_bicubic_stretch() -> None:
    decoded = decode_image(encode(picture()))

    expected = np.asarray(picture().resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.width, decoded.height) == (100, 80)


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_turns_a_photo_upright_as_its_exif_says(orientation: int, undo: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = picture().transpose(undo)

    decoded = decode_image(encode(stored, exif=exif))

    np.testing.assert_array_equal(decoded.pixels, decode_image(encode(picture())).pixels)
    assert (decoded.width, decoded.height) == (100, 80)


def test_a_turned_phone_photo_reports_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    decoded = decode_image(encode(picture(1600, 1200), "JPEG", exif=exif))

    assert (decoded.width, decoded.height) == (1200, 1600)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I", "F", "RGBA", "LA", "PA"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    image = picture().convert("L") if mode in {"I;16", "I", "F", "LA", "1"} else picture()
    image = (
        image.convert("I").point(lambda value: value * 256).convert("I;16") if mode == "I;16" else image.convert(mode)
    )
    file_format = "PNG" if mode in {"1", "L", "P", "I;16", "RGBA", "LA"} else "TIFF"

    if mode in {"HSV", "PA"}:  # no file format stores it, a decoder may still give it
        assert to_rgb(image, Container(b"")).mode == "RGB"
    else:
        decoded = decode_image(encode(image, file_format))
        assert np.abs(blocks(Image.fromarray(decoded.pixels)) - blocks(picture())).max() < 16


def blocks(image: Image.Image) -> np.ndarray:
    """Returns the mean grey of 4 x 4 blocks, which is nearly the same for a picture in few or many colours."""
    return np.asarray(image.convert("L").resize((4, 4), Image.Resampling.BOX), dtype=float)


def test_transparent_pixels_are_white() -> None:
    layer = picture().convert("RGBA")
    layer.putalpha(Image.new("L", layer.size, 0))
    palette = picture().quantize(8)
    palette.info["transparency"] = palette.getpixel((0, 0))

    assert decode_image(encode(layer)).pixels.min() == 255
    assert decode_image(encode(palette, transparency=palette.info["transparency"])).pixels[0, 0].tolist() == [
        255,
        255,
        255,
    ]


def test_half_transparent_pixels_mix_with_white() -> None:
    layer = Image.new("RGBA", (10, 10), (0, 0, 0, 128))

    assert decode_image(encode(layer)).pixels[100, 100].tolist() == [127, 127, 127]


def test_a_phone_photo_is_decoded_at_reduced_scale_and_looks_the_same() -> None:
    smooth = picture(40, 30).resize((4000, 3000), Image.Resampling.BICUBIC)
    content = encode(smooth, "JPEG", quality=92)

    decoded = decode_image(content)

    full = np.asarray(
        Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC), dtype=float
    )
    assert (decoded.width, decoded.height) == (4000, 3000)
    assert np.abs(decoded.pixels - full).mean() < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("side", "scale"), [(895, 1), (896, 2), (1791, 2), (1792, 4), (3583, 4), (3584, 8), (8000, 8)])
def test_the_smallest_dct_scale_that_keeps_448_pixels_is_chosen(
    side: int, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        preprocessing, "to_rgb", lambda image, *others: (seen.append(image.size), to_rgb(image, *others))[1]
    )

    decode_image(encode(Image.new("RGB", (side, side + 8)), "JPEG"))

    assert seen == [(-(-side // scale), -(-(side + 8) // scale))]


def test_a_png_is_never_decoded_at_reduced_scale() -> None:
    image = picture(1000, 1000)

    expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode_image(encode(image)).pixels, expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", RejectReason.EMPTY),
        (b"I am a letter, not a fruit", RejectReason.NOT_AN_IMAGE),
        (b"%PDF-1.7 and so on", RejectReason.NOT_AN_IMAGE),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", RejectReason.UNREADABLE),
        (encode(picture(), "JPEG")[:-200], RejectReason.TRUNCATED),
        (encode(picture(), "PNG")[:-60], RejectReason.TRUNCATED),
        (encode(picture(), "JPEG")[:20], RejectReason.UNREADABLE),
    ],
)
def test_what_gives_no_image_is_named(content: bytes, reason: RejectReason) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(content)

    assert caught.value.reason in (
        {reason, RejectReason.NOT_AN_IMAGE, RejectReason.TRUNCATED} if reason == RejectReason.UNREADABLE else {reason}
    )
    assert caught.value.detail


def test_an_image_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))

    with pytest.raises(UnreadableImageError) as caught:
        decode_image(bomb)

    assert caught.value.reason == RejectReason.TOO_LARGE


@pytest.mark.slow
def test_a_phone_photo_of_200_megapixels_is_decoded_at_reduced_scale() -> None:
    photo = encode(Image.new("RGB", (16_320, 12_240), (200, 30, 30)), "JPEG")

    decoded = decode_image(photo)

    assert (decoded.width, decoded.height) == (16_320, 12_240)
    assert np.abs(decoded.pixels[100, 100].astype(int) - (200, 30, 30)).max() <= 2


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_damaged_bytes_are_rejects_never_other_exceptions(file_format: str) -> None:
    random = np.random.default_rng(7)
    content = encode(picture(), file_format)
    for _ in range(60):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 12):
            damaged[position] = random.integers(0, 256)
        # Whatever else it may raise would fail this test, as it would fail a task.
        with contextlib.suppress(UnreadableImageError):
            assert decode_image(bytes(damaged)).pixels.shape == (224, 224, 3)


def test_the_network_sees_minus_one_to_one() -> None:
    pixels = np.array([0, 51, 255], dtype=np.uint8)

    values = network_input(pixels)

    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [-1.0, -0.6, 1.0], atol=1e-7)


def test_transparent_16_bit_grey_lies_over_white_too() -> None:
    levels = np.full((40, 60), 20_000, dtype=np.uint16)
    levels[:, 30:] = 7
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG")
    content = with_chunk(stream.getvalue(), b"tRNS", struct.pack(">H", 7))

    pixels = decode_image(content).pixels

    assert pixels[112, 20].tolist() == [20_000 >> 8] * 3
    assert pixels[112, 200].tolist() == [255] * 3


def test_a_quarter_turn_swaps_width_and_height_though_the_decoded_photo_is_square() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    decoded = decode_image(encode(picture(3001, 3004), "JPEG", exif=exif))

    assert (decoded.width, decoded.height) == (3004, 3001)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file_format", "mode", "side", "options"),
    [
        ("PNG", "RGBA", 7950, {"compress_level": 1}),
        ("PNG", "I;16", 7950, {"compress_level": 1}),
        ("PNG", "P", 7950, {"compress_level": 1, "transparency": 9}),
        ("PNG", "RGB", 7950, {"compress_level": 1, "exif": turned(6)}),
        ("JPEG", "RGB", 9000, {"progressive": True}),
        ("WEBP", "RGB", 5450, {"method": 0}),
        ("WEBP", "RGBA", 5000, {"method": 0, "exif": turned(6)}),
        ("JPEG2000", "RGB", 4800, {}),
        ("AVIF", "RGB", 5000, {"speed": 10}),
        ("TIFF", "RGB", 7900, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", "F", 7900, {"compression": "tiff_adobe_deflate"}),
        ("GIF", "P", 7900, {}),
    ],
)
def test_the_largest_images_fit_a_workers_memory(
    file_format: str, mode: str, side: int, options: dict[str, object], tmp_path: Path
) -> None:
    """In a process of its own, whose peak is only the decoding's."""
    path = tmp_path / "large"
    image = (
        Image.new("RGBA", (side, side), (200, 30, 30, 128)).convert(mode)
        if mode in {"RGB", "RGBA"}
        else Image.new(mode, (side, side), 9)
    )
    image.save(path, file_format, **options)
    program = (
        "import sys; from pathlib import Path; from fruit_features.embedding.preprocessing import decode_image; "
        "content = Path(sys.argv[1]).read_bytes(); decode_image(content); "
        "print(next(line.split()[1] for line in Path('/proc/self/status').read_text().splitlines() if "
        "line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)

    assert int(done.stdout) / 1024 < 700


def with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    """Returns the PNG with one more chunk before its pixels."""
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk + png[place:]
