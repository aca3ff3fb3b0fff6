"""The painter of the provider's images: a fake depth map in the prompt's colours.

Pure functions of a `Picture`, so equal pictures have equal bytes; seed and index move the
light, turn the palette and are written into a barcode, so that no two outputs are equal.
Knows nothing of predictions, faults or HTTP.
"""

from __future__ import annotations

import colorsys
import functools
import hashlib
import io
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from fluxbatch.emulator.messages import Picture

_MEGAPIXEL = 1024 * 1024
_QUICK_PIXELS = 128 * 128
_KEPT_PICTURES = 48
_KEPT_SCENES = 24
_FORMATS = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG", "gif": "GIF"}
_INKS = (  # far to near
    "0b0820 3b1a5a 8c2f6b e8735a ffe3b0",  # ember
    "06141f 0d3b4f 1f7a8c 7fc6a4 f4f1d0",  # lagoon
    "1a1033 463a8c 6f7fd1 a9c8ec fdf3f0",  # dusk
    "140d07 4a2c17 9c5f2d d9a860 fbeccb",  # bronze
    "04120c 14432f 3c8257 a3c585 f6f3d7",  # moss
    "10101c 2f3550 6b7391 b3b8c6 f7f5f0",  # slate
    "1b0a12 5c1533 b02c4c ef8a72 ffe9d6",  # rose
    "071226 163e73 2f7fc1 f0a65b fff0c9",  # harbour
    "1c0f2b 5b2a86 b5489c ffa27f fff3c7",  # orchid
    "0a1716 17504f 3f9c8f f2b880 fdf1df",  # copper
    "14121a 4b4038 8f7f68 cbbd9e f8f2e2",  # sepia
    "050b24 26286e 7a3fb0 f26fa1 ffe5e0",  # neon
)
_Size = tuple[int, int]
_T = TypeVar("_T")


class _Shelf(OrderedDict[object, _T]):
    """The most recently used values; safe under threads as far as losing one is harmless."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def get_or_make(self, key: object, make: Callable[[], _T]) -> _T:
        value = self.pop(key, None)
        if value is None:
            value = make()
        self[key] = value
        while len(self) > self._room:
            self.popitem(last=False)
        return value


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a control image gives: its depth, its edges and its own light, at one size."""

    depth: Image.Image
    lines: Image.Image
    light: Image.Image


class Painter:
    def __init__(self) -> None:
        self._pictures: _Shelf[bytes] = _Shelf(_KEPT_PICTURES)
        self._scenes: _Shelf[_Scene] = _Shelf(_KEPT_SCENES)

    def is_quick(self, picture: Picture) -> bool:
        """True if painting costs less than handing the work to a thread."""
        if picture in self._pictures:
            return True
        small = picture.size is not None and math.prod(picture.size) <= _QUICK_PIXELS
        return small and (picture.control_name, picture.size) in self._scenes

    def paint(self, picture: Picture) -> bytes:
        content = self._pictures.get_or_make(picture, lambda: self._encoded(picture))
        return content[: int(len(content) * picture.kept_share)]

    def _encoded(self, picture: Picture) -> bytes:
        size = picture.size or _natural_size(picture)
        scene = self._scenes.get_or_make(
            (picture.control_name, size), lambda: _scene(picture, size)
        )
        image = _finished(scene, picture, size)
        buffer = io.BytesIO()
        if picture.format == "png":
            image.save(buffer, "PNG", compress_level=1)
        elif picture.format == "webp":
            image.save(buffer, "WEBP", quality=picture.quality, method=0)
        else:
            image.save(buffer, _FORMATS[picture.format], quality=max(1, picture.quality))
        return buffer.getvalue()


def _natural_size(picture: Picture) -> _Size:
    """As many pixels as asked, in the control image's shape, in steps of 16."""
    wide, high = 1, 1
    if picture.control is not None:
        with Image.open(io.BytesIO(picture.control)) as control:
            wide, high = control.size
    scale = math.sqrt(picture.megapixels * _MEGAPIXEL / (wide * high))
    return max(16, round(wide * scale / 16) * 16), max(16, round(high * scale / 16) * 16)


def _scene(picture: Picture, size: _Size) -> _Scene:
    photo = _photo(picture, size)
    light = ImageOps.autocontrast(photo, cutoff=1)
    reach = max(size) / 64
    soft = light.filter(ImageFilter.GaussianBlur(reach))
    nearness = Image.linear_gradient("L").resize(size)  # the ground is nearer than the sky
    depth = ImageOps.autocontrast(Image.blend(soft, nearness, 0.45))
    outline = light.filter(ImageFilter.GaussianBlur(reach / 8)).filter(ImageFilter.FIND_EDGES)
    # Skin and grain also have edges: only the strong ones are worth a line.
    lines = ImageOps.autocontrast(outline, cutoff=(0, 2)).point(
        [255 - round(165 * max(0.0, v / 255 - 0.16) / 0.84) for v in range(256)]
    )
    return _Scene(depth, lines, light)


