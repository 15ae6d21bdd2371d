"""A site's own sign-in: what it is asked, and what it may answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger(__name__)

_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInAttempt:
    """Somebody who wants to sign in."""

    user: str = ""
    """The name that was typed; "" where the page asks whether the site knows who it is."""
    password: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Of the HTTP request, by name in any case: the site's own cookie, a header of its proxy."""
    address: str
    """IP address of the client."""


SiteSignIn = Callable[[SignInAttempt], Awaitable[str | None]]
"""The id of the user it is, None: nobody we know."""


async def ask(site: SiteSignIn, attempt: SignInAttempt) -> str | None:
    """What the site says; None where it fails or takes too long."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await site(attempt)
    except Exception:
        log.exception("the site's own sign-in failed")
        return None
