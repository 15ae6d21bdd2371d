"""/api/rooms, /api/recordings, /api/voicemail: who meets where, what is recorded, and who left a message."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from gateway.web.admin.asking import ROOM_ERRORS, told, user_of
from gateway.web.admin.personal_rooms import OpenedRoom
from gateway.web.admin.routes import ADMIN, OPERATOR, USER
from gateway.web.auth.authenticator import client_address
from gateway.web.conferencing import RefusedError
from gateway.web.http.bounded import BoundedRoute
from gateway.web.state import Web, WebState

_TYPES = {".wav": "audio/wav", ".opus": "audio/ogg"}


class MemberInfo(BaseModel):
    """Somebody in a room."""

    id: str = Field(description="Its name in the room.")
    uri: str = Field(description="SIP URI.")
    display_name: str
    user: str | None = Field(description='Who it has proved to be, "trunk:NAME" through a trunk; null: a guest.')
    muted: bool
    video: bool = Field(description="Whether it sends a picture.")
    sees: str | None = Field(description="Id of the member whose picture it is sent.")
    pictures: dict[str, str] = Field(
        default_factory=dict, description="Ids of those whom a browser sees, by the mid of the section."
    )


class RoomInfo(BaseModel):
    """One room with somebody in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "team", "members": 3, "locked": False, "recording": False, "speaker": "2"}]
        }
    )
    name: str
    members: int = Field(description="How many are in it.")
    locked: bool = Field(description="Nobody else comes in.")
    recording: bool
    speaker: str | None = Field(description="Id of the member who speaks.")


class RoomList(BaseModel):
    """The answer to GET /api/rooms."""

    rooms: list[RoomInfo]
    count: int
    opened: list[OpenedRoom] = Field(description="Those that one has opened; for operators those of all.")
    may_open: bool = Field(description="Whether one may open rooms.")


class RoomDetails(BaseModel):
    """The answer to GET /api/rooms/{room}."""

    name: str
    members: list[MemberInfo]
    locked: bool = Field(description="Nobody else comes in.")
    recording: bool
    speaker: str | None = Field(description="Id of the member who speaks.")
    moderates: bool = Field(description="Whether who asks may mute others, remove, lock and record.")


class RoomChange(BaseModel):
    """Body of POST /api/rooms/{room}."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"action": "mute", "member": "2"}, {"action": "lock"}]})
    action: Literal["mute", "unmute", "kick", "lock", "unlock", "record", "stop-recording"]
    member: str = Field("", max_length=16, description="For mute, unmute and kick.")


class SoundRequest(BaseModel):
    """Body of POST /api/calls/{id}/sound."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sound": "closing.wav"}]})
    sound: str = Field(max_length=128, description="Name of a file in media.sounds.")
    party: str | None = Field(None, max_length=256, description="SIP URI of who alone hears it; default: both sides.")


