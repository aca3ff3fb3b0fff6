"""Manifests at a URL: from a real object store, and over http."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from fluxbatch.errors import ManifestError
from fluxbatch.manifest.readers.remote_file import fetch
from tests.support.commands import fluxbatch
from tests.support.object_store import object_store

_CSV = b"prompt,control_image\na cat,https://example.org/a.png\na dog,https://example.org/a.png\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment that leads to a store with `s3://rows/deep/m.csv`."""
    with object_store() as store:
        store.put("rows/deep/m.csv", _CSV)
        store.put("rows/deep/empty.csv", b"")
        yield store.env


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A folder with `m.csv.gz`, on this machine."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "m.csv.gz").write_bytes(gzip.compress(_CSV))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            pass

    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "web")) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_manifest_is_fetched_from_an_object_store(s3: dict[str, str], tmp_path: Path) -> None:
    """Whole, once a command; in a config or on the command line; its key is shown to nobody."""
    config = tmp_path / "c.yaml"
    config.write_text("manifest: s3://rows/deep/m.csv\n")
    for source in ("s3://rows/deep/m.csv", config):
        planned = fluxbatch("plan", source, env=s3)
        assert planned.code == 0, planned.err
        assert "manifest  m.csv: 2 rows" in planned.out
    missing = fluxbatch("plan", "s3://rows/none.csv", env=s3)

    assert missing.code == 2
    assert "cannot fetch manifest 's3://rows/none.csv'" in missing.err
    assert "test-secret" not in missing.err + missing.out
    assert "is empty" in fluxbatch("plan", "s3://rows/deep/empty.csv", env=s3).err


def test_a_manifest_is_fetched_over_http_from_this_machine(web: str, tmp_path: Path) -> None:
    """Named by its content, with its own name for the format's sake."""
    path = fetch(f"{web}/m.csv.gz", tmp_path / "kept")

    assert path == fetch(f"{web}/m.csv.gz", tmp_path / "kept")
    assert path.name.endswith("-m.csv.gz")
    assert fluxbatch("plan", f"{web}/m.csv.gz", "--json").object["jobs"]["new"] == 2
    with pytest.raises(ManifestError, match="cannot fetch manifest"):
        fetch(f"{web}/none.csv", tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == [path]


def test_a_plan_of_a_manifest_elsewhere_is_saved_with_its_address(web: str, tmp_path: Path) -> None:
    """A path keeps one slash of a URL; whoever plans it again, or pastes it, needs both."""
    url, plan = f"{web}/m.csv.gz", tmp_path / "p.json"
    planned = fluxbatch("plan", url, "--save", plan)

    assert planned.code == 0, planned.err
    assert f"next      fluxbatch run {url} --out DIR" in planned.out
    assert json.loads(plan.read_text())["source"] == url
    assert fluxbatch("plan", plan, "--json").object["jobs"]["new"] == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/m.csv", "use https"),
        ("https://example.org/m.csv?X-Amz-Signature=sly-7f3a", "save it to a file first"),
        ("https://me:sly-7f3a@example.org/m.csv", "save it to a file first"),
        ("s3://rows/", "the address of a file is wanted"),
    ],
)
def test_an_address_that_is_not_safe_to_fetch_is_refused(
    tmp_path: Path, url: str, said: str
) -> None:
    """Before anything is asked of it, and without its secrets."""
    with pytest.raises(ManifestError) as caught:
        fetch(url, tmp_path)

    assert said in str(caught.value)
    assert "?" not in str(caught.value)
