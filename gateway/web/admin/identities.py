"""/api/identities: which SIP URIs and numbers mean which user, beside the users' own ids."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from gateway.web.admin.routes import ADMIN, OPERATOR
from gateway.web.admin.users import USER_ERRORS, user_id_of
from gateway.web.auth.authenticator import client_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError
from gateway.web.state import Web


class IdentityGiven(BaseModel):
    """Body of PUT /api/identities/{uri}."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user": "alice"}]})
    user: Annotated[StrictStr, AfterValidator(user_id_of)] = Field(description="Id of the user.")


class IdentityInfo(BaseModel):
    """Whom a SIP URI means."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"uri": "sip:2001@gateway.local", "user": "alice", "configured": False}]}
    )
    uri: str = Field(description="SIP URI.")
    user: str = Field(description="Id of the user.")
    configured: bool = Field(description="By the configuration: an id, an alias or a rule.")


class IdentityList(BaseModel):
    """The answer to GET /api/identities."""

    identities: list[IdentityInfo]
    count: int


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["users"], responses=USER_ERRORS)
"""GET /api/identities; GET, PUT, DELETE /api/identities/{uri}."""


@router.get("/identities", response_model=IdentityList, dependencies=[OPERATOR])
async def identities(web: Web) -> dict[str, Any]:
    """SIP URIs that mean a user beside its own id; for operators."""
    found = web.gateway.users.identities()
    return {"identities": found, "count": len(found)}


@router.get("/identities/{uri}", response_model=IdentityInfo, dependencies=[OPERATOR])
async def identity(web: Web, uri: str) -> dict[str, Any]:
    """Whom a SIP URI, a number or a name means, by id, alias or rule; for operators."""
    found = web.gateway.users.identity_of(uri)
    if found is None:
        raise ApiError(404, "It means nobody")
    return found


@router.put("/identities/{uri}", response_model=IdentityInfo, dependencies=[ADMIN])
async def set_identity(web: Web, uri: str, given: IdentityGiven, request: Request) -> dict[str, Any]:
    """Have a SIP URI mean a user, of the configuration or not; kept over a restart. For administrators."""
    found = await web.gateway.users.set_identity(uri, given.user)
    web.authenticator.audit.add(
        "identity set", request.state.user, client_address(request), whose=given.user, uri=found["uri"]
    )
    return found


@router.delete("/identities/{uri}", status_code=204, dependencies=[ADMIN])
async def remove_identity(web: Web, uri: str, request: Request) -> Response:
    """It means nobody any more; for administrators."""
    await web.gateway.users.remove_identity(uri)
    web.authenticator.audit.add("identity removed", request.state.user, client_address(request), uri=uri[:128])
    return Response(status_code=204)
