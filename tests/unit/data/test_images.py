"""Whatever an image comes as, it leaves as the JPEG a person would expect, or as a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from evenclip.data import images
from evenclip.data.images import BadImage, quiet_decoding, to_jpeg

RED, BLUE = (220, 30, 30), (30, 30, 220)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def decoded(content: bytes, max_px: int | None = None) -> np.ndarray:
    jpeg = to_jpeg(content, max_px)
    image = Image.open(io.BytesIO(jpeg.content))
    assert (image.format, image.size) == ("JPEG", (jpeg.width, jpeg.height))
    assert image.getexif().get(0x0112, 1) == 1
    return np.asarray(image.convert("RGB")).astype(int)


def close(pixel: np.ndarray, colour: tuple[int, int, int], within: int = 12) -> bool:
    return bool(np.abs(pixel - colour).max() <= within)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_that_needs_no_change_keeps_its_bytes(mode, options):
    content = encoded(halves().convert(mode), "JPEG", **options)
    assert to_jpeg(content).content == content
    assert to_jpeg(content, max_px=20).content == content


@given(data=st.data(), progressive=st.booleans(), quality=st.integers(20, 95))
def test_a_damaged_jpeg_is_kept_if_all_pixels_can_be_decoded(data, progressive, quality):
    noise = np.random.default_rng(quality).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    content = bytearray(encoded(Image.fromarray(noise), "JPEG", quality=quality, progressive=progressive))
    for position in data.draw(st.lists(st.integers(2, len(content) - 1), max_size=4)):
        content[position] ^= data.draw(st.integers(1, 255))
    content = bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])

    def whole() -> bool:
        try:
            Image.open(io.BytesIO(content), formats=("JPEG",)).load()
        except Exception:
            return False
        return True

    with quiet_decoding():
        expected = whole()
        try:
            kept = bool(to_jpeg(content).content)
        except BadImage:
            kept = False
    assert kept == expected


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_become_jpeg(kind):
    pixels = decoded(encoded(halves(), kind))
    assert close(pixels[10, 5], RED) and close(pixels[10, 35], BLUE)


@pytest.mark.parametrize(
    ("orientation", "red"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
@pytest.mark.parametrize("max_px", [None, 10])
def test_exif_orientation_is_applied_and_removed(orientation, red, max_px):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decoded(encoded(halves(), "JPEG", exif=exif), max_px)
    height, width = pixels.shape[:2]
    assert min(height, width) == (max_px or 20)
    at = {
        "left": (height // 2, width // 8), "right": (height // 2, width - 1 - width // 8),
        "top": (height // 8, width // 2), "bottom": (height - 1 - height // 8, width // 2),
    }  # fmt: skip
    assert (width > height) == (red in ("left", "right"))
    assert close(pixels[at[red]], RED, within=40)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_a_damaged_exif_block_does_not_cost_the_image(noise, start):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    content = bytearray(encoded(halves(), "JPEG", exif=exif))
    block = content.index(b"Exif\0\0") + 6
    length = int.from_bytes(content[block - 8 : block - 6]) - 8
    start = min(start, length)
    content[block + start : block + min(length, start + len(noise))] = noise[: length - start]
    with quiet_decoding():
        assert to_jpeg(bytes(content)).width in (20, 40)


def test_cmyk_jpeg_shows_its_colours():
    assert close(decoded(encoded(halves().convert("CMYK"), "JPEG"))[10, 5], RED)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(16, axis=0)
    pixels = decoded(encoded(Image.fromarray(ramp), "PNG"))
    assert np.abs(pixels[8, :, 0] - ramp[8] / 257).max() < 6


def test_transparent_pixels_lie_on_white():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 16, 32))
    for content in (
        encoded(image, "PNG"),
        encoded(image.convert("P"), "PNG", transparency=0),
        encoded(image, "WEBP", lossless=True),
    ):
        assert close(decoded(content)[16, 28], (255, 255, 255))
    assert close(decoded(encoded(image, "PNG"))[16, 4], RED)


def test_palette_image_shows_its_colours():
    assert close(decoded(encoded(halves().quantize(8), "PNG"))[10, 35], BLUE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind):
    first, second = Image.new("RGB", (24, 24), RED), Image.new("RGB", (24, 24), BLUE)
    content = encoded(first, kind, save_all=True, append_images=[second])
    assert close(decoded(content)[12, 12], RED)


def test_colour_profile_does_not_stop_it():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert close(decoded(encoded(halves(), "PNG", icc_profile=profile))[10, 5], RED)


def test_long_text_costs_no_pixels_unless_it_is_a_bomb():
    long, bomb = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    long.add_text("comment", "x" * 3_000_000)
    bomb.add_text("comment", "x" * 3_000_000, zip=True)
    assert close(decoded(encoded(halves(), "PNG", pnginfo=long))[10, 5], RED)
    with pytest.raises(BadImage, match="MAX_TEXT_CHUNK"):
        to_jpeg(encoded(halves(), "PNG", pnginfo=bomb))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_one_pixel_is_an_image(kind):
    assert decoded(encoded(Image.new("RGB", (1, 1), RED), kind)).shape == (1, 1, 3)


@settings(deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), max_px=st.integers(16, 64))
def test_shrinking_sets_the_shorter_side_and_keeps_the_shape(width, height, max_px):
    jpeg = to_jpeg(encoded(Image.new("RGB", (width, height), RED), "JPEG"), max_px)
    assert min(jpeg.width, jpeg.height) == min(width, height, max_px)
    longer = max(width, height) * min(1, max_px / min(width, height))
    assert abs(max(jpeg.width, jpeg.height) - longer) <= 0.5


def test_shrinking_averages_what_lies_between():
    """Stripes of one pixel become grey: no aliasing."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    for kind in ("JPEG", "PNG"):
        pixels = decoded(encoded(Image.fromarray(stripes), kind, quality=100), max_px=16)
        assert np.abs(pixels - 127).max() < 25


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6])
def test_a_file_cut_off_is_unreadable(kind, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(BadImage) as error:
        to_jpeg(content[: int(kept * len(content))])
    assert error.value.reason == "unreadable_image"
    assert error.value.detail


@pytest.mark.parametrize(
    "content",
    [
        b"<html>404</html>",
        b"\xff\xd8\xff",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x00" * 4096,
        b"GIF89a",
    ],
)
def test_what_is_no_image_is_unreadable(content):
    with pytest.raises(BadImage, match="unreadable_image") as error:
        to_jpeg(content)
    assert " at 0x" not in error.value.detail  # quarantine tables are the same in every run


def png_of_size(width: int, height: int) -> bytes:
    """A PNG header that promises width x height pixels of one bit: a bomb of a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side, quiet, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(BadImage, match="image_too_large"):
        if quiet:
            with quiet_decoding():
                to_jpeg(png_of_size(side, side))
        else:
            to_jpeg(png_of_size(side, side))


def test_the_limit_is_below_pillows_own():
    assert Image.MAX_IMAGE_PIXELS > images.MAX_PIXELS


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]), st.data())
def test_hostile_bytes_give_an_image_or_a_reason(noise, kind, data):
    content = bytearray(encoded(halves(16, 16), kind))
    start = data.draw(st.integers(0, len(content)))
    content[start : start + len(noise)] = noise
    try:
        with quiet_decoding():
            jpeg = to_jpeg(bytes(content))
    except BadImage as error:
        assert error.reason in ("unreadable_image", "image_too_large")
    else:
        assert jpeg.content.startswith(b"\xff\xd8")
