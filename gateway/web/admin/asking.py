"""Who asks of the rooms, and what is answered where that is refused."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from gateway.identity.model import User
from gateway.web.admin.routes import ERRORS
from gateway.web.conferencing import RefusedError
from gateway.web.http.errors import RETRY, ApiError, refusal
from gateway.web.state import web_of

ROOM_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    404: refusal("No such room, member, call or recording"),
    409: refusal("Not as things stand"),
    501: refusal("The media engine cannot do that"),
}


def user_of(request: Request) -> User:
    """The user of a request that `USER` (see routes) has let in; raises ApiError 403."""
    user = web_of(request).gateway.find_user(request.state.user)
    if user is None:
        raise ApiError(403, "This is for users of this gateway only")
    return user


def told(error: RefusedError) -> ApiError:
    """The refusal as an answer."""
    return ApiError(error.status, str(error), headers=RETRY if error.status == 503 else None)
