"""The page and its files, from a fixed table: nothing else of the disk can be asked for."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, Request
from starlette.responses import Response

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "softphone.css": "text/css; charset=utf-8",
    "softphone.js": "text/javascript; charset=utf-8",
    "session.js": "text/javascript; charset=utf-8",
    "rpc.js": "text/javascript; charset=utf-8",
    "phone.js": "text/javascript; charset=utf-8",
    "ui.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "devices.js": "text/javascript; charset=utf-8",
    "alerts.js": "text/javascript; charset=utf-8",
    "history.js": "text/javascript; charset=utf-8",
    "sounds.js": "text/javascript; charset=utf-8",
    "webrtc-client.js": "text/javascript; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "rooms.html": "text/html; charset=utf-8",
    "rooms.css": "text/css; charset=utf-8",
    "rooms.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class StaticFile:
    """One file in memory."""

    def __init__(self, name: str) -> None:
        self.content = resources.files("gateway.web").joinpath("static", name).read_bytes()
        self.media_type = _TYPES[name]
        self.etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def response(self, request: Request) -> Response:
        """The file, or 304 when the client has it."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def create_router() -> APIRouter:
    """GET / and GET /static/NAME for each file of the table."""
    router = APIRouter(include_in_schema=False)
    files = {name: StaticFile(name) for name in _TYPES}
    routes = {"/": "index.html", "/favicon.ico": "icon.svg", "/webrtc-client.js": "webrtc-client.js"}
    routes |= {f"/static/{name}": name for name in files if not name.endswith(".html")}
    routes |= {"/webrtc/client": "rooms.html", "/docs": "docs.html"}
    for path, name in routes.items():
        router.add_api_route(path, files[name].response, methods=["GET", "HEAD"])
    return router
