"""The server of the live page: its addresses, and what each answers.

Owns the life of the server. It reads the ledger on a connection of its own and writes ratings
alone; a GET changes nothing. Buttons for the run at work are there where they were asked for.
Source: docs/guide/live-page.md.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler

from fluxbatch.dataset.folder import Folder
from fluxbatch.dataset.rating_store import ratings_in
from fluxbatch.engine.metrics.exposition import METRICS_TYPE
from fluxbatch.errors import ConfigError, FluxbatchError
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.db.database import Database
from fluxbatch.ledger.queries.live_images import LiveImage, live_image
from fluxbatch.ledger.reader import LedgerReader
from fluxbatch.live.access import QUERY, AccessGate, add_headers, cookie_of, openable_host
from fluxbatch.live.feed import LiveFeed
from fluxbatch.live.gallery_api import CHOICES, MOST_ITEMS, LiveGallery
from fluxbatch.live.grid_api import GridRoutes
from fluxbatch.live.metrics import LiveMetrics
from fluxbatch.live.pictures import LivePictures, thumbs_folder
from fluxbatch.live.place import DatasetPlace
from fluxbatch.live.run_buttons import RunButtons
from fluxbatch.report.thumbnails import Thumbnails

_SCRIPTS = ("app", "choose", "grid", "judging", "notice", "pick", "requests", "run", "text")
_PARTS = {"app.css": "text/css", **{f"{name}.js": "text/javascript" for name in _SCRIPTS}}
_STEP = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><a href="/">fluxbatch</a>\n'
_PING_S = 15.0
_MOST_BODY = 2 * 1024 * 1024
_FOREVER = "private, max-age=86400"


@dataclass(frozen=True, slots=True)
class LivePage:
    """What is served, and where."""

    folder: Folder
    figures: Callable[[Database], dict[str, Any]]
    """What is shown of the dataset as a whole; `at_work` says whether a run goes on."""
    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    has_buttons: bool = False
    """Whether it may pause, resume and stop a run at work, and change its cap."""


async def serve_page(page: LivePage, listening: Callable[[str], None]) -> None:
    """Serve until cancelled; *listening* is given the page's address once it answers.

    Raises `ConfigError` where no dataset is or the address cannot be had.
    """
    gate = AccessGate(page.host, secrets.token_urlsafe(24), is_guarded=page.has_buttons)
    root = thumbs_folder()
    # Images are not kept waiting for a sum of all figures: each has a connection.
    with (
        page.folder.reader() as db,
        page.folder.reader() as summed,
        page.folder.reader() as scraped,
        page.folder.reader() as gridded,
        Thumbnails(root) as thumbs,
    ):
        read = LedgerReader(db, in_thread)
        ratings = ratings_in(page.folder)
        place = DatasetPlace(page.folder, db)
        feed = LiveFeed(LedgerReader(summed, in_thread), page.figures, ratings, place)
        routes = _Routes(
            read,
            feed,
            LiveGallery(read, ratings),
            LivePictures(page.folder, db, thumbs, root),
            LiveMetrics(LedgerReader(scraped, in_thread), page.folder.name),
            gate,
            has_buttons=page.has_buttons,
        )
        middlewares = [gate.middleware, place.middleware, _worded]
        app = web.Application(middlewares=middlewares, client_max_size=_MOST_BODY)
        app.on_response_prepare.append(add_headers)
        app.add_routes(routes.table())
        app.add_routes(GridRoutes(LedgerReader(gridded, in_thread)).table())
        if page.has_buttons:
            app.add_routes(RunButtons(page.folder).table())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await _listen(runner, page)
            host = await in_thread(partial(openable_host, page.host))
            listening(_address(host, runner.addresses[0][1], gate))
            await feed.run()
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


async def _listen(runner: web.AppRunner, page: LivePage) -> None:
    try:
        await web.TCPSite(runner, page.host, page.port).start()
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {page.host} port {page.port}: {exc.strerror};"
            " choose another by --port"
        ) from exc


def _address(host: str, port: int, gate: AccessGate) -> str:
    shown = f"[{host}]" if ":" in host else host
    query = f"?{QUERY}={gate.token}" if gate.needs_token else ""
    return f"http://{shown}:{port}/{query}"


@web.middleware
async def _worded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A disk or a database that fails is said to the reader, and is no fault of the server."""
    try:
        return await handler(request)
    except FluxbatchError as exc:
        return _json({"error": str(exc)}, status=503)


