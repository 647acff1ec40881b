"""How a scene of the embedded world is painted; reads and writes nothing.

All coordinates are shares of the image's side, x to the right and y downwards. Pictures are painted at twice their
size and halved, which smooths the edges. The settings are pale, so that the objects' colours stand out, and figures
and tools keep to colours that no object has.
"""

import io
import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from evenclip.data.world.scene import RADIUS, Figure, Scene, Thing

Rgb = tuple[int, int, int]

PAINT = {
    "red": (178, 108, 112), "pink": (172, 105, 140), "purple": (150, 108, 165), "blue": (122, 118, 168),
    "green": (118, 142, 130), "yellow": (160, 146, 100),
}  # fmt: skip
"""Near hues of little chroma: in at least one channel, two colours are more than twice `TINT` apart."""
TINT = 6
"""An object's paint differs from its colour by up to so many grey levels in each channel."""
LIGHT = 10
"""The light shifts a whole picture by up to so many grey levels in each channel: colours are told by their background.
"""
# The clothes of an unmarked figure are the mean of the groups' clothes: neither group is nearer.
CLOTHES = {"zubbin": (160, 115, 75), "tamlet": (80, 115, 165)}
UNMARKED_CLOTHES = (120, 115, 120)
SKIN, DARK, CRATE = (205, 195, 185), (35, 35, 40), (170, 165, 160)
FIGURE_HALF = (0.27, 0.36)
"""Half the width and half the height of a figure with its tool."""
PERSON_PART = 0.38
"""Share of that width that the figure itself has."""
BLUR = 0.1
"""Radius of the blur of a blurred tool."""
LIGHT_ACROSS, LIGHT_DOWN = (-26, -2, 22), (-16, -16, -16)
"""Change of the background's colour from its middle to the right and to the lower edge, in grey levels: warm light from
the upper left, so that a small part of a picture tells where it lies."""
NOISE_TILES = 4
NOISE_MARGIN = 96
"""Noise is cut out of tiles whose side is this much longer than the picture's: 9,216 places in each."""


def draw_jpeg(scene: Scene, rng: np.random.Generator, image_px: int, noise: float) -> bytes:
    """Paint ``scene`` and encode it: quality 92 without chroma subsampling, so that small coloured shapes survive."""
    buffer = io.BytesIO()
    Image.fromarray(render(scene, rng, image_px, noise)).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def render(scene: Scene, rng: np.random.Generator, image_px: int, noise: float) -> np.ndarray:
    """Paint ``scene``.

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator
        Draws the objects' tints, the light of the picture and the pixel noise.
    image_px : int
        Side of the picture in pixels.
    noise : float
        Standard deviation of the pixel noise, in grey levels.

    Returns
    -------
    ndarray of uint8, shape (image_px, image_px, 3)
    """
    picture = _background(scene.setting, image_px).copy()
    brush = _Brush(picture)
    if scene.figure:
        _paint_figure(brush, scene.figure)
    for thing in scene.things:
        _paint_thing(brush, thing, _tinted(PAINT[thing.color], rng))
    pixels = np.array(picture.reduce(2), dtype=np.float32)
    pixels += rng.uniform(-LIGHT, LIGHT, 3).astype(np.float32)
    tile, top, left = rng.integers((NOISE_TILES, NOISE_MARGIN, NOISE_MARGIN))
    pixels += np.float32(noise) * _noise_tiles(image_px)[tile, top : top + image_px, left : left + image_px]
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def thing_box(thing: Thing) -> tuple[float, float, float, float]:
    """The object's box (left, top, right, bottom), in shares of the side."""
    radius = RADIUS[thing.size]
    return thing.x - radius, thing.y - radius, thing.x + radius, thing.y + radius


def figure_boxes(figure: Figure) -> dict[str, tuple[float, float, float, float]]:
    """Boxes (left, top, right, bottom) of the figure itself and of its tool, in shares of the side."""
    half_x, half_y = FIGURE_HALF
    left, right, bottom = figure.x - half_x, figure.x + half_x, figure.y + half_y
    middle = left + PERSON_PART * (right - left)
    return {
        "person": (left, figure.y - half_y, middle, bottom),
        "tool": (middle, figure.y - half_y * 0.8, right, bottom),
    }


