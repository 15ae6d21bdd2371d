"""The page as an installed app: its manifest, and the service worker that a push message wakes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import CDPSession

from tests.web.browser import Stage, stage

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("chromiums")]

_NOTICES = """async () => {
  const registration = await navigator.serviceWorker.ready;
  for (;;) {
    const shown = (await registration.getNotifications()).map(({ title }) => title);
    if (shown.length) return shown;
    await new Promise((done) => setTimeout(done, 50));
  }
}"""


async def _worker(it: Stage) -> tuple[CDPSession, str]:
    """DevTools, and the id under which it knows the page's worker, once that is active."""
    devtools = await it.page.context.new_cdp_session(it.page)
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def updated(event: dict[str, Any]) -> None:
        for version in event["versions"]:
            if version["status"] == "activated" and not found.done():
                found.set_result(version["registrationId"])

    devtools.on("ServiceWorker.workerVersionUpdated", updated)
    await devtools.send("ServiceWorker.enable")
    await it.page.evaluate("import('/static/push.js').then(({ worker }) => worker()).then(() => null)")
    return devtools, await asyncio.wait_for(found, 30)


async def _push(it: Stage, devtools: CDPSession, registration: str, data: str) -> None:
    message = {"origin": it.url.rstrip("/"), "registrationId": registration, "data": data}
    await devtools.send("ServiceWorker.deliverPushMessage", message)


@pytest.mark.parametrize(
    ("locale", "kind", "words"), [("en-US", "call", "Bob is calling"), ("de-DE", "missed", "Verpasster Anruf von Bob")]
)
async def test_a_push_message_shows_who_calls_or_has_called(locale: str, kind: str, words: str) -> None:
    """In the page's language; what is no message of ours shows nothing."""
    async with stage(locale=locale, whole=True) as it:
        await it.page.context.grant_permissions(["notifications"])
        await it.page.goto(it.url + "docs")  # a page of the gateway that does not ring
        devtools, registration = await _worker(it)
        for data in ("", "no json", "[]", json.dumps({"type": "other", "from": "x"}), json.dumps({"type": "call"})):
            await _push(it, devtools, registration, data)
        await _push(it, devtools, registration, json.dumps({"type": kind, "from": "Bob"}))
        assert await asyncio.wait_for(it.page.evaluate(_NOTICES), 30) == [words]


@pytest.mark.parametrize("fate", ["Promise.reject(new Error('no push service'))", "new Promise(() => {})"])
async def test_who_logs_out_is_signed_out_whatever_the_push_service_does(fate: str) -> None:
    """Unsubscribing fails, or never ends."""
    async with stage() as it:
        subscription = f"{{ endpoint: 'https://push.example', unsubscribe: () => {fate} }}"
        await it.page.add_init_script(f"PushManager.prototype.getSubscription = async () => ({subscription})")
        await it.log_in()
        await it.page.evaluate("navigator.serviceWorker.register('/sw.js').then(() => null)")
        async with it.page.expect_response(lambda one: one.request.method == "DELETE", timeout=30_000) as signed_out:
            await it.page.click("#logout")
        assert (await signed_out.value).status == 204
        await it.view("login")


async def test_the_page_can_be_installed() -> None:
    """DevTools finds no fault with its manifest."""
    async with stage() as it:
        await it.page.goto(it.url)
        devtools = await it.page.context.new_cdp_session(it.page)
        manifest = await devtools.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert json.loads(manifest["data"])["display"] == "standalone"
        response = await it.page.request.get(it.url + "static/manifest.webmanifest")
        assert response.headers["content-type"] == "application/manifest+json"