class _Routes:
    def __init__(
        self,
        read: LedgerReader,
        feed: LiveFeed,
        gallery: LiveGallery,
        pictures: LivePictures,
        metrics: LiveMetrics,
        gate: AccessGate,
        *,
        has_buttons: bool,
    ) -> None:
        self._read = read
        self._feed = feed
        self._gallery = gallery
        self._pictures = pictures
        self._metrics = metrics
        self._gate = gate
        self._has_buttons = has_buttons
        self._mark = secrets.token_hex(8)
        """Tells a page of an earlier server that it is one."""

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/favicon.ico", self._icon),
            web.get("/static/{name}", self._static),
            web.get("/events", self._events),
            web.get("/metrics", self._scrape),
            web.get("/api/images", self._images),
            web.get("/api/items", self._items),
            web.get("/api/judged", self._judged),
            web.get("/thumb/{seq:\\d{1,18}}", self._thumb),
            web.get("/control/{seq:\\d{1,18}}", self._control),
            web.get("/image/{seq:\\d{1,18}}", self._image),
            web.post("/api/rate", self._rate),
            web.post("/api/undo", self._undo),
        ]

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if QUERY in request.query:
            moved = web.Response(status=302, headers={"Location": "/"})
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                # What follows from a link of another site bears no strict cookie.
                moved = web.Response(text=_STEP, content_type="text/html")
            moved.set_cookie(cookie_of(request), self._gate.token, httponly=True, samesite="Strict")
            return moved
        text = _part("index.html").replace("{{token}}", self._gate.token)
        text = text.replace("{{server}}", self._mark)
        text = text.replace("{{control}}", "true" if self._has_buttons else "false")
        return web.Response(text=text, content_type="text/html")

    async def _icon(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _PARTS:
            raise web.HTTPNotFound
        return web.Response(text=_part(name), content_type=_PARTS[name])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        version = 0
        await response.write(f"event: server\ndata: {self._mark}\n\n".encode())
        try:
            with self._feed as feed:
                while True:
                    with anyio.move_on_after(_PING_S):
                        version, newer = await feed.newer(version)
                        for event, text in newer:
                            await response.write(f"event: {event}\ndata: {text}\n\n".encode())
                        continue
                    await response.write(b": still here\n\n")
        except ConnectionError:
            return response  # nobody looks any more

    async def _scrape(self, _: web.Request) -> web.StreamResponse:
        text = await self._metrics.text()
        return web.Response(text=text, headers={"Content-Type": METRICS_TYPE})

    async def _images(self, request: web.Request) -> web.StreamResponse:
        asked = request.query
        choice, after = asked.get("rating", ""), asked.get("after", "0")
        if choice not in CHOICES or not after.isdecimal() or len(after) > 18:
            raise web.HTTPBadRequest
        found = await self._gallery.newest(int(after), asked.get("q", "")[:500].strip(), choice)
        return _json(found)

    async def _items(self, request: web.Request) -> web.StreamResponse:
        texts = request.query.get("seqs", "").split(",")[:MOST_ITEMS]
        seqs = [int(text) for text in texts if text.isdecimal() and len(text) <= 18]
        return _json(await self._gallery.items(seqs))

    async def _judged(self, _: web.Request) -> web.StreamResponse:
        return _json(await self._gallery.judged())

    async def _known(self, request: web.Request) -> LiveImage:
        image = await self._read(partial(live_image, seq=int(request.match_info["seq"])))
        if image is None:
            raise web.HTTPNotFound
        return image

    async def _thumb(self, request: web.Request) -> web.StreamResponse:
        return _file(await self._pictures.thumb(await self._known(request)))

    async def _control(self, request: web.Request) -> web.StreamResponse:
        return _file(await self._pictures.control(await self._known(request)))

    async def _image(self, request: web.Request) -> web.StreamResponse:
        image = await self._known(request)
        body = await self._pictures.whole(image)
        if body is None or not image.mime.startswith("image/") or "svg" in image.mime:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type=image.mime, headers={"Cache-Control": _FOREVER})

    async def _rate(self, request: web.Request) -> web.StreamResponse:
        try:
            changed = await self._gallery.rate(await request.json())
        except json.JSONDecodeError:
            raise web.HTTPBadRequest from None
        except FluxbatchError as exc:
            return _json({"error": str(exc)}, status=400)
        return _json({"changed": changed, "judged": await self._gallery.judged()})

    async def _undo(self, _: web.Request) -> web.StreamResponse:
        try:
            undone = await self._gallery.undo()
        except FluxbatchError as exc:
            return _json({"error": str(exc)}, status=400)
        return _json({"changed": undone, "judged": await self._gallery.judged()})


def _part(name: str) -> str:
    return files("fluxbatch.live").joinpath("page", name).read_text(encoding="utf-8")


def _json(value: object, *, status: int = 200) -> web.Response:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json", status=status)


def _file(path: Any) -> web.StreamResponse:
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers={"Content-Type": "image/webp", "Cache-Control": _FOREVER})
