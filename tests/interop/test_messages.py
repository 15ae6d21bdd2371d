"""Instant messages between pjsua2, sipp and pages of a whole gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.demo.chromium import BrowserError
from gateway.demo.phone import DeskPhone
from tests.interop.gateway import PASSWORDS, Gateway, RpcBrowser, config_on_free_ports, gateway_with
from tests.interop.sipp import SCENARIOS, Sipp
from tests.ports import free_port

pytestmark = [pytest.mark.wall, pytest.mark.asyncio(loop_scope="module")]

LONG = "ä" * 301
"""More than 600 bytes, and fewer than pjsua2 sends by UDP."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that keeps what is written to somebody who is away."""
    folder = tmp_path_factory.mktemp("gateway")
    config = config_on_free_ports(folder, MESSAGES__STORE="sqlite:messages.sqlite", MESSAGES__MAX_SIZE="600")
    async with gateway_with(config, folder / "gateway.log") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone(gateway: Gateway) -> DeskPhone:
    return await gateway.phone("1001")


async def test_a_phone_and_a_page_write_to_each_other(gateway: Gateway, phone: DeskPhone, alice: RpcBrowser) -> None:
    """With the names that lead back, in every script."""
    phone.write(gateway.uri("alice"), "Grüße, 你好")
    assert (await phone.expect("message_status")).details["code"] == 200
    message = await alice.notified("message", text="Grüße, 你好")
    assert message["from_peer_id"] == gateway.uri("1001")
    assert message["from_name"] == "Desk phone"
    assert await alice.ask("message.send", to_peer_id=message["from_peer_id"], text="und zurück") == {
        "to_peer_id": message["from_peer_id"],
        "outcome": "delivered",
    }
    came = await phone.expect("message")
    assert (came.details["text"], came.details["content_type"]) == ("und zurück", "text/plain")
    assert gateway.uri("alice") in came.details["uri"]


async def test_a_phone_writes_to_a_phone_and_a_page_to_a_page(
    gateway: Gateway, phone: DeskPhone, alice: RpcBrowser
) -> None:
    """Nobody in between has to have anything open."""
    second = await gateway.phone("1002")
    second.write(gateway.uri("1001"), "phone to phone")
    assert (await phone.expect("message")).details["text"] == "phone to phone"
    assert (await second.expect("message_status")).details["code"] == 200
    async with RpcBrowser() as bob:
        await bob.open(gateway.app.signed_in_url("bob"))
        await bob.ask("message.send", to_peer_id="alice", text="page to page")
        assert (await alice.notified("message", text="page to page"))["from_peer_id"] == gateway.uri("bob")
    await second.close()


async def test_who_is_away_reads_it_when_they_are_back(gateway: Gateway, phone: DeskPhone) -> None:
    """202, kept by the store, delivered at the next registration with the time it was written, in order."""
    host, port = gateway.sip
    absent = await gateway.spare_phone()
    await absent.register("1002", PASSWORDS["1002"], gateway.config.domain, f"{host}:{port}")
    absent.unregister()
    await absent.expect("registration")
    for number in range(3):
        phone.write(gateway.uri("1002"), f"later {number}")
        assert (await phone.expect("message_status", text=f"later {number}")).details["code"] == 202
    back = await gateway.phone("1002")
    assert [(await back.expect("message")).details["text"] for _ in range(3)] == [f"later {n}" for n in range(3)]
    phone.write(gateway.uri("1002"), "now")
    assert (await phone.expect("message_status", text="now")).details["code"] == 200
    assert (await back.expect("message")).details["text"] == "now"
    await back.close()


async def test_a_page_that_signs_in_reads_what_was_written_meanwhile(gateway: Gateway, phone: DeskPhone) -> None:
    """In order, once: the next page of the same user is told nothing of it."""
    for number in range(3):
        phone.write(gateway.uri("bob"), f"for bob {number}")
        assert (await phone.expect("message_status", text=f"for bob {number}")).details["code"] == 202
    async with RpcBrowser() as page:
        await page.open(gateway.app.signed_in_url("bob"))
        await page.notified("message", text="for bob 2")
        assert [params["text"] for name, params in page.told if name == "message"] == [f"for bob {n}" for n in range(3)]
        async with RpcBrowser() as second:
            await second.open(gateway.app.signed_in_url("bob"))
            phone.write(gateway.uri("bob"), "now")
            assert (await phone.expect("message_status", text="now")).details["code"] == 200
            await second.notified("message", text="now")
            assert [params["text"] for name, params in second.told if name == "message"] == ["now"]


async def test_what_may_not_be_sent_is_refused(gateway: Gateway, phone: DeskPhone, alice: RpcBrowser) -> None:
    """Too long, to nobody, through a trunk that is not allowed: the status for the phone, a sentence for the page."""
    phone.write(gateway.uri("alice"), LONG)
    assert (await phone.expect("message_status")).details["code"] == 413
    phone.write(gateway.uri("nobody"), "hello")
    assert (await phone.expect("message_status")).details["code"] == 404
    phone.write("sip:4711@elsewhere.example", "hello")
    assert (await phone.expect("message_status")).details["code"] in (403, 404)
    with pytest.raises(BrowserError, match="nobody of that name"):
        await alice.ask("message.send", to_peer_id="nobody", text="hello")


async def test_sipp_writes_to_a_page_and_is_written_to(gateway: Gateway, alice: RpcBrowser) -> None:
    """Challenged first; what it is sent is what the page wrote."""
    account = ("-s", "alice", "-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", f"alice@{gateway.config.domain}")
    async with Sipp.uac("gateway_message", gateway.sip, *account) as writer:
        await writer.finish()
    await alice.notified("message", text="Hello from sipp\n")
    port = free_port()
    register = ("-au", "1002", "-ap", PASSWORDS["1002"], "-auth_uri", gateway.config.domain)
    target = "{}:{}".format(*gateway.sip)
    async with Sipp(target, "-sf", str(SCENARIOS / "gateway_register.xml"), *register, port=port) as registering:
        await registering.finish()
    async with Sipp.uas("uas_message", port=port) as reader:
        await reader.bound()
        assert (await alice.ask("message.send", to_peer_id="1002", text="Hello phone"))["outcome"] == "delivered"
        await reader.finish()
