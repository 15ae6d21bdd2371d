"""Users' own SIP accounts: the list for operators, and each user's own at /api/users/{id}/account."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from gateway.web.admin.routes import ERRORS, OPERATOR, USER
from gateway.web.auth.authenticator import client_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError, refusal
from gateway.web.state import Web

_PATH = "/users/{user_id}/account"
_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    404: refusal("No such user, account or registrar"),
    409: refusal("The account is set in the gateway's configuration"),
}

Name = Annotated[StrictStr, Field(max_length=128)]


class AccountGiven(BaseModel):
    """Body of PUT /api/users/{id}/account."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"registrar": "office", "username": "1001", "password": "its password"}]}
    )
    registrar: Name = Field(description="One of GET /api/registrars.")
    username: Annotated[StrictStr, Field(min_length=1, max_length=64)] = Field(description="The extension.")
    password: Annotated[StrictStr, Field(max_length=256)]
    auth_username: Name | None = Field(None, description="Digest user name where that is another one.")
    display_name: Name | None = Field(None, description="What others are shown of calls by it.")


class AccountInfo(BaseModel):
    """A user's own account and how it stands; the password is never told."""

    user: str = Field(description="Id of the user.")
    registrar: str = Field(description="One of GET /api/registrars.")
    username: str = Field(description="The extension.")
    configured: bool = Field(description="Set in the configuration, so that it is changed there only.")
    state: str = Field(description="registering, registered, refused or unreachable.")
    status: int = Field(description="The registrar's last final response, 0 for none yet.")


class AccountList(BaseModel):
    """The answer to GET /api/accounts."""

    accounts: list[AccountInfo]
    count: int


class RegistrarList(BaseModel):
    """The answer to GET /api/registrars."""

    registrars: list[str]


def _own(request: Request, user_id: str, role: str) -> bool:
    """Whether it is the user's own account; raises ApiError where it is somebody else's and the role is lower."""
    if request.state.user == user_id:
        return True
    if request.state.role not in ("admin", role):
        raise ApiError(403, "This is another user's account")
    return False


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["accounts"], responses=_ERRORS)
"""GET /api/accounts, /api/registrars, and GET, PUT, DELETE /api/users/{id}/account."""


@router.get("/accounts", response_model=AccountList, dependencies=[OPERATOR])
async def accounts(web: Web) -> dict[str, Any]:
    """Every user's own account and how it stands; for operators."""
    found = web.gateway.list_accounts()
    return {"accounts": found, "count": len(found)}


@router.get("/registrars", response_model=RegistrarList, dependencies=[USER])
async def registrars(web: Web) -> dict[str, Any]:
    """Where an account may be."""
    return {"registrars": web.gateway.list_registrars()}


@router.get(_PATH, response_model=AccountInfo, dependencies=[USER])
async def account(web: Web, user_id: str, request: Request) -> dict[str, Any]:
    """One's own account, or for operators anybody's."""
    _own(request, user_id, "operator")
    found = web.gateway.account_of(user_id)
    if found is None:
        raise ApiError(404, "There is no account")
    return found


@router.put(_PATH, response_model=AccountInfo, dependencies=[USER])
async def set_account(web: Web, user_id: str, given: AccountGiven, request: Request) -> dict[str, Any]:
    """Bring one's own account, or for administrators anybody's; it is kept encrypted."""
    own = _own(request, user_id, "admin")
    found = await web.gateway.set_account(user_id, given.model_dump(), by_user=own)
    web.authenticator.audit.add("account set", request.state.user, client_address(request), whose=user_id)
    return found


@router.delete(_PATH, status_code=204, dependencies=[USER])
async def remove_account(web: Web, user_id: str, request: Request) -> Response:
    """Give it up: it is taken back from the registrar and forgotten."""
    own = _own(request, user_id, "admin")
    removed = await web.gateway.remove_account(user_id, by_user=own)
    if not removed:
        raise ApiError(404, "There is no account")
    web.authenticator.audit.add("account removed", request.state.user, client_address(request), whose=user_id)
    return Response(status_code=204)
