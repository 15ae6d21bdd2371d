"""/api/reach: whether the machine that asks can be reached from here, for `gateway doctor --from`."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.probe import tried
from gateway.sources import source_of
from gateway.web.admin.routes import ERRORS, OPERATOR
from gateway.web.forwarded import known_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import RETRY, ApiError, refusal
from gateway.web.state import Web


class Port(BaseModel):
    """A port of the machine that asks."""

    kind: Literal["sip", "echo", "tcp"] = Field(
        description="sip: OPTIONS over UDP; echo: a datagram that is to come back; tcp: a connection."
    )
    port: int = Field(ge=1, le=65_535)


class ReachRequest(BaseModel):
    """The body of POST /api/reach."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"ports": [{"kind": "sip", "port": 5060}, {"kind": "tcp", "port": 443}]}]},
    )
    ports: list[Port] = Field(
        max_length=16, description="At the address that the request comes from, and nowhere else."
    )


class ReachInfo(BaseModel):
    """The answer to POST /api/reach."""

    address: str = Field(description="Where the request comes from, as seen here.")
    answers: list[str | None] = Field(description="Of each port, in their order; null: nothing came within 3 s.")


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["administration"], responses=ERRORS)
_UNKNOWN: dict[int | str, dict[str, Any]] = {409: refusal("A proxy in front is not in web.proxies")}


@router.post("/reach", response_model=ReachInfo, dependencies=[OPERATOR], responses=_UNKNOWN)
async def reach(web: Web, wanted: ReachRequest, request: Request) -> ReachInfo:
    """Try ports of the machine that asks; for operators of other gateways."""
    address = known_address(request)
    if address is None:
        raise ApiError(409, "A proxy that web.proxies does not name has passed this on: who asks is not known")
    if not web.reach_tries.take(source_of(address)):
        raise ApiError(503, "Too many looks at that address, try again later", headers=RETRY)
    web.authenticator.audit.add("reach tried", request.state.user, address, ports=len(wanted.ports))
    answers = await asyncio.gather(*(tried(one.kind, address, one.port) for one in wanted.ports))
    return ReachInfo(address=address, answers=list(answers))