class RecordingInfo(BaseModel):
    """One recording."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(description="Of its file; ends in .json where the sound is not the gateway's.")
    size: int = Field(description="Bytes.")
    kept_by: str | None = Field(None, description="Which rtpengine has the sound, in a file that begins with what.")
    call: str | None = Field(None, description="Id of the call.")
    room: str | None = Field(None, description="Name of the room, where it is one's.")
    caller: str | None = Field(None, description="SIP URI.")
    dialled: str | None = None
    parties: list[str] | None = Field(None, description="SIP URIs of who was in it.")
    began: str | None = Field(None, description="ISO 8601.")
    seconds: float | None = Field(None, description="null: it is not over.")
    ended: str | None = Field(None, description="Why it ended.")


class RecordingList(BaseModel):
    """The answer to GET /api/recordings."""

    recordings: list[RecordingInfo]
    count: int


class VoiceMessageInfo(BaseModel):
    """What somebody has said to a mailbox."""

    id: str
    caller: str = Field(description="SIP URI.")
    display_name: str
    at: float = Field(description="Unix seconds.")
    seconds: float = Field(description="How long it is.")
    new: bool = Field(description="Nobody has heard it yet.")


class VoicemailList(BaseModel):
    """The answer to GET /api/voicemail."""

    messages: list[VoiceMessageInfo]
    count: int
    new: int = Field(description="How many nobody has heard yet.")


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["rooms"], responses=ROOM_ERRORS)
"""/api/rooms for members and operators."""
recordings_router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["rooms"], responses=ROOM_ERRORS)
"""/api/calls/{id}/recording and /sound, /api/recordings and /api/voicemail."""


@router.get("/rooms", response_model=RoomList, dependencies=[USER])
async def rooms(web: Web, request: Request) -> dict[str, Any]:
    """The rooms one is in or moderates, for operators all with somebody in them; and those one has opened."""
    user, personal = user_of(request), web.gateway.conferencing.personal
    found = web.gateway.conferencing.list_rooms(user)
    opened = {"opened": personal.listed(user), "may_open": personal.may_open(user)}
    return {"rooms": found, "count": len(found)} | opened


@router.get("/rooms/{room}", response_model=RoomDetails, dependencies=[USER])
async def room_members(web: Web, room: str, request: Request) -> dict[str, Any]:
    """Who is in a room."""
    try:
        return web.gateway.conferencing.room_members(user_of(request), room)
    except RefusedError as error:
        raise told(error) from None


@router.post("/rooms/{room}", status_code=204, dependencies=[USER])
async def change_room(web: Web, room: str, change: RoomChange, request: Request) -> Response:
    """Mute, remove, lock or record, as one who moderates it or an operator; everybody may mute itself."""
    user = user_of(request)
    try:
        await web.gateway.conferencing.change_room(user, room, change.action, change.member)
    except RefusedError as error:
        raise told(error) from None
    where = client_address(request)
    web.authenticator.audit.add("room changed", user.id, where, room=room, what=f"{change.action} {change.member}")
    return Response(status_code=204)


@recordings_router.put("/calls/{call_id}/recording", status_code=204, dependencies=[USER])
async def record(web: Web, call_id: str, request: Request) -> Response:
    """Begin to record a call; for operators, and for users their own where recording.by_users is set."""
    return _record(web, call_id, request, on=True)


@recordings_router.delete("/calls/{call_id}/recording", status_code=204, dependencies=[USER])
async def stop(web: Web, call_id: str, request: Request) -> Response:
    """End the recording of a call."""
    return _record(web, call_id, request, on=False)


@recordings_router.post("/calls/{call_id}/sound", status_code=204, dependencies=[OPERATOR])
async def play(web: Web, call_id: str, wanted: SoundRequest, request: Request) -> Response:
    """Play a file into a call, in the place of what is heard else; for operators."""
    try:
        await web.gateway.conferencing.play_sound(call_id, wanted.sound, wanted.party)
    except RefusedError as error:
        raise told(error) from None
    user, sound = request.state.user, wanted.sound
    web.authenticator.audit.add("sound played", user, client_address(request), call=call_id, sound=sound)
    return Response(status_code=204)


@recordings_router.delete("/calls/{call_id}/sound", status_code=204, dependencies=[OPERATOR])
async def stop_sound(web: Web, call_id: str) -> Response:
    """Play no more of it; for operators."""
    try:
        web.gateway.conferencing.stop_sound(call_id)
    except RefusedError as error:
        raise told(error) from None
    return Response(status_code=204)


@recordings_router.get("/recordings", response_model=RecordingList, dependencies=[OPERATOR])
async def recordings(web: Web) -> dict[str, Any]:
    """What is kept, the newest first; for operators."""
    found = await web.gateway.conferencing.list_recordings()
    return {"recordings": found, "count": len(found)}


@recordings_router.get("/recordings/{name}", dependencies=[ADMIN], response_class=FileResponse)
async def recording(web: Web, name: str, request: Request) -> Response:
    """The sound of a recording; for administrators."""
    try:
        path = await web.gateway.conferencing.recording(name)
    except RefusedError as error:
        raise told(error) from None
    web.authenticator.audit.add("recording heard", request.state.user, client_address(request), recording=name)
    return FileResponse(path, media_type=_TYPES[path.suffix])


@recordings_router.delete("/recordings/{name}", status_code=204, dependencies=[ADMIN])
async def remove_recording(web: Web, name: str, request: Request) -> Response:
    """Delete a recording; for administrators."""
    try:
        await web.gateway.conferencing.remove_recording(name)
    except RefusedError as error:
        raise told(error) from None
    web.authenticator.audit.add("recording deleted", request.state.user, client_address(request), recording=name)
    return Response(status_code=204)


@recordings_router.get("/voicemail", response_model=VoicemailList, dependencies=[USER])
async def voicemail(web: Web, request: Request) -> dict[str, Any]:
    """One's own voice messages, the new ones first."""
    found = await web.gateway.conferencing.list_voicemail(user_of(request))
    return {"messages": found, "count": len(found), "new": sum(one["new"] for one in found)}


@recordings_router.get("/voicemail/{message_id}", dependencies=[USER], response_class=FileResponse)
async def voice_message(web: Web, message_id: str, request: Request) -> Response:
    """The sound of a message (Opus in Ogg), which is not new any more."""
    try:
        path = await web.gateway.conferencing.voicemail(user_of(request), message_id)
    except RefusedError as error:
        raise told(error) from None
    return FileResponse(path, media_type=_TYPES[path.suffix])


@recordings_router.delete("/voicemail/{message_id}", status_code=204, dependencies=[USER])
async def remove_voice_message(web: Web, message_id: str, request: Request) -> Response:
    """Delete a message."""
    try:
        await web.gateway.conferencing.remove_voicemail(user_of(request), message_id)
    except RefusedError as error:
        raise told(error) from None
    return Response(status_code=204)


def _record(web: WebState, call_id: str, request: Request, *, on: bool) -> Response:
    user = user_of(request)
    try:
        web.gateway.conferencing.record_call(user, call_id, on=on)
    except RefusedError as error:
        raise told(error) from None
    what = "recording began" if on else "recording ended"
    web.authenticator.audit.add(what, user.id, client_address(request), call=call_id)
    return Response(status_code=204)
