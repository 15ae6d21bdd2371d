"""/api/bans: SIP sources that get no answer, seen and lifted by operators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.web.admin.routes import ERRORS, OPERATOR
from gateway.web.auth.authenticator import client_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError
from gateway.web.state import Web


class BanInfo(BaseModel):
    """One SIP source that is not answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "address": "203.0.113.9",
                    "reason": "100 requests that proved nothing",
                    "since": 1_796_000_000.0,
                    "until": 1_796_000_600.0,
                    "silenced": 4211,
                }
            ]
        }
    )
    address: str = Field(description="Its IP address.")
    reason: str = Field(description="A sentence.")
    since: float = Field(description="Unix seconds.")
    until: float = Field(description="Unix seconds; later with each thing that it tries.")
    silenced: int = Field(description="Requests that got no answer.")


class BanList(BaseModel):
    """The answer to GET /api/bans."""

    bans: list[BanInfo]
    count: int


router = APIRouter(prefix="/api/bans", route_class=BoundedRoute, tags=["administration"], responses=ERRORS)
"""GET /api/bans and DELETE /api/bans/{address}."""


@router.get("", response_model=BanList, dependencies=[OPERATOR])
async def bans(web: Web) -> dict[str, Any]:
    """SIP sources that are not answered now (sip.bans), the latest last; for operators."""
    found = web.gateway.list_bans()
    return {"bans": found, "count": len(found)}


@router.delete("/{address:path}", status_code=204, dependencies=[OPERATOR])
async def lift(web: Web, address: str, request: Request) -> Response:
    """Answer a source again; for operators."""
    if not web.gateway.lift_ban(address):
        raise ApiError(404, "That address is not banned")
    web.authenticator.audit.add("ban lifted", request.state.user, client_address(request), source=address)
    return Response(status_code=204)