def _photo(picture: Picture, size: _Size) -> Image.Image:
    if picture.control is not None:
        try:
            with Image.open(io.BytesIO(picture.control)) as control:
                return ImageOps.fit(control.convert("RGB"), size).convert("L")
        except (OSError, ValueError):
            pass  # whatever was uploaded, the provider paints something
    return _landscape(picture.control_name or picture.prompt, size)


def _landscape(name: str, size: _Size) -> Image.Image:
    """A stand-in for a photo that cannot be fetched: hills under a sun, by hash of its name."""
    dice = random.Random(name)
    wide, high = size
    image = Image.linear_gradient("L").rotate(180).resize(size)
    draw = ImageDraw.Draw(image)
    x, y, r = wide * dice.uniform(0.2, 0.8), high * dice.uniform(0.15, 0.4), max(size) / 12
    draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    ridges = 5
    for ridge in range(ridges):
        base = high * (0.45 + 0.5 * ridge / ridges)
        waves = [(dice.uniform(1, 9), dice.uniform(0, 6.3), dice.uniform(0.2, 1)) for _ in "123"]
        outline = [
            (
                px,
                base + high / 22 * sum(a * math.sin(f * px / wide * 3 + p) for f, p, a in waves),
            )
            for px in range(0, wide + 4, 4)
        ]
        shade = 190 - 34 * ridge
        draw.polygon([*outline, (wide, high), (0, high)], fill=shade)
    return image


def _finished(scene: _Scene, picture: Picture, size: _Size) -> Image.Image:
    mark = _mark(picture)
    dice = random.Random(mark)
    inks = random.Random(picture.prompt).choice(_INKS)
    palette = _palette(inks, dice.randint(-3, 3))
    coloured = Image.merge("RGB", [scene.depth.point(channel) for channel in palette])
    lit = ImageChops.soft_light(coloured, _glow(scene.light, size, dice))
    image = ImageChops.multiply(lit, scene.lines.convert("RGB"))
    if min(size) >= 160:
        _write(image, picture)
    _barcode(image, mark)
    return image


@functools.cache
def _palette(inks: str, turn: int) -> list[list[int]]:
    """Three lookup tables: from the far to the near, through five inks turned a little."""
    stops = [_turned(tuple(bytes.fromhex(ink)), turn / 100) for ink in inks.split()]
    tables: list[list[int]] = [[], [], []]
    for value in range(256):
        contoured = (
            (value // 9 * 9 + value) / 2 / 255 * (len(stops) - 1)
        )  # faint steps, as on a map
        lower = min(len(stops) - 2, int(contoured))
        share = contoured - lower
        for table, low, high in zip(tables, stops[lower], stops[lower + 1], strict=True):
            table.append(round(255 * (low + (high - low) * share)))
    return tables


def _turned(ink: tuple[int, ...], turn: float) -> tuple[float, float, float]:
    red, green, blue = (channel / 255 for channel in ink)
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    return colorsys.hls_to_rgb((hue + turn) % 1, light, saturation)


@functools.cache
def _lamp() -> Image.Image:
    return ImageOps.invert(Image.radial_gradient("L"))


def _glow(light: Image.Image, size: _Size, dice: random.Random) -> Image.Image:
    """The photo's own light under a lamp that every output has elsewhere."""
    left, top = 128 * dice.random(), 128 * dice.random()
    lamp = _lamp().resize(size, box=(left, top, left + 128, top + 128))
    return Image.blend(light, lamp, 0.4).convert("RGB")


def _write(image: Image.Image, picture: Picture) -> None:
    wide, high = image.size
    points = max(10, round(min(wide, high) / 38))
    font = ImageFont.load_default(points)
    band = round(points * 2.1)
    shade = image.crop((0, high - band, wide, high)).point(lambda v: v * 0.3)
    image.paste(shade, (0, high - band))
    label = f"seed {picture.seed} · {picture.index + 1}"
    draw = ImageDraw.Draw(image)
    room = wide - draw.textlength(label, font) - 3 * points
    caption = picture.prompt.replace("\n", " ")
    while caption and draw.textlength(caption + "…", font) > room:
        caption = caption[: len(caption) * 9 // 10]
    if caption != picture.prompt.replace("\n", " "):
        caption += "…"
    middle = high - band / 2
    draw.text((points, middle), caption, "white", font, anchor="lm")
    draw.text((wide - points, middle), label, "#cccccc", font, anchor="rm")


def _barcode(image: Image.Image, mark: bytes) -> None:
    """32 bits along the lower edge: enough for every output to differ, also as a small jpg."""
    wide, high = image.size
    cell = max(1, wide // 128)
    draw = ImageDraw.Draw(image)
    for n in range(min(32, wide)):
        bit = mark[n // 8] >> (n % 8) & 1
        box = (n * cell, high - max(2, cell // 2), (n + 1) * cell - 1, high)
        draw.rectangle(box, fill="#e8e4da" if bit else "#26242c")


def _mark(picture: Picture) -> bytes:
    text = f"{picture.seed}/{picture.index}/{picture.control_name}/{picture.prompt}"
    return hashlib.sha256(text.encode()).digest()
