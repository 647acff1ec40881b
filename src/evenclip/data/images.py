"""Conversion of untrusted images to JPEG that every reader shows in the same way.

A JPEG that needs no change keeps its bytes. Any other image is turned upright (EXIF), laid on white where it is
transparent, converted to 8-bit RGB, reduced to its first frame and encoded at `QUALITY`.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

MAX_PIXELS = 80_000_000  # below Pillow's own limit; a decoded RGB image of 240 MB
MAX_BYTES = 256 * 2**20
QUALITY = 95
MAX_COMMENT = 16_000  # characters of up to 4 bytes: what fits into a JPEG; a PNG may hold more
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")  # no others: some (EPS) would start programs
# EXIF orientation -> what turns the image upright; Pillow's own exif_transpose fails on EXIF blocks that are damaged
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(Exception):
    """The bytes cannot be used: ``reason`` is ``"unreadable_image"`` or ``"image_too_large"``."""

    def __init__(self, reason: str, detail: str):
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class JpegImage:
    """JPEG bytes with their width and height in pixels."""

    content: bytes
    width: int
    height: int


def to_jpeg(content: bytes, max_px: int | None = None, box: tuple[int, int, int, int] | None = None) -> JpegImage:
    """Decode ``content`` whole and return it as an upright 8-bit JPEG.

    Parameters
    ----------
    content : bytes
        A JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file.
    max_px : int, optional
        Shrink the image until its shorter side is at most this many pixels.
    box : tuple of int, optional
        Left, top, width and height of the part to keep, in pixels of the file; what lies outside the image is cut off.

    Raises
    ------
    BadImage
        If the bytes are no image, are cut off, would decode to more than `MAX_PIXELS` pixels, or ``box`` is empty.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage("image_too_large", f"{image.width} x {image.height} pixels")
            return _normalised(image if box is None else _cropped(image, box), content, max_px)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage("image_too_large", str(error)) from None
    except UnidentifiedImageError:  # its message names a memory address
        raise BadImage("unreadable_image", f"not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None
    except BadImage:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on hostile bytes
        raise BadImage("unreadable_image", f"{type(error).__name__}: {error}"[:200]) from None


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """Keep Pillow's warnings about odd files out of the log; what matters of them comes as `BadImage`."""
    Image.init()  # all readers at once: not from several threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _normalised(image: Image.Image, content: bytes, max_px: int | None) -> JpegImage:
    is_jpeg = image.format in ("JPEG", "MPO")  # MPO: a camera's JPEG with further pictures behind the first
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    shrink = max_px is not None and min(image.size) > max_px
    if is_jpeg and turn is None and not shrink and image.mode in ("RGB", "L"):
        size = image.size
        image.draft(None, (1, 1))  # every coefficient is read, which shows a cut, but an eighth of the pixels made
        image.load()
        return JpegImage(content, *size)
    if shrink:
        scale = max_px / min(image.size)
        size = [max(max_px, round(side * scale)) for side in image.size]
        if is_jpeg:
            image.draft(None, [2 * side for side in size])  # decodes at 1/2, 1/4 or 1/8: fast, and no aliasing
    rgb = _to_rgb(image)
    if shrink:
        rgb = rgb.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)  # as sharp as bicubic, a third cheaper
    if turn is not None:
        rgb = rgb.transpose(turn)
    if len(rgb.info.get("comment", "")) > MAX_COMMENT:
        del rgb.info["comment"]
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG", quality=QUALITY)
    return JpegImage(buffer.getvalue(), *rgb.size)


def _cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), box[0] + box[2], box[1] + box[3]
    right, bottom = min(image.width, right), min(image.height, bottom)
    if left >= right or top >= bottom:
        raise BadImage("unreadable_image", f"the box {box} holds nothing of {image.width} x {image.height} pixels")
    return image.crop((left, top, right, bottom))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it to white
        grey = np.asarray(image).astype(np.int64)
        image = Image.fromarray((grey >> 8 if grey.max(initial=0) > 255 else grey).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        raise BadImage("unreadable_image", "pixels are floating-point numbers")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
