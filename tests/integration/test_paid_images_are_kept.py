"""The fate of what comes down with a paid job: an image in the dataset, or kept aside."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxbatch.errors import ExitCode
from tests.support.meddler import Change, Passing, meddler
from tests.support.pictures import picture
from tests.support.running import Bench, make_rows, provider

JOBS = 2


def encoded(name: str, change: Callable[[bytes], bytes] = bytes) -> Change:
    """Downloads with a `Content-Encoding` of *name*."""

    def meddle(answer: Passing) -> Passing:
        if not answer.is_file:
            return answer
        headers = {**answer.headers, "Content-Encoding": name}
        return replace(answer, headers=headers, body=change(answer.body))

    return meddle


def chunked(content: bytes) -> bytes:
    return f"{len(content):x};chunk-signature={'0' * 64}\r\n".encode() + content + b"\r\n0\r\n\r\n"


def status(number: int, more: Mapping[str, str] | None = None) -> Change:
    def meddle(answer: Passing) -> Passing:
        if not answer.is_file:
            return answer
        return replace(answer, status=number, headers={**answer.headers, **(more or {})})

    return meddle


def output(change: Callable[[str], object]) -> Change:
    """Polls that tell of each URL otherwise."""

    def meddle(answer: Passing) -> Passing:
        if not answer.is_poll or not (told := answer.json()).get("output"):
            return answer
        given = told["output"]
        one = given if isinstance(given, str) else given[0]
        return answer.with_json({**told, "output": change(one)})

    return meddle


def inline(_: str) -> str:
    return "data:image/png;base64," + base64.b64encode(picture("png")).decode()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(encoded("gzip", gzip.compress), id="gzip"),
        pytest.param(encoded("deflate", zlib.compress), id="deflate"),
        pytest.param(encoded("gzip"), id="gzip-that-is-none"),
        pytest.param(encoded("identity", gzip.compress), id="gzip-untold"),
        pytest.param(encoded("aws-chunked"), id="aws-chunked"),
        pytest.param(encoded("aws-chunked", chunked), id="aws-chunked-framed"),
        pytest.param(encoded("utf-8"), id="utf-8"),
        pytest.param(encoded("binary"), id="binary"),
        pytest.param(encoded(""), id="empty"),
        pytest.param(encoded("x" * 5000), id="long"),
        pytest.param(encoded("identity", base64.b64encode), id="base64"),
        pytest.param(status(203), id="203"),
        pytest.param(status(201), id="201"),
        pytest.param(status(206, {"Content-Range": "bytes 0-*/*"}), id="206"),
        pytest.param(output(lambda url: f"{url}?meddled=a b"), id="url-space"),
        pytest.param(output(lambda url: f" {url}\n"), id="url-blanks-around"),
        pytest.param(output(lambda url: f"{url}?meddled=\u00e4\u200b"), id="url-unprintable"),
        pytest.param(output(lambda url: {"result": {"href": url}}), id="url-by-another-name"),
        pytest.param(output(lambda url: [[{"final": url}]]), id="url-nested"),
        pytest.param(output(inline), id="data-url"),
    ],
)
async def test_an_image_that_came_oddly_is_stored_and_bought_once(
    tmp_path: Path, change: Change
) -> None:
    """
    Two jobs, two purchases, two images, whatever the way they came.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator, meddler(emulator.base_url, change) as base_url:
        summary = await bench.run(base_url, bench.write(make_rows(JOBS)))
        assert summary.exit_code is ExitCode.DONE
        assert emulator.stats["created"] == JOBS
    assert len(bench.images()) == JOBS


def unreadable(answer: Passing) -> Passing:
    return replace(answer, body=b"TIFF, or so" + answer.body) if answer.is_file else answer


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(unreadable, id="no-image"),
        pytest.param(output(lambda url: "ftp://cdn.example/a.webp"), id="ftp"),
        pytest.param(output(lambda url: "outputs/a.webp"), id="relative"),
        pytest.param(output(lambda url: {"file": "s3://bucket/a"}), id="s3"),
    ],
)
async def test_what_cannot_be_read_is_not_bought_again(tmp_path: Path, change: Change) -> None:
    """
    It is the provider's success; that we can make nothing of it costs no second purchase.
    """
    bench = Bench(tmp_path)
    async with provider() as emulator, meddler(emulator.base_url, change) as base_url:
        summary = await bench.run(base_url, bench.write(make_rows(JOBS)))
        assert summary.exit_code is ExitCode.SOME_FAILED
        assert emulator.stats["created"] == JOBS
    assert bench.query("SELECT DISTINCT failure FROM jobs") == [("output_lost",)]
    urls: list[tuple[Any, ...]] = bench.query("SELECT url FROM outputs")
    assert len(urls) == JOBS
    assert all(url for (url,) in urls)
