"""Routes that check Origin, content type and size before the endpoint sees the body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from gateway.web.auth.origins import origin_allowed
from gateway.web.checks import BadJson, load_json
from gateway.web.http.errors import ApiError
from gateway.web.state import web_of

_DISCARDED = 1_048_576
"""Bytes of a body too large that are read and dropped, so that a client still sending sees the answer."""
_CLOSE = {"Connection": "close"}
"""For errors that leave a part of the body unread."""


class _BoundedRequest(Request):
    limit = 0
    depth = 0
    seconds = 0.0

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            try:
                async with asyncio.timeout(self.seconds):
                    self._body = await self._bounded()
            except TimeoutError:
                raise ApiError(408, "The body did not come in time", headers=_CLOSE) from None
        return self._body

    async def _bounded(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > _DISCARDED:
                raise ApiError(413, f"The body is larger than {self.limit} bytes", headers=_CLOSE)
            if size <= self.limit:
                chunks.append(chunk)
        if size > self.limit:
            raise ApiError(413, f"The body is larger than {self.limit} bytes")
        return b"".join(chunks)

    async def json(self) -> Any:
        try:
            return load_json(await self.body(), self.depth)
        except BadJson as error:
            raise ApiError(400, str(error)) from None


class BoundedRoute(APIRoute):
    """Route for JSON of our own pages and of programs, by the settings of the application that serves it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            settings = web_of(request).settings
            if not origin_allowed(request, settings):
                raise ApiError(403, "This origin may not use the API")
            if request.method in ("POST", "PUT", "PATCH"):
                _check_headers(request, settings.max_body)
            bounded = _BoundedRequest(request.scope, request.receive)
            bounded.limit, bounded.depth = settings.max_body, settings.max_depth
            bounded.seconds = settings.request_timeout
            return await handler(bounded)

        return handle


def _check_headers(request: Request, limit: int) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Any other type could be sent from a foreign page without asking first (CORS "simple" requests).
        raise ApiError(400, "The content type must be application/json")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > _DISCARDED:
        raise ApiError(413, f"The body is larger than {limit} bytes", headers=_CLOSE)
