"""The page and its files, read once by a process: nothing else of the disk can be asked for."""

from __future__ import annotations

import functools
import gzip
import hashlib
from importlib import resources
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


class StaticFile:
    """One file in memory."""

    def __init__(self, name: str, content: bytes) -> None:
        self.content = content
        self.media_type = _TYPES[PurePath(name).suffix]
        self._packed = gzip.compress(self.content, mtime=0)
        self.etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    async def response(self, request: Request) -> Response:
        """The file, or 304 when the client has it."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self._packed, media_type=self.media_type, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


@functools.cache
def _files() -> dict[str, StaticFile]:
    folder = resources.files("gateway.web").joinpath("static")
    return {file.name: StaticFile(file.name, file.read_bytes()) for file in folder.iterdir()}


@functools.cache
def routes() -> tuple[BaseRoute, ...]:
    """GET / and GET /static/NAME for each file of the folder."""
    files = _files()
    paths = {
        "/": "index.html",
        "/favicon.ico": "icon.svg",
        "/webrtc-client.js": "webrtc-client.js",
        "/call-button.js": "call-button.js",
        "/sw.js": "sw.js",
    }
    paths |= {f"/static/{name}": name for name in files if not name.endswith(".html")}
    paths |= {"/webrtc/client": "rooms.html", "/call": "call.html", "/docs": "docs.html", "/admin": "admin.html"}
    return tuple(
        Route(path, files[name].response, methods=["GET"], include_in_schema=False) for path, name in paths.items()
    )
