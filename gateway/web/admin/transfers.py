"""/api/calls/{id}/transfer: operators pass one side of a call on."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.call.status import Cause
from gateway.web.admin.asking import ROOM_ERRORS, user_of
from gateway.web.admin.routes import OPERATOR
from gateway.web.auth.authenticator import client_address
from gateway.web.conferencing import RefusedError
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError, refusal
from gateway.web.http.models import Target
from gateway.web.http.sdp_api import http_status
from gateway.web.state import Web

_STATUS = {Cause.GLARE.status: 409, Cause.CANCELLED.status: 409}
"""HTTP's status where it has none of SIP's."""
_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: refusal("Nobody has answered"),
    480: refusal("Whom the call was to go to cannot be reached"),
    486: refusal("It is busy"),
    488: refusal("The media engine cannot move the parties, or they have no codec in common"),
    500: refusal("It could not be done"),
    502: refusal("The telephone system there has a fault"),
}


class TransferRequest(BaseModel):
    """Body of POST /api/calls/{id}/transfer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": "1002"}]})
    to: Target = Field(description="Who takes the place of the other side: extension, web user or SIP URI.")
    party: str | None = Field(None, max_length=256, description="SIP URI of the side that stays; default: the caller.")


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["rooms"], responses=ROOM_ERRORS)
"""POST /api/calls/{id}/transfer."""


@router.post("/calls/{call_id}/transfer", status_code=204, dependencies=[OPERATOR], responses=_REFUSALS)
async def transfer(web: Web, call_id: str, wanted: TransferRequest, request: Request) -> Response:
    """Pass one side of a call on to whom one may call oneself, answered once they talk; for operators."""
    user = user_of(request)
    note = {"call": call_id, "to": wanted.to}
    try:
        await web.gateway.conferencing.transfer_call(user, call_id, wanted.to, wanted.party)
    except RefusedError as error:
        status = _STATUS.get(error.status) or http_status(error.status)
        web.authenticator.audit.add("call not transferred", user.id, client_address(request), **note)
        raise ApiError(status, str(error)) from None
    web.authenticator.audit.add("call transferred", user.id, client_address(request), **note)
    return Response(status_code=204)
