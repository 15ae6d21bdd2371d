"""/api/push: the key browsers subscribe with, and their subscriptions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from gateway.web.admin.routes import ERRORS, USER
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError, refusal
from gateway.web.push.sender import PushSender
from gateway.web.push.subscriptions import Subscription, SubscriptionError, checked
from gateway.web.state import Web, web_of

_ERRORS = {**ERRORS, 400: refusal("No usable subscription")}
_PATH = "/push"
_EXAMPLE_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"


class PushKey(BaseModel):
    """The answer to GET /api/push."""

    key: str = Field(description="Public VAPID key, base64url: `applicationServerKey`.")


class PushKeys(BaseModel):
    """`keys` of a PushSubscription."""

    p256dh: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    auth: Annotated[StrictStr, Field(min_length=1, max_length=64)]


class PushSubscription(BaseModel):
    """A PushSubscription as its toJSON() writes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
                    "keys": {
                        "p256dh": _EXAMPLE_KEY,
                        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
                    },
                }
            ]
        }
    )
    endpoint: Annotated[StrictStr, Field(min_length=1, max_length=1_024)]
    keys: PushKeys


class PushEndpoint(BaseModel):
    """Body of POST /api/push/remove."""

    endpoint: Annotated[StrictStr, Field(min_length=1, max_length=1_024)]


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["push"], responses=_ERRORS)
"""GET and POST /api/push, POST /api/push/remove."""


async def _sender(request: Request) -> PushSender:
    sender = web_of(request).ways.push
    assert sender is not None  # else these routes are absent
    return sender


_Sender = Annotated[PushSender, Depends(_sender)]


@router.get(_PATH, response_model=PushKey, dependencies=[USER])
async def key(sender: _Sender) -> dict[str, Any]:
    """The key to subscribe with."""
    return {"key": sender.public_key}


@router.post(_PATH, status_code=204, dependencies=[USER])
async def subscribe(web: Web, sender: _Sender, body: PushSubscription, request: Request) -> Response:
    """Wake this browser when the user is called and has no page open."""
    given = Subscription(endpoint=body.endpoint, p256dh=body.keys.p256dh, auth=body.keys.auth)
    try:
        sender.subscriptions.add(request.state.user, checked(given, web.settings.push_services))
    except SubscriptionError as error:
        raise ApiError(400, f"{error}") from None
    return Response(status_code=204)


@router.post(f"{_PATH}/remove", status_code=204, dependencies=[USER])
async def unsubscribe(sender: _Sender, body: PushEndpoint, request: Request) -> Response:
    """Do not wake this browser any more; succeeds for one that is not known, too."""
    sender.subscriptions.remove(body.endpoint, request.state.user)
    return Response(status_code=204)
