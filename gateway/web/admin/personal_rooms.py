"""/api/rooms for those who open rooms: POST makes one with a number and a PIN, PATCH changes it, DELETE ends it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from gateway.web.admin.asking import ROOM_ERRORS, told, user_of
from gateway.web.admin.routes import USER
from gateway.web.admin.users import printable
from gateway.web.auth.authenticator import client_address
from gateway.web.conferencing import RefusedError
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import refusal
from gateway.web.state import Web

_Digits = Annotated[StrictStr, Field(pattern="^([0-9]{0,16}|auto)$")]
_Number = Annotated[StrictStr, Field(pattern="^[0-9]{1,15}$")]
_Title = Annotated[StrictStr, Field(max_length=64), AfterValidator(printable)]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: refusal("Not such a number, or not such a PIN"),
    409: refusal("The number is taken, or none is free"),
}


class RoomGiven(BaseModel):
    """Body of POST /api/rooms."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"title": "Monday round"}, {"number": "8001", "pin": "471147"}]},
    )
    title: _Title = Field("", description="For people.")
    number: _Number | None = Field(None, description="Of conference.numbers; default: the next free one.")
    pin: _Digits | None = Field(None, description='"auto": one is made, the default where rooms need one; "": none.')


class RoomPatch(BaseModel):
    """Body of PATCH /api/rooms/{room}: what is absent stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"title": "Round"}, {"pin": "112233"}]})
    title: _Title | None = None
    pin: _Digits | None = Field(None, description='"auto": one is made; "": none.')


class OpenedRoom(BaseModel):
    """A room that a user opened."""

    room: str = Field(description="Its number, which phones and pages dial.")
    title: str
    by: str = Field(description="Id of its owner, who moderates it.")
    has_pin: bool
    used: bool = Field(description="Somebody is in it, at this gateway.")
    since: float = Field(description="Unix seconds.")
    ends: float = Field(description="When it is closed if nobody comes, Unix seconds.")


class RoomMade(OpenedRoom):
    """The answer to POST /api/rooms, and to a PATCH."""

    pin: str | None = Field(None, description='The PIN that was given or made; "": none. It is not told again.')


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["rooms"], responses=ROOM_ERRORS)
"""POST /api/rooms, PATCH and DELETE /api/rooms/{room}."""


@router.post("/rooms", response_model=RoomMade, status_code=201, dependencies=[USER], responses=_REFUSALS)
async def open_room(web: Web, given: RoomGiven, request: Request, response: Response) -> dict[str, Any]:
    """Open a room of one's own by a number, for who may (conference.opened_by)."""
    user = user_of(request)
    try:
        made = await web.gateway.conferencing.personal.open(user, given.title.strip(), given.number, given.pin)
    except RefusedError as error:
        raise told(error) from None
    web.authenticator.audit.add("room opened", user.id, client_address(request), room=made["room"])
    response.headers["Cache-Control"] = "no-store"
    return made


@router.patch("/rooms/{room}", response_model=RoomMade, dependencies=[USER], responses=_REFUSALS)
async def patch_room(web: Web, room: str, given: RoomPatch, request: Request, response: Response) -> dict[str, Any]:
    """Give a room that one has opened another title or PIN; operators any."""
    user, title = user_of(request), None if given.title is None else given.title.strip()
    try:
        changed = await web.gateway.conferencing.personal.change(user, room, title, given.pin)
    except RefusedError as error:
        raise told(error) from None
    what = " ".join(name for name in ("title", "pin") if getattr(given, name) is not None)
    web.authenticator.audit.add("room changed", user.id, client_address(request), room=room, what=what)
    response.headers["Cache-Control"] = "no-store"
    return changed


@router.delete("/rooms/{room}", status_code=204, dependencies=[USER])
async def close_room(web: Web, room: str, request: Request) -> Response:
    """End a room that one has opened, operators any; who is in it leaves, and is told why."""
    user = user_of(request)
    try:
        await web.gateway.conferencing.personal.close(user, room)
    except RefusedError as error:
        raise told(error) from None
    web.authenticator.audit.add("room closed", user.id, client_address(request), room=room)
    return Response(status_code=204)
