"""Uploads in, images out: presigned URLs, expiry, and the painter's promises."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from fluxbatch.emulator import router
from fluxbatch.emulator.core import ProviderCore
from fluxbatch.emulator.messages import Call, Picture, Reply
from fluxbatch.emulator.painter import Painter
from tests.emulator.support import HEADERS, KEY, ORIGIN, FakeClock, buy, make_core, read


@pytest.fixture
def core(clock: FakeClock) -> ProviderCore:
    core = make_core(clock)
    core.listen_at(ORIGIN)
    return core


def _photo(size: tuple[int, int] = (90, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _presign(core: ProviderCore, **body: Any) -> dict[str, Any]:
    reply = core.presign(KEY, {"content_type": "image/png", "file_type": "image", **body})
    assert reply.status == 200
    signed: dict[str, Any] = reply.body
    return signed


def _request(
    core: ProviderCore,
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Reply:
    parts = urlsplit(url)
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return router.handle_call(
        core, Call(method, parts.path, dict(parse_qsl(parts.query)), lowered, body)
    )


def _put(core: ProviderCore, signed: dict[str, Any], body: bytes, **changed: str) -> Reply:
    headers = {"content-type": "image/png", **signed["required_headers"], **changed}
    return _request(core, "PUT", signed["presigned_url"], headers, body)


def _upload(core: ProviderCore, body: bytes) -> dict[str, Any]:
    signed = _presign(core)
    assert _put(core, signed, body).status == 200
    return signed


def test_an_upload_is_served_at_its_public_url(core: ProviderCore) -> None:
    """
    Presign, put with the required headers, read back the same bytes.
    """
    signed = _upload(core, b"bytes")

    reply = _request(core, "GET", signed["public_url"])

    assert (reply.status, reply.body, reply.content_type) == (200, b"bytes", "image/png")
    assert signed["expires_at"] == "2027-05-21T12:00:00.000Z"


def test_the_headers_of_a_put_must_be_exact(core: ProviderCore) -> None:
    """
    Another content type or a required header left out is a signature mismatch.
    """
    signed = _presign(core)

    assert _put(core, signed, b"x", **{"content-type": "image/jpeg"}).status == 403
    assert _put(core, signed, b"x", **{"x-amz-tagging": ""}).status == 403
    assert _request(core, "GET", signed["public_url"]).status == 404


def test_a_presigned_url_lives_fifteen_minutes(clock: FakeClock, core: ProviderCore) -> None:
    """
    And its signature covers path and end.
    """
    signed = _presign(core)
    tampered = signed["presigned_url"].replace("expires=1", "expires=2")
    assert _put(core, {**signed, "presigned_url": tampered}, b"x").status == 403
    clock.pass_(901)

    assert _put(core, signed, b"x").status == 403


def test_a_file_ends_when_it_was_asked_to(clock: FakeClock, core: ProviderCore) -> None:
    """
    `expires_in_seconds` is the file's life, not the URL's.
    """
    signed = _presign(core, expires_in_seconds=60)
    _put(core, signed, b"x")
    clock.pass_(61)

    assert _request(core, "GET", signed["public_url"]).status == 404


def test_deleting_a_file_is_idempotent(core: ProviderCore) -> None:
    """
    204 the first time, the second time and for what never was.
    """
    signed = _upload(core, b"x")
    headers = {name.lower(): value for name, value in HEADERS.items()}
    for upload_id in (signed["id"], signed["id"], "never-was"):
        assert _request(core, "DELETE", f"{ORIGIN}/v1/files/{upload_id}", headers).status == 204

    assert _request(core, "GET", signed["public_url"]).status == 404
    assert core.storage.uploads.deleted == 1


def test_a_control_image_that_was_deleted_fails_the_prediction(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    As a provider that cannot fetch it would; one deleted later does no harm.
    """
    signed = _upload(core, _photo())
    early = buy(core, "early", control_image=signed["public_url"])
    core.delete_file(KEY, signed["id"])
    late = buy(core, "late", control_image=signed["public_url"])
    clock.pass_(10)

    assert read(core, early)["status"] == "success"
    assert read(core, late)["status"] == "error"
    assert read(core, late)["message"] == "Could not download control_image"


def test_an_output_url_expires_and_a_fresh_poll_gives_a_fresh_one(
    clock: FakeClock, core: ProviderCore
) -> None:
    """
    403 after an hour, however it is called; the new URL opens the same image.
    """
    prediction = buy(core)
    clock.pass_(10)
    url = read(core, prediction)["output"]
    first = _request(core, "GET", url)
    clock.pass_(3_601)

    expired = _request(core, "GET", url)
    again = _request(core, "GET", read(core, prediction)["output"])

    assert (first.status, expired.status, again.status) == (200, 403, 200)
    assert first.body == again.body
    assert _request(core, "GET", url.replace("signature=", "signature=0")).status == 403


_PICTURE = Picture(
    prompt="a lighthouse",
    seed=1,
    index=0,
    format="jpg",
    quality=80,
    megapixels=1.0,
    size=(64, 64),
    control_name="photo",
    control=_photo(),
)


def _painted(**changes: Any) -> bytes:
    return Painter().paint(Picture(**{**_fields(_PICTURE), **changes}))


def _fields(picture: Picture) -> dict[str, Any]:
    return {name: getattr(picture, name) for name in Picture.__slots__}


def test_equal_pictures_have_equal_bytes_and_others_do_not() -> None:
    """
    Seed, index, prompt and control image each make another file, in every format.
    """
    for wanted in ("webp", "jpg", "png"):
        base = _painted(format=wanted)
        others = [
            _painted(format=wanted, seed=2),
            _painted(format=wanted, index=1),
            _painted(format=wanted, prompt="a harbour"),
            _painted(format=wanted, control_name="another"),
        ]
        assert base == _painted(format=wanted)
        assert len({base, *others}) == 5


def test_a_thousand_seeds_give_a_thousand_small_files() -> None:
    """
    Also as 64 pixel jpgs of low quality no two are equal.
    """
    painter, fields = Painter(), _fields(_PICTURE)
    pictures = [Picture(**{**fields, "seed": seed, "quality": 10}) for seed in range(1000)]

    assert len({painter.paint(picture) for picture in pictures}) == 1000


@pytest.mark.parametrize(
    ("wanted", "name"), [("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG"), ("gif", "GIF")]
)
def test_the_file_is_of_the_format_asked_for(wanted: str, name: str) -> None:
    """
    Decoded in full, not only by its first bytes.
    """
    with Image.open(io.BytesIO(_painted(format=wanted, size=(96, 48)))) as image:
        image.load()
        assert (image.format, image.size) == (name, (96, 48))


def test_megapixels_and_the_control_image_give_the_size() -> None:
    """
    About as many pixels as asked, in the photo's shape.
    """
    with Image.open(io.BytesIO(_painted(size=None, megapixels=0.25))) as image:
        wide, high = image.size
    assert abs(wide * high / (1024 * 1024) - 0.25) < 0.02
    assert abs(wide / high - 1.5) < 0.05

    with Image.open(io.BytesIO(_painted(size=None, control=None, control_name="u"))) as image:
        assert image.size == (1024, 1024)


def test_whatever_was_uploaded_an_image_comes_out() -> None:
    """
    A text file called .png does not bring the painter down.
    """
    with Image.open(io.BytesIO(_painted(control=b"not an image"))) as image:
        image.load()
