"""The place of the dataset that is served: whether it still lies where it was opened.

A connection goes on reading a ledger that was moved, removed or replaced, as if nothing had
happened. Owns the words for it, and refuses with them whatever is asked of such a dataset.
Source: docs/guide/live-page.md.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fluxbatch.dataset.folder import Folder
from fluxbatch.infra.runtime import in_thread
from fluxbatch.ledger.db.database import Database

_OF_THE_PAGE = ("/", "/events", "/favicon.ico")
_SCRIPTS = "/static/"


class DatasetPlace:
    """Looks with a `stat` alone, so it may be asked at any time."""

    def __init__(self, folder: Folder, db: Database) -> None:
        """*db* is what the dataset was opened with."""
        self._folder = folder
        self._db = db

    def lost(self) -> str | None:
        """Why the dataset that was opened is not there any more; None: it is."""
        if self._db.is_in_place():
            return None
        name = self._folder.address
        if self._folder.has_ledger():
            return (
                f"another dataset is at {name!r} now. Start `fluxbatch serve` again and open the"
                " address that it prints then"
            )
        return (
            f"{name!r} was moved or removed. Put it back, or start `fluxbatch serve` with its new"
            " place"
        )

    @property
    def middleware(self) -> Middleware:
        """Answers 410 while it is lost, for all but the page itself, which says it."""

        @web.middleware
        async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path not in _OF_THE_PAGE and not request.path.startswith(_SCRIPTS):
                lost = await in_thread(self.lost)
                if lost is not None:
                    return web.json_response({"error": lost}, status=410)
            return await handler(request)

        return checked
