"""Example 9: a WebRTC client and a SIP phone talk through the gateway, in both directions."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from pathlib import Path

import sdp
from gateway import Gateway, GatewayError, log, net
from gateway.testing import loopback_config
from sdp.attributes import Candidate, IceUfrag, Setup
from sdp.trickle import CONTENT_TYPE, TrickledMedia, TrickleFragment

# The phone is the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, CallError, SipClient
from web_client import WebClient, WebError

USERS: list[dict[str, object]] = [{"id": "alice", "web": True}, {"id": "1001", "sip": True}]
COLUMN = 62


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


def beside(left: sdp.SessionDescription, right: sdp.SessionDescription) -> None:
    """Print two descriptions next to each other; long lines are cut."""
    columns = [str(one).splitlines() for one in (left, right)]
    for one, other in itertools.zip_longest(*columns, fillvalue=""):
        one = "a=ice-pwd:…" if one.startswith("a=ice-pwd:") else one
        print(f"  | {one if len(one) <= COLUMN else one[: COLUMN - 1] + '…':{COLUMN}} | {other}")


def differences(web: sdp.SessionDescription, phone: sdp.SessionDescription) -> None:
    """Name what the gateway has translated; each sentence is checked on both descriptions."""
    ours, theirs = web.media[0], phone.media[0]
    check((ours.protocol, theirs.protocol) == ("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "profile: SRTP with feedback -> RTP")
    check(bool(web.first_of(ours, IceUfrag)) and not theirs.has("ice-ufrag"), "ICE: credentials -> none")
    place = phone.connection_of(theirs)
    check(bool(ours.candidates) and not theirs.candidates, "candidates -> one address and port")
    check(place is not None and place.address == "127.0.0.1" and theirs.port > 0, "which are the gateway's own")
    keys = bool(web.all_of(ours, sdp.attributes.Fingerprint)) and web.first_of(ours, Setup) is not None
    check(keys and not theirs.has("fingerprint") and not theirs.has("setup"), "DTLS: fingerprint and role -> none")
    check(web.has("group") and not phone.has("group"), "BUNDLE -> none")
    check(ours.rtcp_mux and not theirs.rtcp_mux, "RTCP on the same port -> on the next one")
    check(ours.has("extmap") and not theirs.has("extmap"), "header extensions -> none")
    check(ours.has("ssrc") and not theirs.has("ssrc"), "names of streams and sources -> none")
    codecs = [", ".join(codec.rtpmap for codec in sdp.read_codecs(one)) for one in (ours, theirs)]
    print(f"  codecs: {codecs[0]} -> {codecs[1]}")
    check("opus" in codecs[0] and "PCMU" in codecs[1], "codecs both know, and those the gateway can make of them")


async def hear_each_other(web: WebClient, web_hz: float, call: Call, phone_hz: float) -> None:
    """Sound is proved by its frequency, at both ends."""
    at_phone, at_web = await asyncio.gather(call.sound.tone(), web.tone())
    check(abs(at_phone - web_hz) <= 15, f"the phone hears {at_phone:.0f} Hz, which the web client says")
    check(abs(at_web - phone_hz) <= 15, f"the web client hears {at_web:.0f} Hz, which the phone says")


async def web_calls_phone(web: WebClient, phone: SipClient) -> None:
    print("2. alice calls 1001 from the web")
    answer = sdp.SessionDescription.parse((await web.dial("1001"))["sdp"])
    call = await asyncio.wait_for(phone.calls.get(), 8)
    check(not call.session.is_confirmed, "the gateway has answered the web client while the phone still rings")
    print("  What the web client offered, and what the phone was offered:")
    offer, phones = sdp.SessionDescription.parse(web.offer), sdp.SessionDescription.parse(call.offered)
    beside(offer, phones)
    print("  The differences:")
    differences(offer, phones)
    section = answer.media[0]
    ports = {candidate.port for candidate in section.candidates}
    check(answer.has("ice-lite") and len(ports) == 1, "its answer: ICE-lite, and one port for all browsers")
    check(str(answer.first_of(section, Setup)) == "passive", "and the web client begins the DTLS handshake")

    print("3. The phone picks up")
    call.answer()
    await web.expect("call_state", peer_id="1001", state="answered")
    await hear_each_other(web, 523, call, phone.hz)
    await web.request("disconnect", peer_id="1001")
    ended = await call.expect(net.Ended)
    check((ended.by, ended.q850) == ("remote", 16), "alice hangs up: one BYE reaches the phone, Q.850 cause 16")
    await web.end()


async def phone_calls_web(web: WebClient, phone: SipClient, domain: str) -> None:
    print("4. 1001 calls alice")
    call = phone.dial("alice")
    offer = await web.expect("offer")
    caller = offer["from_peer_id"]
    check(caller == f"sip:1001@{domain}", f"the page is told who calls: {caller}")
    theirs = sdp.SessionDescription.parse(offer["sdp"])
    check(theirs.media[0].protocol == "UDP/TLS/RTP/SAVPF", "it is offered WebRTC, though the phone speaks none")
    check((await call.expect(net.Provisional)).status == 180, "the phone hears it ring")
    await web.accept(offer)
    await call.expect(net.Answered)
    await hear_each_other(web, 523, call, phone.hz)
    call.hangup()
    gone = await web.expect("peer_disconnected", peer_id=caller)
    check(gone["reason"] == "normal", "the phone hangs up, and the page is told why")
    await call.expect(net.Ended)
    await web.end()


def trickle(offer: sdp.SessionDescription) -> None:
    """The candidates of the first call once more, as SIP would carry them in an INFO."""
    print(f"5. Trickled candidates in SIP: {CONTENT_TYPE}")
    section = offer.media[0]
    ufrag, password = section.value("ice-ufrag") or "", section.value("ice-pwd") or ""
    candidates = tuple(f"candidate:{value}" for value in section.values("candidate"))
    sent = TrickleFragment(ufrag, password, (TrickledMedia(section.mid or "0", candidates, True),))
    for line in str(sent).splitlines():
        print(f"  | {'a=ice-pwd:…' if line.startswith('a=ice-pwd') else line}")
    read = TrickleFragment.parse(str(sent))
    check(read == sent and read.belongs_to(ufrag, password), "read again: of this ICE session")
    check(not read.belongs_to("another", password), "a fragment of another session would be ignored")
    first = Candidate.parse(read.media[0].candidates[0].removeprefix("candidate:"))
    check(first.type == "host" and read.media[0].end_of_candidates, "a host candidate first, and no others follow")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            async with Gateway(loopback_config(folder, USERS)) as gateway:
                await calls(gateway)
        except (CallError, GatewayError, WebError, TimeoutError) as error:
            sys.exit(f"FAIL: {error or 'it took too long'}")


async def calls(gateway: Gateway) -> None:
    rpc, domain = gateway.page_url.replace("http", "ws", 1) + "rpc", gateway.config.domain
    async with (
        WebClient(rpc, hz=523) as web,
        SipClient("1001", gateway.password("1001"), domain, gateway.sip_address, hz=784) as phone,
    ):
        print("1. Both sign in")
        check((await phone.sign_in()).registered, f"1001 at {gateway.sip_address}, SIP over UDP")
        await web.request("announce", peer_id="alice", token=gateway.password("alice"))
        check(True, f"alice at {rpc}, JSON-RPC")
        await web_calls_phone(web, phone)
        await phone_calls_web(web, phone, domain)
        await gateway.idle()
        check(phone.strays == 0 and gateway.active_calls == 0, "both calls are gone, each after a single BYE")
        trickle(sdp.SessionDescription.parse(web.offer))


if __name__ == "__main__":
    finish_log = log.configure("info" if "--verbose" in sys.argv else "error")
    asyncio.run(main())
    finish_log()
    print("PASS")
