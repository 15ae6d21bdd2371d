"""Who asks of the rooms, and what is answered where that is refused."""

from __future__ import annotations

from fastapi import Request

from gateway.identity.model import User
from gateway.web.conferencing import RefusedError
from gateway.web.facade import Gateway
from gateway.web.http.errors import RETRY, ApiError


def user_of(gateway: Gateway, request: Request) -> User:
    """The user of a request that `requires` has let in; raises ApiError 403."""
    user = gateway.find_user(request.state.user)
    if user is None:
        raise ApiError(403, "This is for users of this gateway only")
    return user


def told(error: RefusedError) -> ApiError:
    """The refusal as an answer."""
    return ApiError(error.status, str(error), headers=RETRY if error.status == 503 else None)
