"""A stand-in for the Hub's HTTP API, in a process of its own: what the real client asks to push.

Owns datasets as the Hub keeps them: commits of regular files and of LFS files, whose content is
uploaded before and stays when nobody commits it. Counts every upload that arrived whole. Nothing
outlives the process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TOKEN = "hf_aTokenOfTheStandIn0123456789"
_PAGE = 1_000
_LFS_ENDINGS = (".parquet", ".tar", ".png", ".jpg", ".webp", ".gif", ".avif")


@dataclass
class Repo:
    """One dataset."""

    private: bool
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Path to (blob, bytes): the sha256 of an LFS file, or the git name of a regular one."""
    commits: list[dict[str, Any]] = field(default_factory=list)


class StandIn:
    """All datasets, and what was uploaded."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.sizes: dict[str, int] = {}
        """Of LFS objects that arrived whole."""
        self.arrivals: Counter[str] = Counter()
        self.fail_commits = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30, middlewares=[_known_only])
        app.router.add_post("/api/repos/create", self.create)
        app.router.add_post("/api/validate-yaml", self.validate)
        app.router.add_get("/api/datasets/{owner}/{name}", self.info)
        app.router.add_get("/api/datasets/{owner}/{name}/revision/{rev}", self.info)
        app.router.add_get("/api/datasets/{owner}/{name}/tree/{rev}", self.tree)
        app.router.add_get("/api/datasets/{owner}/{name}/tree/{rev}/{path:.+}", self.tree)
        app.router.add_post("/api/datasets/{owner}/{name}/paths-info/{rev}", self.paths_info)
        app.router.add_post("/api/datasets/{owner}/{name}/preupload/{rev}", self.preupload)
        app.router.add_post("/api/datasets/{owner}/{name}/commit/{rev}", self.commit)
        app.router.add_post("/datasets/{owner}/{name}.git/info/lfs/objects/batch", self.batch)
        app.router.add_get("/datasets/{owner}/{name}/resolve/{rev}/{path:.+}", self.resolve)
        app.router.add_put("/lfs/{oid}", self.put)
        app.router.add_get("/_books", self.books)
        app.router.add_post("/_put", self.plant)
        app.router.add_post("/_fail", self.fail)
        return app

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        name = f"{asked['organization']}/{asked['name']}"
        url = f"{request.url.origin()}/datasets/{name}"
        if name in self.repos:
            return web.json_response(
                {"error": "You already created this dataset repo", "url": url}, status=409
            )
        self.repos[name] = Repo(
            private=asked.get("visibility") == "private" or bool(asked.get("private"))
        )
        return web.json_response({"url": url, "name": name, "id": name})

    async def validate(self, request: web.Request) -> web.Response:
        """As far as the test's own reading of the header goes."""
        content = (await request.json())["content"]
        if not content.startswith("---\n"):
            return web.json_response(
                {"warnings": [], "errors": [{"message": "no header"}]}, status=400
            )
        return web.json_response({"warnings": [], "errors": []})

    async def info(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        return web.json_response(
            {
                "id": _name(request),
                "sha": _sha(repo),
                "siblings": [{"rfilename": p} for p in repo.files],
            }
        )

    async def tree(self, request: web.Request) -> web.Response:
        """Page by page, as the Hub does: the next one by a link. Without `recursive` folders stand
        for what is in them."""
        repo, within = self._repo(request), request.match_info.get("path", "")
        entries = self._below(
            repo,
            f"{within}/" if within else "",
            request.query.get("recursive", "").lower() == "true",
        )
        begins = int(request.query.get("cursor", 0))
        headers = {}
        if begins + _PAGE < len(entries):
            after = request.url.update_query(cursor=str(begins + _PAGE))
            headers["Link"] = f'<{after}>; rel="next"'
        return web.json_response(entries[begins : begins + _PAGE], headers=headers)

    async def paths_info(self, request: web.Request) -> web.Response:
        repo, asked = self._repo(request), await request.post()
        paths = [str(path) for path in asked.getall("paths", [])]
        known = [self._entry(path, *repo.files[path]) for path in paths if path in repo.files]
        folders = [
            _folder(path) for path in paths if any(one.startswith(f"{path}/") for one in repo.files)
        ]
        return web.json_response([*known, *folders])

    def _below(self, repo: Repo, within: str, is_deep: bool) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(repo.files.items()):
            if not path.startswith(within):
                continue
            first, slash, _ = path.removeprefix(within).partition("/")
            if slash and not is_deep:
                entries[first] = _folder(within + first)
            else:
                entries[path] = self._entry(path, *blob)
        return list(entries.values())

    def _entry(self, path: str, blob: str, size: int) -> dict[str, Any]:
        if len(blob) == 64:
            lfs = {"oid": blob, "size": size, "pointerSize": 130}
            return {"type": "file", "path": path, "size": size, "oid": "0" * 40, "lfs": lfs}
        return {"type": "file", "path": path, "size": size, "oid": blob}

    async def preupload(self, request: web.Request) -> web.Response:
        repo, asked = self._repo(request), (await request.json())["files"]
        return web.json_response(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(_LFS_ENDINGS) else "regular",
                        "shouldIgnore": False,
                        "oid": repo.files.get(file["path"], (None, 0))[0],
                    }
                    for file in asked
                ]
            }
        )

    async def batch(self, request: web.Request) -> web.Response:
        objects = []
        for one in (await request.json())["objects"]:
            told = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.sizes:
                told["actions"] = {"upload": {"href": f"{request.url.origin()}/lfs/{one['oid']}"}}
            objects.append(told)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def put(self, request: web.Request) -> web.Response:
        oid, content = request.match_info["oid"], await request.read()
        if hashlib.sha256(content).hexdigest() != oid:
            return web.Response(status=400)
        self.arrivals[oid] += 1
        self.sizes[oid], self.blobs[oid] = len(content), content
        return web.Response()

    async def commit(self, request: web.Request) -> web.Response:
        repo = self._repo(request)
        if self.fail_commits:
            self.fail_commits -= 1
            return web.json_response({"error": "out of order"}, status=500)
        header, files = {}, dict(repo.files)
        for line in (await request.read()).splitlines():
            told = json.loads(line)
            value = told["value"]
            match told["key"]:
                case "header":
                    header = value
                case "file":
                    content = base64.b64decode(value["content"])
                    blob = _git_name(content)
                    self.blobs[blob] = content
                    files[value["path"]] = (blob, len(content))
                case "lfsFile":
                    if value["oid"] not in self.sizes:
                        return web.json_response({"error": "LFS object missing"}, status=400)
                    files[value["path"]] = (value["oid"], self.sizes[value["oid"]])
                case "deletedFile":
                    del files[value["path"]]
        repo.files = files
        repo.commits.append(header)
        url = f"{request.url.origin()}/datasets/{_name(request)}/commit/{_sha(repo)}"
        return web.json_response({"success": True, "commitOid": _sha(repo), "commitUrl": url})

    async def resolve(self, request: web.Request) -> web.Response:
        """A file, also its head alone."""
        repo, path = self._repo(request), request.match_info["path"]
        if path not in repo.files:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        blob, size = repo.files[path]
        headers = {"ETag": f'"{blob}"', "X-Repo-Commit": _sha(repo), "X-Linked-Size": str(size)}
        return web.Response(body=self.blobs[blob], headers=headers)

    async def books(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "arrivals": dict(self.arrivals),
                "repos": {
                    name: {"private": one.private, "files": one.files, "commits": one.commits}
                    for name, one in self.repos.items()
                },
            }
        )

    async def plant(self, request: web.Request) -> web.Response:
        """A regular file that somebody else has put into a dataset."""
        told = await request.json()
        repo = self.repos.setdefault(told["repo"], Repo(private=False))
        content = told["content"].encode()
        blob = _git_name(content)
        self.blobs[blob] = content
        repo.files[told["path"]] = (blob, len(content))
        return web.Response()

    async def fail(self, request: web.Request) -> web.Response:
        self.fail_commits = (await request.json())["commits"]
        return web.Response()

    def _repo(self, request: web.Request) -> Repo:
        repo = self.repos.get(_name(request))
        if repo is None:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound"})
        return repo


