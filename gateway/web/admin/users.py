"""/api/users: operators see who is who, administrators change those that they made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from gateway.identity.model import is_user_id
from gateway.web.admin.routes import ADMIN, ERRORS, OPERATOR
from gateway.web.auth.authenticator import client_address
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError, refusal
from gateway.web.state import Web, web_of

USER_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    400: refusal("A value that cannot be"),
    404: refusal("No such user or identity"),
    409: refusal("The name is taken, or set in the gateway's configuration"),
}


def user_id_of(text: str) -> str:
    if not is_user_id(text):
        raise ValueError("must be 1 to 64 letters, digits or . _ + - and begin with a letter or digit")
    return text


def printable(text: str) -> str:
    """The same text. Raises ValueError for control characters."""
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


Word = Annotated[StrictStr, Field(max_length=128), AfterValidator(printable)]
Words = Annotated[list[Word], Field(max_length=100)]
Password = Annotated[StrictStr, Field(min_length=8, max_length=256), AfterValidator(printable)]


class UserChange(BaseModel):
    """Body of PATCH /api/users/{id}: what is not named stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"display_name": "Bob B."}]})
    display_name: Word = ""
    role: Literal["user", "operator", "admin"] = "user"
    web: StrictBool = Field(True, description="May sign in on the page.")
    sip: StrictBool = Field(False, description="May register a SIP phone.")
    password: Literal["auto"] | Password | None = Field(
        "auto", description='"auto" makes one, which is in the answer; null: none, other ways to sign in only.'
    )
    may_call: Words = Field(["*"], description="Patterns of what the user may dial, as in the configuration.")
    max_calls: Annotated[StrictInt, Field(ge=1, le=1_000)] = Field(10, description="At once.")
    dtmf: Literal["auto", "rfc4733", "info", "inband"] = Field("auto", description="How its phones are told digits.")
    pickup_groups: Words = Field([], description="Groups whose members take each other's calls.")
    call_waiting: StrictBool = Field(True, description="Whether a second call rings; else it is busy.")
    ring: Literal["all", "in_order"] = Field("all", description="Its phones and pages at once, or one after the other.")
    ring_next_after: Annotated[float, Field(gt=0, le=600)] = Field(15.0, description="Seconds, with in_order.")


class NewUser(UserChange):
    """Body of POST /api/users."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "bob", "display_name": "Bob", "may_call": ["*", "0*"]}]}
    )
    id: Annotated[StrictStr, AfterValidator(user_id_of)] = Field(description="By which it signs in and is dialled.")

    @model_validator(mode="after")
    def _some_way_in(self) -> NewUser:
        if not self.web and not self.sip:
            raise ValueError("neither web nor sip is true, so nobody could ever be this user")
        return self


class UserInfo(BaseModel):
    """One user."""

    id: str
    display_name: str
    role: str
    web: bool
    sip: bool
    configured: bool = Field(False, description="Set in the configuration, so that it is changed there only.")
    aliases: list[str] = Field([], description="See /api/identities.")
    may_call: list[str] = []
    max_calls: int = 10
    dtmf: str = "auto"
    pickup_groups: list[str] = []
    call_waiting: bool = True
    ring: str = "all"
    ring_next_after: float = 15.0
    pages: int = Field(description="Open pages.")
    phones: int = Field(description="Contacts that are registered.")
    password: str | None = Field(None, description="One that was made just now; it is not told again.")


class UserList(BaseModel):
    """The answer to GET /api/users."""

    users: list[UserInfo]
    count: int


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["users"], responses=USER_ERRORS)
"""GET, POST /api/users; GET, PATCH, DELETE /api/users/{id}."""


@router.get("/users", response_model=UserList, dependencies=[OPERATOR])
async def users(web: Web) -> dict[str, Any]:
    """Everybody who is configured or was made here, and who has a page open; for operators."""
    found = await web.gateway.users.listed()
    return {"users": found, "count": len(found)}


@router.post("/users", response_model=UserInfo, status_code=201, dependencies=[ADMIN])
async def make_user(web: Web, given: NewUser, request: Request, response: Response) -> dict[str, Any]:
    """Make a user, who can sign in at once; kept over a restart. For administrators."""
    made = await web.gateway.users.make(_values(given))
    _audited(request, "user made", whose=given.id, role=given.role)
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("/users/{user_id}", response_model=UserInfo, dependencies=[OPERATOR])
async def user(web: Web, user_id: str) -> dict[str, Any]:
    """One user; for operators."""
    found = await web.gateway.users.shown(user_id)
    if found is None:
        raise ApiError(404, "There is no such user")
    return found


@router.patch("/users/{user_id}", response_model=UserInfo, dependencies=[ADMIN])
async def change_user(
    web: Web, user_id: str, given: UserChange, request: Request, response: Response
) -> dict[str, Any]:
    """Change a user that was made here, whose pages then sign in again; for administrators."""
    values = {name: value for name, value in _values(given).items() if name in given.model_fields_set}
    if request.state.user == user_id and values.get("role", "admin") != "admin":
        raise ApiError(409, "Nobody takes the role of administrator from himself")
    changed = await web.gateway.users.change(user_id, values)
    _audited(request, "user changed", whose=user_id, what=",".join(sorted(given.model_fields_set)))
    response.headers["Cache-Control"] = "no-store"
    return changed


@router.delete("/users/{user_id}", status_code=204, dependencies=[ADMIN])
async def remove_user(web: Web, user_id: str, request: Request) -> Response:
    """Forget a user that was made here: calls end, pages and phones are signed out. For administrators."""
    if request.state.user == user_id:
        raise ApiError(409, "Nobody removes himself")
    await web.gateway.users.remove(user_id)
    _audited(request, "user removed", whose=user_id)
    return Response(status_code=204)


def _audited(request: Request, action: str, **details: Any) -> None:
    web_of(request).authenticator.audit.add(action, request.state.user, client_address(request), **details)


def _values(given: UserChange) -> dict[str, Any]:
    """As the fields of a User are."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.model_dump().items()}