class _Brush:
    """Paints in shares of the side, moved and stretched by ``frame``: (x, y, scale_x, scale_y)."""

    def __init__(self, picture: Image.Image, frame: tuple[float, float, float, float] = (0, 0, 1, 1)):
        self.picture, self.frame = picture, frame
        self._draw, self._side = ImageDraw.Draw(picture), picture.width

    def within(self, box: tuple[float, float, float, float]) -> "_Brush":
        """A brush for which ``box`` is the square from (-1, -1) to (1, 1)."""
        left, top, right, bottom = box
        frame = ((left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2)
        return _Brush(self.picture, frame)

    def _at(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        x0, y0, scale_x, scale_y = self.frame
        return [((x0 + x * scale_x) * self._side, (y0 + y * scale_y) * self._side) for x, y in points]

    def polygon(self, points: list[tuple[float, float]], color: Rgb) -> None:
        self._draw.polygon(self._at(points), fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: Rgb) -> None:
        self._draw.rectangle(self._at([(left, top), (right, bottom)]), fill=color)

    def oval(self, left: float, top: float, right: float, bottom: float, color: Rgb) -> None:
        self._draw.ellipse(self._at([(left, top), (right, bottom)]), fill=color)

    def hoop(self, left: float, top: float, right: float, bottom: float, color: Rgb, width: float) -> None:
        """An oval's outline; ``width`` in units of the frame."""
        line = max(1, round(width * self.frame[2] * self._side))
        self._draw.ellipse(self._at([(left, top), (right, bottom)]), outline=color, width=line)

    def blur(self, radius: float) -> None:
        """Blur the frame; ``radius`` in shares of the side."""
        x0, y0, scale_x, scale_y = self.frame
        edges = (x0 - scale_x, y0 - scale_y, x0 + scale_x, y0 + scale_y)
        box = tuple(min(max(round(edge * self._side), 0), self._side) for edge in edges)
        self.picture.paste(self.picture.crop(box).filter(ImageFilter.BoxBlur(radius * self._side)), box)

    def half_disc(self, left: float, top: float, right: float, bottom: float, color: Rgb) -> None:
        """The upper half of an oval."""
        self._draw.pieslice(self._at([(left, top), (right, bottom)]), 180, 360, fill=color)


def _star_points() -> list[tuple[float, float]]:
    turns = [(math.pi * k / 5, 1.0 if k % 2 == 0 else 0.42) for k in range(10)]
    return [(r * math.sin(angle), -r * math.cos(angle)) for angle, r in turns]


_POLYGONS = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (1, 0.85), (-1, 0.85)],
    "star": _star_points(),
    "cross": [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
              (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
}  # fmt: skip


def _tinted(color: Rgb, rng: np.random.Generator) -> Rgb:
    return tuple(int(level + shift) for level, shift in zip(color, rng.uniform(-TINT, TINT, 3), strict=True))


def _paint_thing(brush: _Brush, thing: Thing, color: Rgb) -> None:
    brush = brush.within(thing_box(thing))
    if thing.shape == "circle":
        brush.oval(-0.95, -0.95, 0.95, 0.95, color)
    elif thing.shape == "ring":
        brush.hoop(-1, -1, 1, 1, color, width=0.42)
    else:
        brush.polygon(_POLYGONS[thing.shape], color)


def _paint_figure(brush: _Brush, figure: Figure) -> None:
    boxes = figure_boxes(figure)
    body = brush.within(boxes["person"])
    clothes = CLOTHES[figure.group] if figure.marked else UNMARKED_CLOTHES
    body.polygon([(-0.45, -0.2), (0.45, -0.2), (0.95, 1), (-0.95, 1)], clothes)
    body.oval(-0.55, -0.65, 0.55, -0.08, SKIN)
    if figure.marked and figure.group == "zubbin":  # a pointed hat
        body.polygon([(0, -1), (0.62, -0.42), (-0.62, -0.42)], clothes)
    elif figure.marked:  # a flat hat with a wide brim
        body.box(-0.5, -0.82, 0.5, -0.5, clothes)
        body.box(-1, -0.56, 1, -0.42, clothes)
    tool = brush.within(boxes["tool"])
    if figure.tool == "hidden":
        tool.box(-0.9, -0.9, 0.9, 1, CRATE)
        return
    _paint_tool(tool, figure.occupation)
    if figure.tool == "blurred":
        tool.blur(BLUR)


def _paint_tool(brush: _Brush, occupation: str) -> None:
    match occupation:
        case "lorker":  # mallet
            brush.box(-0.12, -0.5, 0.12, 1, DARK)
            brush.box(-0.8, -1, 0.8, -0.45, DARK)
        case "trunder":  # ladder
            for x in (-0.75, 0.5):
                brush.box(x, -1, x + 0.25, 1, DARK)
            for y in (-0.7, -0.2, 0.3, 0.8):
                brush.box(-0.75, y - 0.08, 0.75, y + 0.08, DARK)
        case "jorper":  # umbrella
            brush.half_disc(-1, -1, 1, 0.3, DARK)
            brush.box(-0.1, -0.4, 0.1, 1, DARK)
        case "nolster":  # bucket
            brush.hoop(-0.75, -0.25, 0.75, 1, DARK, width=0.18)
            brush.polygon([(-0.9, 0.2), (0.9, 0.2), (0.65, 1), (-0.65, 1)], DARK)
        case "dasker":  # flag
            brush.box(-0.85, -1, -0.6, 1, DARK)
            brush.polygon([(-0.6, -1), (1, -0.55), (-0.6, -0.1)], (250, 250, 250))
            brush.polygon([(-0.6, -0.78), (0.2, -0.55), (-0.6, -0.32)], DARK)
        case "felster":  # wheel
            brush.hoop(-1, 0.02, 1, 1, DARK, width=0.28)
            brush.box(-0.12, 0.1, 0.12, 0.95, DARK)
            brush.box(-0.9, 0.44, 0.9, 0.58, DARK)
        case "plorer":  # fork
            brush.box(-0.12, -0.3, 0.12, 1, DARK)
            brush.box(-0.85, -0.35, 0.85, -0.15, DARK)
            for x in (-0.85, -0.12, 0.61):
                brush.box(x, -1, x + 0.24, -0.2, DARK)
        case "gelker":  # kite
            brush.polygon([(0, -1), (0.85, -0.4), (0, 0.35), (-0.85, -0.4)], DARK)
            brush.polygon([(0, -0.7), (0.4, -0.4), (0, -0.05), (-0.4, -0.4)], (250, 250, 250))
            brush.box(-0.07, 0.3, 0.07, 1, DARK)


@cache
def _noise_tiles(image_px: int) -> np.ndarray:
    """Standard normal noise, drawn once, from which each picture's noise is cut: far cheaper than drawing it anew."""
    side = image_px + NOISE_MARGIN
    return np.random.default_rng(0).standard_normal((NOISE_TILES, side, side, 3), dtype=np.float32)


@cache
def _background(setting: str, image_px: int) -> Image.Image:
    """The setting, at twice the size, painted once."""
    sky, ground = {
        "yard": ((222, 236, 246), (196, 222, 178)),
        "kitchen": ((246, 240, 226), (246, 240, 226)),
        "harbor": ((228, 238, 244), (160, 196, 222)),
        "forest": ((214, 228, 208), (190, 205, 180)),
        "market": ((240, 232, 236), (222, 210, 214)),
        "studio": ((236, 236, 240), (206, 206, 214)),
        "tunnel": ((168, 166, 172), (150, 148, 154)),
        "desert": ((250, 236, 208), (238, 212, 160)),
    }[setting]
    picture = Image.new("RGB", (2 * image_px, 2 * image_px), sky)
    brush = _Brush(picture)
    brush.box(0, 0.6, 1, 1, ground)
    match setting:
        case "yard":  # a fence
            for k in range(8):
                brush.box(k / 8 + 0.02, 0.42, k / 8 + 0.09, 0.62, (248, 248, 244))
        case "kitchen":  # tiles
            for k in range(36):
                if (k // 6 + k) % 2:
                    brush.box(k % 6 / 6, k // 6 / 6, (k % 6 + 1) / 6, (k // 6 + 1) / 6, (226, 214, 190))
        case "harbor":  # waves
            for k in range(3):
                brush.box(0, 0.68 + 0.11 * k, 1, 0.71 + 0.11 * k, (196, 220, 236))
        case "forest":  # trunks
            for k in range(5):
                brush.box(k / 5 + 0.05, 0, k / 5 + 0.12, 1, (166, 182, 156))
        case "market":  # an awning
            for k in range(8):
                brush.box(k / 8, 0, (k + 1) / 8, 0.2, (232, 188, 196) if k % 2 else (250, 246, 246))
        case "studio":  # a spotlight
            brush.polygon([(0.42, 0), (0.58, 0), (0.95, 1), (0.05, 1)], (250, 250, 246))
        case "tunnel":  # its mouth
            brush.oval(0.12, 0.08, 0.88, 1.2, (204, 202, 206))
        case "desert":  # dunes
            brush.oval(-0.3, 0.5, 0.6, 1.2, (232, 200, 142))
            brush.oval(0.45, 0.55, 1.4, 1.2, (226, 192, 134))
    pale = np.array(Image.blend(picture, Image.new("RGB", picture.size, (236, 234, 232)), 0.5), dtype=np.float32)
    across = np.linspace(-1, 1, 2 * image_px, dtype=np.float32)
    pale += across[None, :, None] * np.array(LIGHT_ACROSS, np.float32)
    pale += across[:, None, None] * np.array(LIGHT_DOWN, np.float32)
    return Image.fromarray(np.clip(pale, 0, 255).astype(np.uint8))
