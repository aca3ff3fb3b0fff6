"""The live page over HTTP: who is let in, what it answers, and what it writes."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fluxbatch import __version__
from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.ratings import RatingFile, Verdict
from fluxbatch.live.access import openable_host
from tests.report.datasets import making, row, small_images
from tests.report.live_server import serving
from tests.support.commands import fluxbatch

SCRIPT = "<script>alert(1)</script>"


def four_images(root: Path) -> Folder:
    """Four done jobs; the third one's prompt is a script."""
    pictures = small_images(root.parent / "pictures")
    prompts = ("a bronze cat", "a coffee cup", SCRIPT, "100%_of \\it")
    with making(root) as made:
        made.begin([row(n, {"prompt": prompts[n - 1]}) for n in range(1, 5)])
        for number in range(1, 5):
            made.image(number, *pictures[number])
    return made.folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return four_images(tmp_path / "ds")


@pytest.fixture
def address(folder: Folder) -> Iterator[str]:
    with serving(folder.root) as url:
        yield url


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """For tests that change nothing."""
    return four_images(tmp_path_factory.mktemp("unchanged") / "ds")


@pytest.fixture(scope="module")
def shown(unchanged: Folder) -> Iterator[str]:
    """The page of what is unchanged."""
    with serving(unchanged.root) as url:
        yield url


def ask(
    address: str, path: str, *, post: object = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    parts = urlsplit(address)
    connection = HTTPConnection("127.0.0.1", parts.port or 0, timeout=20)
    body = None if post is None else json.dumps(post)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body=body, headers=named)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def of_the_page(address: str) -> dict[str, str]:
    """The headers with which the page itself sends a change."""
    found = re.search(r'name="fluxbatch-token" content="([^"]+)"', ask(address, "/")[1])
    assert found is not None
    return {"Origin": address.rstrip("/"), "X_Fluxbatch_Token": found[1]}


def seqs(address: str, query: str = "") -> list[int]:
    found: dict[str, list[int]] = json.loads(ask(address, f"/api/images{query}")[1])
    return found["seqs"]


def test_the_images_come_newest_first_and_are_found_by_their_words(shown: str) -> None:
    """
    A search takes its signs as they are, `%` and `_` and the backslash included.
    """
    assert seqs(shown) == [4, 3, 2, 1]
    assert seqs(shown, "?after=2") == [4, 3]
    assert seqs(shown, "?q=COFFEE") == [2]
    assert seqs(shown, "?q=row-00001") == [1]
    assert seqs(shown, "?q=100%25_of") == [4]
    assert seqs(shown, "?q=10%25f") == []


def test_the_page_runs_no_script_but_its_own(shown: str) -> None:
    """
    A prompt that is a script stays text in JSON, and no inline script could run.
    """
    status, text, headers = ask(shown, "/")
    (item,) = json.loads(ask(shown, "/api/items?seqs=3")[1])

    assert status == 200
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert SCRIPT not in text
    assert item["prompt"] == SCRIPT
    assert ask(shown, "/static/app.js")[2]["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/server.py", "/thumb/99", "/x"])
def test_nothing_is_served_but_what_the_page_needs(shown: str, path: str) -> None:
    """
    Files are known by name and images by number.
    """
    assert ask(shown, path)[0] == 404


def test_another_site_can_neither_read_nor_change(shown: str, unchanged: Folder) -> None:
    """
    Not by a name that points here, not by its Origin, not without the page's token.
    """
    ours = of_the_page(shown)
    change = {"seqs": [1], "rating": "reject"}

    assert ask(shown, "/api/images", Host="evil.example")[0] == 403
    assert ask(shown, "/api/rate", post=change, **{**ours, "Origin": "http://a.example"})[0] == 403
    assert (
        ask(shown, "/api/rate", post=change, X_Fluxbatch_Token=ours["X_Fluxbatch_Token"])[0] == 403
    )
    assert ask(shown, "/api/rate", post=change, Origin=ours["Origin"])[0] == 403
    assert ask(shown, "/api/undo")[0] == 405
    assert RatingFile(unchanged).read() == {}


