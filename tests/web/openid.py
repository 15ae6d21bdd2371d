"""A certified OpenID provider (npm's oidc-provider) on loopback: whoever types a name is that person there."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from gateway.web.auth.oidc import OidcSettings
from tests import peers
from tests.ports import free_port
from tests.processes import end

VENV = Path(__file__).parents[2] / ".venv"
_BUNDLE = VENV / "openid-provider.mjs"
SECRET = "the-clients-own"


@contextlib.asynccontextmanager
async def openid_provider(redirect_uri: str) -> AsyncIterator[OidcSettings]:
    """The provider in a process of its own; what we are to it. It insists on PKCE and on exactly this redirect URI."""
    node = peers.node(_BUNDLE)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(node, str(_BUNDLE), str(port), redirect_uri),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"listening\n"
        yield OidcSettings(issuer=f"http://127.0.0.1:{port}", client_id="gateway", client_secret=SECRET)
    finally:
        await end(process)


async def walk(http: httpx.AsyncClient, start: str, name: str | None, *, comes_back: bool = True) -> httpx.Response:
    """What a browser does from the page's link on: log in as `name` there, agree, come back; None: give up there.

    The answer is the gateway's, to the callback; the provider's redirect there for who does not come back.
    """
    page = await http.get(start)
    while not page.url.path.endswith("/callback"):
        if page.is_redirect:
            where = urljoin(str(page.url), page.headers["location"])
            if not comes_back and urlsplit(where).path.endswith("/callback"):
                break
            page = await http.get(where)
            continue
        assert page.status_code == 200, page.text
        if name is None:
            give_up = re.search(r'href="([^"]*/abort)"', page.text)
            assert give_up is not None
            page = await http.get(urljoin(str(page.url), give_up[1]))
            continue
        action = re.search(r'action="([^"]+)"', page.text)
        prompt = re.search(r'name="prompt" value="([^"]+)"', page.text)
        assert action is not None
        assert prompt is not None
        form = {"prompt": prompt[1], "login": name, "password": "whatever"}
        page = await http.post(urljoin(str(page.url), action[1]), data=form)
    return page
