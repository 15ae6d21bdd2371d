"""GET /healthz and /readyz: whether the process works, and whether it takes new calls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gateway.web.facade import READY
from gateway.web.http.models import HealthInfo
from gateway.web.state import web_of

_CLOSED: dict[int | str, dict[str, Any]] = {503: {"model": HealthInfo, "description": "It takes no new calls"}}

router = APIRouter(tags=["operation"])


def _health(request: Request) -> dict[str, Any]:
    web, version = web_of(request), request.app.version
    known = {"status": "ok", "uptime_seconds": int(web.uptime()), "version": version, "active_calls": 0}
    return known | web.gateway.health()


@router.get("/healthz", response_model=HealthInfo)
async def healthz(request: Request) -> Response:
    """That the process works, how it is, since when, and with how many calls."""
    return JSONResponse(_health(request))


@router.get("/readyz", response_model=HealthInfo, responses=_CLOSED)
async def readyz(request: Request) -> Response:
    """Whether it takes new calls: 503 while it drains, has no room, or lacks a part that every call needs."""
    body = _health(request)
    return JSONResponse(body, 200 if body["status"] in READY else 503)