def test_elsewhere_than_on_this_machine_alone_nothing_is_shown_without_the_token(
    folder: Folder,
) -> None:
    """
    The token in the address becomes a cookie that no script can read.
    """
    with serving(folder.root, "--host", "0.0.0.0") as url:
        bare = ask(url, "/api/images")[0]
        wrong = ask(url, "/?open=guess")[0]
        status, _, headers = ask(url, f"/?{urlsplit(url).query}")
        cookie = headers["Set-Cookie"]
        known = ask(url, "/api/images", Cookie=cookie.partition(";")[0])[0]

    assert (bare, wrong, status, known) == (403, 403, 302, 200)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_address_of_all_addresses_is_one_that_can_be_opened(folder: Folder, host: str) -> None:
    """
    As it is printed; a browser opens neither 0.0.0.0 nor ::.
    """
    if host == "::" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(folder.root, "--host", host) as url:
        assert urlsplit(url).hostname not in ("0.0.0.0", "::")
        with urlopen(url.replace("/?", "/metrics?"), timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("lab-3", "lab-3"),
    ],
)
def test_a_name_that_leads_elsewhere_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    """
    What was asked for by name or by one address stays as it is.
    """
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: elsewhere)

    assert openable_host(host) == shown


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_an_old_cookie_shuts_nobody_out_who_has_the_right_address(folder: Folder) -> None:
    """
    A browser keeps the cookie of a server that is gone; either of both lets in, none that is wrong.
    """
    with serving(folder.root, "--host", "0.0.0.0") as url:
        query = urlsplit(url).query
        right, _, value = ask(url, f"/?{query}")[2]["Set-Cookie"].partition(";")[0].partition("=")
        old = {"Cookie": f"fluxbatch_live=old; {right}=old"}
        entered = ask(url, f"/?{query}", **old)[0]
        scraped = ask(url, f"/metrics?{query}", **old)[0]
        known = ask(url, "/?open=old", Cookie=f"{right}={value}")[0]
        neither = ask(url, "/?open=old", **old)[0]

    assert (entered, scraped, known, neither) == (302, 200, 302, 403)


