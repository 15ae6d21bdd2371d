"""A user brings an extension of a PBX, which is another gateway, on the page: by keys, at the width of a phone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from gateway.config.people import UserConfig
from tests import peers
from tests.browser.softphone import accessible
from tests.interop.gateway import PASSWORDS, Gateway, config_on_free_ports, gateway_beside, gateway_with
from tests.web.browser import ALLOWED, chromium

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

EXTENSIONS = {"201": "extension-201-Secret", "202": "extension-202-Secret"}
CHANGES = 3
"""Changes of an account that a user has."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The PBX: a desk phone 1001 and the extensions; both gateways write one log, without their passwords."""
    folder = tmp_path_factory.mktemp("pbx")
    users = [{"id": "1001", "sip": True, "password": PASSWORDS["1001"]}]
    users += [{"id": name, "sip": True, "password": password} for name, password in EXTENSIONS.items()]
    config = config_on_free_ports(folder)
    config = config.model_copy(update={"users": tuple(UserConfig.model_validate(user) for user in users)})
    async with gateway_with(config, folder / "both.log", secrets=EXTENSIONS.values()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(pbx: Gateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The gateway: alice has extension 201 by the configuration, bob may bring one."""
    host, port = pbx.sip
    config = config_on_free_ports(
        tmp_path_factory.mktemp("gateway"),
        TRUNKS=json.dumps([{"name": "pbx", "uri": f"sip:{host}:{port}"}]),
        USERS__ALICE__ACCOUNT=json.dumps({"registrar": "pbx", "username": "201", "password": EXTENSIONS["201"]}),
        ACCOUNTS__CHANGES_PER_HOUR=str(CHANGES),
    )
    async with gateway_beside(pbx, config) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    peers.chromium()
    async with chromium(ALLOWED) as opened:
        yield opened


async def signed_in(browser: Browser, gateway: Gateway, user: str, locale: str) -> tuple[Page, list[str]]:
    """A page as wide as a phone, and the errors of its console."""
    context = await browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark", locale=locale)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(gateway.app.signed_in_url(user))
    await page.wait_for_selector("body[data-view=idle]")
    return page, errors


async def brings(page: Page, username: str, password: str) -> None:
    """Fill the form in and send it, by keys alone."""
    await page.focus("#account-registrar")
    await page.keyboard.press("Tab")
    await page.keyboard.press("ControlOrMeta+A")
    await page.keyboard.type(username)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.type(password)
    await page.keyboard.press("Enter")


async def test_an_extension_is_brought_called_and_given_up(gateway: Gateway, pbx: Gateway, browser: Browser) -> None:
    """Refused by a wrong password, registered by the right one, rung by a phone of the PBX, there after a reload."""
    page, errors = await signed_in(browser, gateway, "bob", "en-GB")
    state, form = page.locator("#account-state"), page.locator("#account-form")
    await expect(form).to_be_visible()
    await expect(page.locator("#account-registrar")).to_have_value("pbx")
    await accessible(page)
    await brings(page, "202", "wrong")
    await expect(state).to_have_text("202 at pbx: refused (401). Name or password may be wrong.")
    await expect(page.locator("#account-password")).to_have_value("")
    await brings(page, "202", EXTENSIONS["202"])
    await expect(state).to_have_text("202 at pbx: registered. Calls to it ring here.")
    await expect(form).to_be_hidden()
    assert await page.evaluate("document.activeElement.id") == "account-remove"
    await accessible(page)
    await page.reload()
    await expect(state).to_contain_text("registered")
    phone = await pbx.phone("1001")
    phone.dial(pbx.uri("202"))
    await page.wait_for_selector("body[data-view=incoming]")
    await expect(page.locator("#party")).to_contain_text("1001")
    await page.click("#decline")
    await phone.expect("state", state="ended")
    await page.focus("#account-remove")
    await page.keyboard.press("Enter")
    await expect(form).to_be_visible()
    await expect(state).to_contain_text("With an extension of yours")
    assert await page.evaluate("document.activeElement.id") == "account-name"
    await expect(page.locator("#account-name")).to_have_value("")
    await brings(page, "202", EXTENSIONS["202"])  # one change more than bob has
    await expect(page.locator("#status")).to_have_text("That cannot be changed just now. Try again later.")
    await expect(form).to_be_visible()
    assert errors == []
    await page.context.close()


async def test_an_extension_of_the_configuration_is_shown_in_german(gateway: Gateway, browser: Browser) -> None:
    """How it stands, and that others set it: there is nothing to fill in or to give up."""
    page, errors = await signed_in(browser, gateway, "alice", "de-DE")
    shown = "201 an pbx: angemeldet. Anrufe dorthin klingeln hier. Die Verwaltung hat sie eingetragen."
    await expect(page.locator("#account-state")).to_have_text(shown)
    await expect(page.locator("#account-form")).to_be_hidden()
    await expect(page.locator("#account-remove")).to_be_hidden()
    await accessible(page)
    assert errors == []
    await page.context.close()
