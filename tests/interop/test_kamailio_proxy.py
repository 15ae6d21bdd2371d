"""Kamailio in the middle: as outbound proxy between two transports, forking with two answers, and before WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite.events import Confirmed, Ended, OfferAnswered
from gateway.sip.message import build
from tests.app.phones import Phone
from tests.app.ws_phone import WebSocketPhone
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.kamailio import kamailio
from tests.net.peers import ANSWER, LOOPBACK, Application, Recorder, answering, port_of
from tests.ports import free_ports

pytestmark = pytest.mark.wall

_MODULES = "".join(
    f'loadmodule "{name}.so"\n'
    for name in ("tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "path", "nathelper")
)

_COMMON = """
    if (is_method("OPTIONS") && $rU == $null) {
        sl_send_reply("200", "OK");
        exit;
    }
    if (!mf_process_maxfwd_header("10")) {
        sl_send_reply("483", "Too Many Hops");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
"""

PROXY = f"""#!KAMAILIO
listen=udp:127.0.0.1:@port@
listen=tcp:127.0.0.1:@port@
{_MODULES}
request_route {{
{_COMMON}
    if (loose_route() && has_totag()) {{
        t_relay();
        exit;
    }}
    if (has_totag()) {{
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }}
    record_route();
    t_relay();
}}
"""

FORKING = f"""#!KAMAILIO
listen=udp:127.0.0.1:@port@
{_MODULES}loadmodule "corex.so"
request_route {{
{_COMMON}
    if (has_totag()) {{
        if (loose_route() || t_check_trans()) t_relay();
        exit;
    }}
    record_route();
    $ru = "sip:one@127.0.0.1:@one@";
    append_branch("sip:two@127.0.0.1:@two@");
    t_relay();
}}
"""

WEBSOCKETS = f"""#!KAMAILIO
listen=udp:127.0.0.1:@port@
listen=tcp:127.0.0.1:@port@
tcp_accept_no_cl=yes
tcp_connection_lifetime=3600
{_MODULES}
loadmodule "xhttp.so"
loadmodule "websocket.so"
modparam("path", "use_received", 1)
request_route {{
{_COMMON}
    if (has_totag()) {{
        if (loose_route()) {{
            if ($du == $null) handle_ruri_alias();
            t_relay();
        }} else if (is_method("ACK") && t_check_trans()) {{
            t_relay();
        }}
        exit;
    }}
    if ($proto == "ws") {{
        force_rport();
        if (is_method("REGISTER")) add_path_received();
        else add_contact_alias();
        if (!is_method("REGISTER")) record_route();
        $du = "sip:127.0.0.1:@gateway@";
        t_relay();
        exit;
    }}
    loose_route();
    record_route();
    t_relay();
}}
event_route[xhttp:request] {{
    if ($hdr(Upgrade) =~ "websocket" && $hdr(Connection) =~ "Upgrade" && $rm =~ "GET") ws_handle_handshake();
    else xhttp_reply("404", "Not Found", "", "");
}}
"""


def filled(text: str, **ports: int) -> str:
    """A configuration with its ports."""
    for name, port in ports.items():
        text = text.replace(f"@{name}@", str(port))
    return text


@asynccontextmanager
async def gateway_and_caller(folder: Path, **changes: str) -> AsyncIterator[tuple[GatewayApp, UserAgent]]:
    """A gateway whose numbers beginning with 0 go through its trunk "proxy", and who calls there."""
    routes = json.dumps([{"match": "0*", "to": "trunk:proxy", "strip": 1}])
    app = GatewayApp(config_on_free_ports(folder, **({"ROUTES": routes} | changes)))
    caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await caller.start()
    await app.start()
    try:
        yield app, caller
    finally:
        await caller.close()
        await app.stop()


@pytest.mark.parametrize("hangs_up", ["caller", "callee"])
async def test_a_call_lives_behind_a_proxy_between_two_transports(tmp_path: Path, hangs_up: str) -> None:
    """Two Record-Routes (udp, tcp): what either side sends in the dialog passes both, in the right order."""
    [port] = free_ports(1)
    callee = Application(answering)
    far = UserAgent(UserAgentConfig(listen=LOOPBACK, listen_tcp=LOOPBACK), callee)
    await far.start()
    trunk = {
        "name": "proxy",
        "uri": f"sip:127.0.0.1:{port_of(far, 'tcp')};transport=tcp",
        "outbound_proxy": f"sip:127.0.0.1:{port}",
        "options_interval": 0,
    }
    async with (
        kamailio(tmp_path, filled(PROXY, port=port), "127.0.0.1", port, only_udp=False),
        gateway_and_caller(tmp_path, TRUNKS=json.dumps([trunk])) as (app, caller),
    ):
        phone = Phone(caller, app, "1001", dials="0900")
        assert await phone.status() == 200
        theirs = await callee.calls.get()
        await theirs.wait(Confirmed)
        routes = [str(hop.uri) for hop in theirs.session.request.record_route]
        assert len(routes) == 2
        assert [";transport=tcp" in route for route in routes] == [True, False]
        assert all(";r2=on" in route for route in routes)
        theirs.session.offer(ANSWER + b"a=sendonly\r\n")
        answered = await theirs.wait(OfferAnswered)
        assert isinstance(answered, OfferAnswered)
        assert answered.status == 200
        if hangs_up == "caller":
            phone.session.hangup()
            await theirs.wait(Ended)
        else:
            theirs.session.hangup()
            await asyncio.wait_for(phone.over, 30)
        async with asyncio.timeout(30):
            await asyncio.gather(*(call.finished() for call in app.calls))
    await far.close()


async def test_of_two_phones_that_answer_at_once_one_has_the_call_and_the_other_a_bye(tmp_path: Path) -> None:
    """Both 200s come through a forking proxy: each gets its ACK, the second one a BYE (RFC 3261 13.2.2.4).

    The bounds are those of a busy machine, nothing waits for them here: this Kamailio is one process, so each ACK comes
    before the BYE that follows it, and where one were lost the phone's next 200, half a second later and again until
    64*T1 (32 s), would bring it once more (`Acknowledgement.again`).
    """
    [port] = free_ports(1)
    async with AsyncExitStack() as stack:
        calls: list[Recorder] = []
        both = asyncio.Event()

        def answer(session: object, recorder: Recorder) -> None:
            """Answer once both have been asked, so that neither is cancelled before."""
            calls.append(recorder)
            if len(calls) == 2:
                for one in calls:
                    one.session.answer(ANSWER)  # type: ignore[attr-defined]
                both.set()

        agents = []
        for _ in range(2):
            agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(answer))
            await agent.start()
            stack.push_async_callback(agent.close)
            agents.append(agent)
        one, two = (port_of(agent, "udp") for agent in agents)
        trunk = {"name": "proxy", "uri": f"sip:127.0.0.1:{port}", "options_interval": 0}
        await stack.enter_async_context(
            kamailio(tmp_path, filled(FORKING, port=port, one=one, two=two), "127.0.0.1", port)
        )
        app, caller = await stack.enter_async_context(gateway_and_caller(tmp_path, TRUNKS=json.dumps([trunk])))
        phone = Phone(caller, app, "1001", dials="0900")
        assert await phone.status() == 200
        await asyncio.wait_for(both.wait(), 30)
        for call in calls:
            await call.wait(Confirmed)
        ending = [asyncio.ensure_future(call.wait(Ended)) for call in calls]
        done, [waiting] = await asyncio.wait(ending, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        [loser] = [future.result() for future in done]
        assert isinstance(loser, Ended)
        assert (loser.by, len(app.calls)) == ("remote", 1)
        assert not phone.over.done()
        phone.session.hangup()
        await asyncio.wait_for(waiting, 30)


async def test_a_browser_behind_a_proxy_for_websockets_registers_and_is_called(tmp_path: Path) -> None:
    """By the Path that the proxy adds, as what it is: with DTLS-SRTP; what it sends in the dialog comes back."""
    [port] = free_ports(1)
    config = config_on_free_ports(tmp_path)
    sip = config.sip.listen[0].port
    app = GatewayApp(config)
    caller = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
    await caller.start()
    await app.start()
    text = filled(WEBSOCKETS, port=port, gateway=sip)
    try:
        async with kamailio(tmp_path, text, "127.0.0.1", port, only_udp=False, package="kamailio-websocket-modules"):
            url = f"ws://127.0.0.1:{port}"
            browser = await WebSocketPhone.open(url, "1001", config.domain, PASSWORDS["1001"])
            assert (await browser.register(supported="path")).status == 200
            call = Phone(caller, app, "1002", dials="1001")
            invite = await browser.request("INVITE")
            assert b"UDP/TLS/RTP/SAVPF" in invite.body
            await browser.send(build.response(invite, 180, to_tag="browser"))
            await asyncio.wait_for(call.rings, 30)
            call.session.hangup()
            cancel = await browser.request("CANCEL")
            await browser.send(build.response(cancel, 200, to_tag="browser"))
            await browser.send(build.response(invite, 487, to_tag="browser"))
            await browser.request("ACK")
            await browser.close()
    finally:
        await caller.close()
        await app.stop()
