"""/api/session: sign in with a password once; afterwards a cookie no script can read gives short-lived tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Cookie, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from gateway.identity.model import User
from gateway.web.auth.authenticator import TooManyFailures, client_address
from gateway.web.auth.sign_ins import SignIn
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import RETRY, ApiError, refusal
from gateway.web.state import Web, WebState

COOKIE = "gateway_session"
_PATH = "/api/session"


class SignInRequest(BaseModel):
    """Body of POST /api/session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user": "alice", "password": "her password"}]})
    user: Annotated[StrictStr, Field(min_length=1, max_length=128)]
    password: Annotated[StrictStr, Field(min_length=1, max_length=256)]


class SignedIn(BaseModel):
    """Who is signed in, and the token to show it with."""

    user: str
    display_name: str
    role: str
    access_token: str = Field(description="For `Authorization: Bearer …`, and as `token` of `announce`.")
    expires_in: int = Field(description="Seconds; ask /api/session/refresh for the next one before.")


SESSION_ERRORS: dict[int | str, dict[str, Any]] = {
    401: refusal("Wrong name or password, or no sign-in to refresh"),
    403: refusal("A foreign origin"),
    503: refusal("Too many wrong passwords; Retry-After"),
}


class SessionAnswers:
    """What the page gets when somebody is signed in."""

    def __init__(self, web: WebState) -> None:
        self._authenticator = web.authenticator
        self._settings = web.settings

    def answer(
        self, request: Request, response: Response, user: User, entry: SignIn, token: str | None
    ) -> dict[str, Any]:
        tokens = self._authenticator.tokens
        if token is not None:
            self.set_cookie(request, response, token, int(self._authenticator.sign_ins.lifetime))
        return {
            "user": user.id,
            "display_name": user.display_name,
            "role": user.role,
            "access_token": tokens.issue(user.id, entry.id),
            "expires_in": int(tokens.lifetime),
        }

    def set_cookie(self, request: Request, response: Response, token: str, max_age: int) -> None:
        """The refresh token, for `max_age` seconds; 0 takes it away."""
        self.put(request, response, COOKIE, token, max_age, path=_PATH, samesite="strict")

    def put(
        self,
        request: Request,
        response: Response,
        name: str,
        value: str,
        max_age: int,
        *,
        path: str,
        samesite: Literal["strict", "lax"],
    ) -> None:
        """A cookie that no script reads, for what is below `path` only."""
        secure = request.url.scheme == "https" or self._settings.public_url.startswith("https:")
        path = urlsplit(self._settings.public_url).path + path
        response.set_cookie(name, value, max_age=max_age, path=path, secure=secure, httponly=True, samesite=samesite)
        response.headers["Cache-Control"] = "no-store"


router = APIRouter(route_class=BoundedRoute, tags=["session"], responses=SESSION_ERRORS)
"""POST, DELETE /api/session and POST /api/session/refresh."""


@router.post(_PATH, response_model=SignedIn)
async def sign_in(web: Web, body: SignInRequest, request: Request, response: Response) -> dict[str, Any]:
    """Sign in. The refresh cookie is HttpOnly, SameSite=Strict and sent to /api/session only."""
    try:
        found = await web.authenticator.sign_in(body.user, body.password, client_address(request), request.headers)
    except TooManyFailures:
        raise ApiError(503, "Too many attempts, try again later", headers=RETRY) from None
    if found is None:
        raise ApiError(401, "Name or password is wrong")
    return SessionAnswers(web).answer(request, response, *found)


@router.post(_PATH + "/refresh", response_model=SignedIn)
async def refresh(
    web: Web, request: Request, response: Response, cookie: Annotated[str, Cookie(alias=COOKIE)] = ""
) -> dict[str, Any]:
    """The next access token. The cookie changes at every use; an old one that comes back ends the sign-in."""
    try:
        found = await web.authenticator.refresh(cookie, client_address(request)) if cookie else None
    except TooManyFailures:
        raise ApiError(503, "Too many attempts, try again later", headers=RETRY) from None
    if found is None:
        raise ApiError(401, "Not signed in")
    return SessionAnswers(web).answer(request, response, *found)


@router.delete(_PATH, status_code=204)
async def sign_out(web: Web, request: Request, cookie: Annotated[str, Cookie(alias=COOKIE)] = "") -> Response:
    """Sign out: the cookie and every access token made from it end at once."""
    if cookie:
        await web.authenticator.sign_out(cookie, client_address(request))
    response = Response(status_code=204)
    SessionAnswers(web).set_cookie(request, response, "", 0)
    return response
