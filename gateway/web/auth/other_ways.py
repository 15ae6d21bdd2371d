"""Ways to sign in beside a password: at an OpenID provider (/api/session/oidc), and by the site (/api/session/site)."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Cookie, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from gateway.web.auth.authenticator import TooManyFailures, client_address
from gateway.web.auth.oidc import OidcError, OpenIdProvider
from gateway.web.auth.routes import SESSION_ERRORS, SessionAnswers, SignedIn
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import RETRY, ApiError
from gateway.web.state import Web, WebState, web_of

log = structlog.get_logger(__name__)

_COOKIE = "gateway_oidc"
_PATH = "/api/session/oidc"
_SECONDS = 600


class OidcWay(BaseModel):
    """A provider to sign in at."""

    name: str
    path: str = Field(description="Where the browser goes, from the page's own address.")


class Ways(BaseModel):
    """The answer to GET /api/session/ways."""

    oidc: OidcWay | None
    site: bool = Field(description="Whether POST /api/session/site may know who this is.")


class _Journey:
    """To the provider and back."""

    def __init__(self, web: WebState, provider: OpenIdProvider) -> None:
        self._authenticator = web.authenticator
        self._provider = provider
        self._answers = SessionAnswers(web)
        self._public_url = web.settings.public_url
        self._page = urlsplit(self._public_url).path + "/"

    async def begin(self, request: Request) -> Response:
        try:
            where, state = await self._provider.begin(self._redirect_uri(request), client_address(request))
        except OidcError as error:
            return self._failed(request, error)
        response = RedirectResponse(where, 303)
        self._remember(request, response, state, _SECONDS)
        return response

    async def end(self, request: Request, cookie: str) -> Response:
        if self._authenticator.guesses_too_often(client_address(request)):
            return self._back(request, "unavailable")
        answer = dict(request.query_params)
        try:
            if not cookie or not secrets.compare_digest(cookie.encode(), answer.get("state", "").encode()):
                # A link that somebody else was given would sign this browser in as somebody else (RFC 6749 10.12).
                raise OidcError("this browser was not sent to the provider", is_refusal=True)
            claim = await self._provider.finish(answer)
        except OidcError as error:
            return self._failed(request, error)
        found = await self._authenticator.vouched(claim, client_address(request), "oidc")
        if found is None:
            return self._back(request, "refused")
        response = self._back(request, "")
        self._answers.set_cookie(request, response, found[2], int(self._authenticator.sign_ins.lifetime))
        return response

    def _failed(self, request: Request, error: OidcError) -> Response:
        log.warning("nobody was signed in at the provider", reason=str(error))
        if error.is_refusal:
            self._authenticator.refused("", client_address(request), by="oidc", reason=str(error))
        return self._back(request, "refused" if error.is_refusal else "unavailable")

    def _back(self, request: Request, failure: str) -> Response:
        """To the page, which goes on by the cookie or says what was wrong."""
        response = RedirectResponse(f"{self._page}?sign-in={failure or 'done'}", 303)
        self._remember(request, response, "", 0)
        return response

    def _remember(self, request: Request, response: Response, state: str, seconds: int) -> None:
        # Lax: the provider's page sends the browser here, and it has to bring the cookie.
        self._answers.put(request, response, _COOKIE, state, seconds, path=_PATH, samesite="lax")

    def _redirect_uri(self, request: Request) -> str:
        return (self._public_url or str(request.base_url).rstrip("/")) + _PATH + "/callback"


router = APIRouter(route_class=BoundedRoute, tags=["session"], responses=SESSION_ERRORS)
"""GET /api/session/ways and POST /api/session/site."""
oidc_router = APIRouter(tags=["session"])
"""GET /api/session/oidc and its callback, where there is a provider."""


@router.get("/api/session/ways", response_model=Ways)
async def ways(web: Web) -> dict[str, Any]:
    """How people sign in here, beside a password."""
    oidc, provider = None, web.ways.provider
    if provider is not None:
        oidc = {"name": provider.settings.name or urlsplit(provider.settings.issuer).hostname, "path": _PATH[1:]}
    return {"oidc": oidc, "site": web.authenticator.has_site}


@router.post("/api/session/site", response_model=SignedIn)
async def site(web: Web, request: Request, response: Response) -> dict[str, Any]:
    """Sign in whom the site knows by its own means (a cookie, a header of its proxy); 401 for nobody."""
    try:
        found = await web.authenticator.sign_in("", "", client_address(request), request.headers)
    except TooManyFailures:
        raise ApiError(503, "Too many attempts, try again later", headers=RETRY) from None
    if found is None:
        raise ApiError(401, "The site does not know who this is")
    return SessionAnswers(web).answer(request, response, *found)


async def _journey(request: Request) -> _Journey:
    web = web_of(request)
    assert web.ways.provider is not None  # else these routes are absent
    return _Journey(web, web.ways.provider)


_AJourney = Annotated[_Journey, Depends(_journey)]


@oidc_router.get(_PATH, status_code=303, response_class=Response)
async def to_the_provider(journey: _AJourney, request: Request) -> Response:
    """Go to the provider (OpenID Connect, authorization code with PKCE)."""
    return await journey.begin(request)


@oidc_router.get(_PATH + "/callback", status_code=303, response_class=Response)
async def from_the_provider(
    journey: _AJourney, request: Request, cookie: Annotated[str, Cookie(alias=_COOKIE)] = ""
) -> Response:
    """Back from the provider, and on to the page: signed in, or with what was wrong."""
    return await journey.end(request, cookie)
