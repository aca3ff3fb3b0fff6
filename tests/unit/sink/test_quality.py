"""The quality of an image, found as it is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageFilter

import fluxbatch
from fluxbatch.domain.image_quality import near_duplicates
from fluxbatch.domain.job import Quality
from fluxbatch.sink.quality import UNSEEN, assess
from fluxbatch.sink.verify import verify

_DEMO = Path(fluxbatch.__file__).parent / "demo" / "photos"
PHOTOS = [_DEMO / name for name in ("astronaut.jpg", "chelsea.png", "coffee.webp", "rocket.jpg")]
Photo = Image.Image


def photo(number: int) -> Photo:
    with Image.open(PHOTOS[number]) as image:
        return image.convert("RGB")


def encoded(image: Photo, kind: str, quality: int) -> Photo:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    with Image.open(buffer) as again:
        return again.convert("RGB")


def fingerprint(image: Photo) -> str:
    mark = assess(image).dhash
    assert mark is not None
    return mark


def distance(one: Photo, other: Photo) -> int:
    marks = [int(fingerprint(image).partition("-")[0], 16) for image in (one, other)]
    return (marks[0] ^ marks[1]).bit_count()


CHANGES: dict[str, Callable[[Photo], Photo]] = {
    "jpg 10": lambda image: encoded(image, "JPEG", 10),
    "jpg 80": lambda image: encoded(image, "JPEG", 80),
    "webp 20": lambda image: encoded(image, "WEBP", 20),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "double": lambda image: image.resize((image.width * 2, image.height * 2)),
    "64 pixels": lambda image: image.resize((64, 64)),
    "slightly brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("number", range(4))
def test_the_same_photo_made_anew_is_a_near_duplicate(number: int, change: str) -> None:
    """
    Within the distances that the search allows, of bits and of colours.
    """
    pair = [fingerprint(photo(number)), fingerprint(CHANGES[change](photo(number)))]
    assert near_duplicates(enumerate(pair)) == {1: 0}


@pytest.mark.parametrize("number", range(4))
def test_other_colours_on_the_same_shapes_are_another_image(number: int) -> None:
    """
    Its dHash is nearly the same: one depth map gives many pictures.
    """
    red, green, blue = photo(number).split()
    turned = Image.merge("RGB", (green.point(lambda v: v // 2), red, blue))
    pair = [fingerprint(photo(number)), fingerprint(turned)]
    assert near_duplicates(enumerate(pair)) == {}


def test_different_photos_are_far_apart() -> None:
    """
    And so is a photo's mirror image.
    """
    assert all(distance(photo(a), photo(b)) >= 20 for a, b in combinations(range(4), 2))
    flip = Image.Transpose.FLIP_LEFT_RIGHT
    assert all(distance(photo(n), photo(n).transpose(flip)) >= 20 for n in range(4))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("shade", "note"), [(0, Quality.BLACK), (128, Quality.FLAT), (255, Quality.FLAT)]
)
def test_black_and_flat_images_are_noticed_in_every_format(
    kind: str, mode: str, shade: int, note: Quality
) -> None:
    """
    After the codec's own noise; they have no fingerprint, or all would be duplicates.
    """
    buffer = io.BytesIO()
    Image.new("L", (64, 48), shade).convert(mode).save(buffer, kind)
    buffer.seek(0)
    assert verify(buffer, max_pixels=10_000).look == (None, (note,))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "YCbCr"])
def test_an_ordinary_image_of_any_mode_has_a_fingerprint_and_no_note(mode: str) -> None:
    """
    Whatever the decoder hands over.
    """
    seen = assess(photo(0).convert("RGB").convert(mode))
    assert seen.notes == ()
    assert seen.dhash is not None
    assert [len(part) for part in seen.dhash.split("-")] == [16, 24]


def test_a_night_scene_is_not_black_and_stripes_of_one_brightness_are_not_flat() -> None:
    """
    One light in the dark is enough; so is a colour that grey does not tell apart.
    """
    night = Image.new("RGB", (64, 64))
    night.putpixel((3, 3), (200, 190, 120))
    stripes = Image.new("RGB", (64, 64), (128, 0, 0))
    stripes.paste((0, 65, 0), (0, 0, 32, 64))
    assert assess(night).notes == assess(stripes).notes == ()


def test_what_has_more_than_eight_bits_is_not_judged() -> None:
    """
    Pillow's grey of it would be clipped: a dark one would look black, a light one white.
    """
    assert assess(Image.new("I;16", (8, 8), 40_000)) == UNSEEN
    assert assess(Image.new("F", (8, 8), 0.5)) == UNSEEN


def test_an_image_of_one_pixel_has_a_look() -> None:
    """
    Nothing is too small.
    """
    assert assess(Image.new("RGB", (1, 1), "white")).notes == (Quality.FLAT,)
