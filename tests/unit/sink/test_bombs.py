"""Images that cost far more than they tell: refused soon, with little memory, and nothing else
goes with them."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.sink.decode_process import DecodeAnswer, DecodeProcess, processes
from fluxbatch.sink.image_bounds import gif_extent, memory_for, scans_of
from fluxbatch.sink.verify import TooMuch, verify
from tests.support.bombs import (
    apng_of_frames,
    avif_of_false_size,
    gif_that_grows,
    jpg_of_scans,
    png_of_size,
    webp_of_frames,
)
from tests.support.pictures import picture

MOST = 4_000_000


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    processes.end()


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: gif_that_grows(3000), id="gif-grows"),
        pytest.param(lambda: gif_that_grows(200, 200), id="gif-frames"),
        pytest.param(lambda: gif_that_grows(1, 10_001), id="gif-tiny-frames"),
        pytest.param(lambda: jpg_of_scans(101), id="jpg-101-scans"),
        pytest.param(lambda: jpg_of_scans(2_500, 64), id="jpg-2500-scans"),
        pytest.param(lambda: webp_of_frames(300, 50), id="webp-frames"),
        pytest.param(lambda: apng_of_frames(300, 50), id="apng-frames"),
        pytest.param(lambda: png_of_size(30_000, 30_000), id="png-size"),
        pytest.param(lambda: png_of_size(1, 2**31 - 1), id="png-height"),
    ],
)
def test_a_bomb_is_refused_by_what_it_would_cost(bomb: Callable[[], bytes]) -> None:
    """
    Every frame counts, at the size of what it is painted on, and every scan.
    """
    with pytest.raises(TooMuch):
        verify(io.BytesIO(bomb()), max_pixels=MOST)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(lambda: gif_that_grows(100, 20), id="gif"),
        pytest.param(lambda: jpg_of_scans(60), id="jpg"),
        pytest.param(lambda: webp_of_frames(64, 20), id="webp"),
        pytest.param(lambda: apng_of_frames(64, 20), id="apng"),
        pytest.param(lambda: picture("gif"), id="still-gif"),
    ],
)
def test_what_is_unusual_and_cheap_is_an_image(image: Callable[[], bytes]) -> None:
    """
    Decoded in another process, with the same verdict.
    """
    seen = verify(io.BytesIO(image()), max_pixels=MOST)
    assert seen.width > 0
    assert seen.verify_s > 0


def test_an_avif_of_a_false_size_gets_the_memory_of_the_size_it_tells() -> None:
    """
    Whatever its decoder makes of it, the process that decodes it stays below its bound.
    """
    one = DecodeProcess()
    content = avif_of_false_size(3000)
    try:
        one.ask({"mime": "image/avif", "max_pixels": MOST}, picture("avif"))
        before = peak_bytes(one.pid)
        one.ask({"mime": "image/avif", "max_pixels": MOST}, content)
        if Path(f"/proc/{one.pid}/status").exists() and peak_bytes(one.pid):
            assert peak_bytes(one.pid) - before <= memory_for(64, len(content))
    finally:
        one.end()


def peak_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) * 1024 if found else 0


def test_a_decoder_that_takes_too_long_is_stopped() -> None:
    """
    By the processor's time, so that a busy machine makes no image a bomb.
    """
    one = DecodeProcess()
    try:
        request = {"mime": "image/jpeg", "max_pixels": 10**9, "cpu_s": 0}
        answer = one.ask(request, jpg_of_scans(99, 4000))
    finally:
        one.end()
    assert answer.found is None
    assert answer.is_final
    assert "to decode" in answer.failure


def test_who_waits_for_a_decoder_has_its_answer_as_soon_as_all_are_ended() -> None:
    """
    As at the second Ctrl-C.
    """
    bomb = jpg_of_scans(99, 3000)
    answers: list[DecodeAnswer] = []

    def ask() -> None:
        answers.append(processes.ask({"mime": "image/jpeg", "max_pixels": 10**9}, bomb))

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive() and not processes.at_work:
        thread.join(timeout=0.001)
    began_s = time.monotonic()
    processes.end()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert time.monotonic() - began_s < 1.0
    assert answers[0].found is None
    assert not answers[0].is_final


def test_the_next_image_is_decoded_after_one_that_broke_its_decoder() -> None:
    """
    In a new process.
    """
    broken = processes.ask({"mime": "no such type", "max_pixels": 1}, b"")
    assert broken.failure
    assert verify(io.BytesIO(picture("gif")), max_pixels=MOST).width == 24


@given(st.binary(max_size=400))
def test_any_bytes_behind_a_gifs_head_have_an_extent(rest: bytes) -> None:
    """
    Whatever they say.
    """
    width, height, frames = gif_extent(io.BytesIO(b"GIF89a" + rest))
    assert width >= 0
    assert height >= 0
    assert frames >= 1


@pytest.mark.parametrize("scans", [10, 11, 60])
def test_scans_are_counted_without_a_decoder(scans: int) -> None:
    """
    A marker cannot stand within a scan.
    """
    assert scans_of(io.BytesIO(jpg_of_scans(scans))) == scans
