"""/api/links: links for guests, made by users for themselves and by operators for whomever they may call."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from gateway.web.admin.routes import ERRORS, USER
from gateway.web.admin.users import Word
from gateway.web.auth.authenticator import client_address
from gateway.web.auth.links import MAX_USES, GuestLinks, Link, LinkError
from gateway.web.checks import is_target
from gateway.web.http.bounded import BoundedRoute
from gateway.web.http.errors import ApiError, refusal
from gateway.web.state import Web, web_of

_ERRORS: dict[int | str, dict[str, Any]] = ERRORS | {
    404: refusal("No such link, or links are off here"),
    409: refusal("Too many links"),
}
_YEAR = 366 * 86_400


def _target(text: str) -> str:
    if not is_target(text):
        raise ValueError("must be a number, a name or a SIP URI")
    return text


class LinkGiven(BaseModel):
    """Body of POST /api/links."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"to": "600", "seconds": 86_400, "uses": 1, "name": "A guest"}]},
    )
    to: Annotated[StrictStr, AfterValidator(_target)] = Field(description="Whom it calls; a user's own id, or anybody.")
    seconds: Annotated[StrictInt, Field(ge=60, le=_YEAR)] = Field(86_400, description="At most web.link_lifetime.")
    uses: Annotated[StrictInt, Field(ge=0, le=MAX_USES)] = Field(1, description="Calls in all; 0: any number.")
    name: Word = Field("", description="What the called one sees as the caller's name.")


class LinkInfo(BaseModel):
    """One link."""

    id: str
    to: str
    by: str
    name: str
    until: int = Field(description="Unix seconds.")
    uses: int
    used: int = Field(0, description="Calls that were made by it; counted only where they are limited.")


class LinkMade(LinkInfo):
    """The answer to POST /api/links; the token is not told again."""

    token: str = Field(description="As `data-link` of the call button.")
    url: str = Field(description="A page with the button alone.")


class LinkList(BaseModel):
    """The answer to GET /api/links."""

    links: list[LinkInfo]
    count: int


router = APIRouter(prefix="/api", route_class=BoundedRoute, tags=["links"], responses=_ERRORS)
"""GET, POST /api/links and DELETE /api/links/{id}."""


async def _links(request: Request) -> GuestLinks:
    links = web_of(request).ways.links
    assert links is not None  # else these routes are absent
    return links


_Links = Annotated[GuestLinks, Depends(_links)]


@router.post("/links", response_model=LinkMade, status_code=201, dependencies=[USER])
async def make_link(web: Web, links: _Links, given: LinkGiven, request: Request, response: Response) -> dict[str, Any]:
    """A link by which somebody without an account calls `to`: oneself, for operators whomever they may call."""
    user = request.state.user
    refusal = links.refusal(user, given.to)
    if refusal:
        raise ApiError(403, refusal)
    try:
        link, token = await links.make(user, given.to, given.seconds, given.uses, given.name)
    except LinkError as error:
        raise ApiError(409, str(error)) from None
    web.authenticator.audit.add("link made", user, client_address(request), to=link.to, link=link.id)
    response.headers["Cache-Control"] = "no-store"
    page = web.settings.public_url or str(request.base_url).rstrip("/")
    return _shown(link, 0) | {"token": token, "url": f"{page}/call#{quote(token)}"}


@router.get("/links", response_model=LinkList, dependencies=[USER])
async def list_links(links: _Links, request: Request) -> dict[str, Any]:
    """One's own links, for operators everybody's."""
    mine = request.state.user if request.state.role == "user" else None
    found = [_shown(link, used) for link, used in await links.listed(mine)]
    return {"links": found, "count": len(found)}


@router.delete("/links/{link_id}", status_code=204, dependencies=[USER])
async def remove_link(web: Web, links: _Links, link_id: str, request: Request) -> Response:
    """Take a link back; calls that were made by it go on."""
    mine = request.state.user if request.state.role == "user" else None
    if link_id not in [link.id for link, _ in await links.listed(mine)]:
        raise ApiError(404, "There is no such link")
    await links.remove(link_id)
    web.authenticator.audit.add("link removed", request.state.user, client_address(request), link=link_id)
    return Response(status_code=204)


def _shown(link: Link, used: int) -> dict[str, Any]:
    shown = asdict(link) | {"used": used}
    del shown["mark"]
    return shown
