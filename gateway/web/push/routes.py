"""/api/push: the key browsers subscribe with, and their subscriptions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from gateway.web.admin.routes import ERRORS, requires
from gateway.web.auth.authenticator import Authenticator
from gateway.web.http.errors import ApiError, bounded_route, refusal
from gateway.web.push.sender import PushSender
from gateway.web.push.subscriptions import Subscription, SubscriptionError, checked
from gateway.web.settings import WebSettings

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


def create_router(sender: PushSender, authenticator: Authenticator, settings: WebSettings) -> APIRouter:
    """GET and POST /api/push, POST /api/push/remove."""
    subscriptions = sender.subscriptions
    router = APIRouter(prefix="/api", route_class=bounded_route(settings), tags=["push"], responses=_ERRORS)
    signed_in = [Depends(requires(authenticator, "user"))]

    @router.get(_PATH, response_model=PushKey, dependencies=signed_in)
    async def key() -> dict[str, Any]:
        """The key to subscribe with."""
        return {"key": sender.public_key}

    @router.post(_PATH, status_code=204, dependencies=signed_in)
    async def subscribe(body: PushSubscription, request: Request) -> Response:
        """Wake this browser when the user is called and has no page open."""
        given = Subscription(endpoint=body.endpoint, p256dh=body.keys.p256dh, auth=body.keys.auth)
        try:
            subscriptions.add(request.state.user, checked(given, settings.push_services))
        except SubscriptionError as error:
            raise ApiError(400, f"{error}") from None
        return Response(status_code=204)

    @router.post(f"{_PATH}/remove", status_code=204, dependencies=signed_in)
    async def unsubscribe(body: PushEndpoint, request: Request) -> Response:
        """Do not wake this browser any more; succeeds for one that is not known, too."""
        subscriptions.remove(body.endpoint, request.state.user)
        return Response(status_code=204)

    return router
