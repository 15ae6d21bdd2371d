"""/api/reach: whether the machine that asks can be reached from here, for `gateway doctor --from`."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway.probe import tried
from gateway.sources import source_of
from gateway.web.admin.routes import ERRORS, requires
from gateway.web.auth.authenticator import Authenticator
from gateway.web.forwarded import known_address
from gateway.web.http.errors import RETRY, ApiError, bounded_route, refusal
from gateway.web.limits import KeyedBuckets
from gateway.web.settings import WebSettings

_A_SECOND, _BURST = 0.2, 10
"""Looks at one source."""


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


def create_router(authenticator: Authenticator, settings: WebSettings) -> APIRouter:
    """POST /api/reach."""
    router = APIRouter(prefix="/api", route_class=bounded_route(settings), tags=["administration"], responses=ERRORS)
    operator = [Depends(requires(authenticator, "operator"))]
    looks = KeyedBuckets(_A_SECOND, _BURST, time.monotonic)

    unknown: dict[int | str, dict[str, Any]] = {409: refusal("A proxy in front is not in web.proxies")}

    @router.post("/reach", response_model=ReachInfo, dependencies=operator, responses=unknown)
    async def reach(wanted: ReachRequest, request: Request) -> ReachInfo:
        """Try ports of the machine that asks; for operators of other gateways."""
        address = known_address(request)
        if address is None:
            raise ApiError(409, "A proxy that web.proxies does not name has passed this on: who asks is not known")
        if not looks.take(source_of(address)):
            raise ApiError(503, "Too many looks at that address, try again later", headers=RETRY)
        authenticator.audit.add("reach tried", request.state.user, address, ports=len(wanted.ports))
        answers = await asyncio.gather(*(tried(one.kind, address, one.port) for one in wanted.ports))
        return ReachInfo(address=address, answers=list(answers))

    return router