@web.middleware
async def _known_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Who has no token gets nowhere; an upload's address is its own proof."""
    is_open = request.path.startswith(("/_", "/lfs/"))
    if not is_open and request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return web.json_response(
            {"error": "Invalid credentials in Authorization header"}, status=401
        )
    response: web.StreamResponse = await handler(request)
    return response


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}


def _name(request: web.Request) -> str:
    return f"{request.match_info['owner']}/{request.match_info['name']}"


def _sha(repo: Repo) -> str:
    return hashlib.sha1(json.dumps([repo.files, len(repo.commits)]).encode()).hexdigest()


def _git_name(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass(frozen=True, slots=True)
class Hub:
    """A running stand-in."""

    origin: str

    @property
    def environment(self) -> dict[str, str]:
        """For the real client: where it is, and a token. Xet is another protocol."""
        return {"HF_ENDPOINT": self.origin, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}

    def arrivals(self) -> dict[str, int]:
        """How often each LFS object was uploaded to its end."""
        counted: dict[str, int] = self._call("books")["arrivals"]
        return counted

    def repo(self, name: str) -> dict[str, Any]:
        """`private`, `files` and `commits` of a dataset."""
        found: dict[str, Any] = self._call("books")["repos"][name]
        return found

    def content(self, name: str, path: str) -> bytes:
        url = f"{self.origin}/datasets/{name}/resolve/main/{path}"
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            data: bytes = answer.read()
        return data

    def plant(self, name: str, path: str, content: str) -> None:
        """Put a file where somebody else might have."""
        self._call("put", {"repo": name, "path": path, "content": content})

    def fail_commits(self, count: int) -> None:
        self._call("fail", {"commits": count})

    def _call(self, name: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_{name}", data=data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        told: dict[str, Any] = json.loads(text) if text else {}
        return told


@contextmanager
def hub_process() -> Iterator[Hub]:
    """The stand-in on a free port."""
    command = [sys.executable, "-m", "tests.support.hub"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Hub(process.stdout.readline().strip())
        finally:
            process.kill()


async def _serve() -> None:
    import anyio

    runner = web.AppRunner(StandIn().app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    await anyio.sleep_forever()


if __name__ == "__main__":
    import anyio

    anyio.run(_serve)