def test_prometheus_reads_the_dataset_s_metrics_from_the_ledger(
    address: str, folder: Folder
) -> None:
    """
    No run is needed; no label is a row or a prompt.
    """
    status, text, headers = ask(address, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = {
        (sample.name, *(v for k, v in sample.labels.items() if k != "dataset")): sample.value
        for family in families.values()
        for sample in family.samples
    }

    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert found["fluxbatch_rows", "done"] == 4
    assert found["fluxbatch_rows", "failed"] == found["fluxbatch_unknown_rows",] == 0
    assert found["fluxbatch_creates_total", "accepted"] == 4
    assert found["fluxbatch_creates_total", "refused"] == 0
    assert found["fluxbatch_cost_usd_total",] == 0.1
    assert found["fluxbatch_budget_usd", "dataset", "spent"] == 0.1
    assert found["fluxbatch_exit_code",] == 3
    assert found["fluxbatch_last_progress_timestamp_seconds",] > 0
    assert ("fluxbatch_build_info", __version__) in found
    assert "bronze" not in text
    labels = {name for one in families.values() for few in one.samples for name in few.labels}
    assert labels <= {"dataset", "state", "outcome", "account", "scope", "kind", "version"}
    assert {one.labels["dataset"] for few in families.values() for one in few.samples} == {
        folder.name
    }


def test_metrics_are_for_those_who_may_see_the_page(address: str, folder: Folder) -> None:
    """
    Not by a name that points here; elsewhere by the token alone, as a parameter of the scrape.
    """
    with serving(folder.root, "--host", "0.0.0.0") as url:
        bare = ask(url, "/metrics")[0]
        known = ask(url, f"/metrics?{urlsplit(url).query}")[0]

    assert ask(address, "/metrics", Host="evil.example")[0] == 403
    assert (bare, known) == (403, 200)


def rate(address: str, change: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    status, text, _ = ask(address, "/api/rate", post=change, **of_the_page(address))
    return status, json.loads(text)


def test_a_rating_is_kept_with_who_and_when_and_its_undo_brings_the_former_one_back(
    address: str, folder: Folder
) -> None:
    """
    Also while another process is the one that writes the ledger.
    """
    with folder.lock():
        rate(address, {"seqs": [1, 2], "rating": "keep"})
        status, said = rate(address, {"seqs": [1], "rating": "reject", "note": "six fingers"})
        rejected = seqs(address, "?rating=reject")
        ask(address, "/api/undo", post={}, **of_the_page(address))
    now = RatingFile(folder).read()

    assert (status, said["judged"]) == (200, {"all": 4, "keep": 1, "reject": 1, "unrated": 2})
    assert rejected == [1]
    assert [one.verdict for one in now.values()] == [Verdict.KEEP, Verdict.KEEP]
    assert all(one.who and one.at.endswith("Z") for one in now.values())
    assert all(one.note is None for one in now.values())


@pytest.mark.parametrize(
    "change",
    [
        {"seqs": [1], "stars": 6},
        {"seqs": [1], "rating": "love"},
        {"seqs": "1", "rating": "keep"},
        {"seqs": [True], "rating": "keep"},
        {"seqs": [1], "note": "x" * 2_001},
        ["keep"],
    ],
)
def test_what_is_no_rating_is_refused(shown: str, unchanged: Folder, change: Any) -> None:
    """
    With words, and nothing is written.
    """
    status, said = rate(shown, change)

    assert status == 400
    assert said["error"]
    assert RatingFile(unchanged).read() == {}


def test_ratings_that_cannot_be_read_are_said_in_words(address: str, folder: Folder) -> None:
    """
    A disk that fails is no fault of the server's.
    """
    RatingFile(folder).path.mkdir()
    status, text, _ = ask(address, "/api/judged")

    assert status == 503
    assert str(RatingFile(folder).path) in json.loads(text)["error"]


def test_a_rating_of_images_that_are_not_there_is_refused(address: str, folder: Folder) -> None:
    """
    It would be taken for written.
    """
    status, said = rate(address, {"seqs": [98, 99], "rating": "keep"})

    assert (status, "no such image" in said["error"]) == (400, True)
    assert rate(address, {"seqs": [99, 1], "rating": "keep"})[1]["changed"] == 1


def test_the_command_rates_by_name_and_by_filter_and_exports_choose_by_it(folder: Folder) -> None:
    """
    `rate` needs no page, and `export --where` and `ls --where` know what it said.
    """
    at = str(folder.root)
    fluxbatch("rate", at, "row-00001", "#2", "keep")
    fluxbatch("rate", at, "--where", "prompt~cat", "5", "--note", "the best")
    fluxbatch("rate", at, "#3", "reject")
    kept = fluxbatch("export", at, "--format", "jsonl", "--where", "rating=keep")
    names = [json.loads(line)["id"] for line in _lines(folder)]
    best = fluxbatch("ls", at, "--where", "stars>=4 and rating_note~best", "--json")
    unrated = fluxbatch("ls", at, "--where", "not rating", "--json")

    assert kept.code == 0
    assert names == ["row-00001", "row-00002"]
    assert best.object["rows"] == 1
    assert unrated.object["rows"] == 1


def test_a_rating_that_is_none_says_what_there_is(folder: Folder) -> None:
    """
    Nothing is guessed, and images and a filter are not both taken.
    """
    at = str(folder.root)

    assert "keep, reject, none, or 1 to 5" in fluxbatch("rate", at, "#1", "love").err
    assert "one of them" in fluxbatch("rate", at, "#1", "keep", "--where", "rating").err
    assert fluxbatch("rate", at, "keep").code == 2
    assert not RatingFile(folder).path.exists()


def _lines(folder: Folder) -> list[str]:
    path = folder.root / "exports" / "results.jsonl"
    return path.read_text(encoding="utf-8").splitlines()
