"""docs/troubleshooting.md, calls that fail or end: each is caused by what the page says, and its command tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.invite import events
from tests.interop.middlebox import middlebox
from tests.interop.sipp_phone import INTERVAL, caller, registered, short_sessions
from tests.interop.symptoms import PCMU, rigged
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder, answering

# Each asks a command or two, which take seconds to start, and longer beside other work.
pytestmark = [pytest.mark.wall, pytest.mark.timeout(180)]

NOWHERE = "127.0.0.99"
"""Loopback, where nobody listens."""
QUICK = {"SIP__TIMERS__T1": "0.03", "SIP__TIMERS__T2": "0.1"}
"""64 * T1, after which nobody waits for an ACK any more, is two seconds."""
LARGEST = 1280 - 28
"""Octets of a datagram that is in no fragments in a tunnel of the smallest kind."""

KINDS = [b"H264/90000", b"VP8/90000", b"VP9/90000", b"AV1/90000"]
MORE = [b"G729/8000", b"iLBC/8000", b"GSM/8000", b"AMR/8000", b"AMR-WB/16000", b"telephone-event/8000"]
LARGE = OFFER.replace(b"AVP 0", b"AVP 0 110 111 112 113 114 115")
LARGE += b"".join(b"a=rtpmap:%d %s\r\n" % each for each in enumerate(MORE, 110))
LARGE += b"m=video 4002 RTP/AVP 96 97 98 99\r\n" + b"".join(
    b"a=rtpmap:%d %s\r\n" % each for each in enumerate(KINDS, 96)
)
LARGE += b"m=text 4004 RTP/AVP 98 100\r\na=rtpmap:98 t140/1000\r\na=rtpmap:100 red/1000\r\na=fmtp:100 98/98/98\r\n"
"""All that a phone with pictures and text knows: what of it goes on to another phone is larger than `LARGEST`."""


def whole(data: bytes) -> bytes | None:
    """A firewall that drops fragments."""
    return data if len(data) <= LARGEST else None


def arrows(trace: str) -> list[str]:
    """What the lines of a ladder say, one message each."""
    return re.findall(r"^\d\d:\d\d:\d\d\.\d\d .*?-+ (.+?) -+", trace, re.MULTILINE)


async def test_a_call_whose_ack_goes_to_where_nobody_is_ends_by_itself(tmp_path: Path) -> None:
    """A router that rewrites our Contact: the trace shows the 200 again and again and no ACK, doctor what is told."""
    heading = "A call ends after 30 seconds"

    def alters(data: bytes) -> bytes:
        """As such routers do: the name in the Contact of a response becomes one that leads nowhere."""
        if not data.startswith(b"SIP/2.0 200"):
            return data
        return re.sub(rb"(?m)^(Contact: <sip:[^@>]*@?)127\.0\.0\.1", rb"\g<1>" + NOWHERE.encode(), data, count=1)

    changes = {**QUICK, "SIP__ADVERTISED": "203.0.113.9"}
    async with rigged(tmp_path, **changes) as rig, middlebox(rig.gateway.sip, alters) as (address, _):
        host, port = address
        recorder, answered = await rig.calls("601", proxy=f"{host}:{port}")
        assert isinstance(answered, events.Answered)
        ended = await recorder.wait(events.Ended, 30)
        assert isinstance(ended, events.Ended)
        assert ended.by == "remote"
        await rig.gateway.idle()
        trace = arrows(await rig.prints(heading, "CALL_ID", rig.gateway.app.calls.ended[-1].id))
        answers = trace[trace.index("SIP/2.0 200 OK") :]
        assert answers.count("SIP/2.0 200 OK") > 3
        assert not [title for title in answers if title.startswith("ACK")]
        doctor = await rig.prints(heading, "gateway doctor")
    assert "sip.listen (udp)  Peers are told 203.0.113.9" in doctor


async def test_a_session_that_nobody_refreshes_ends(tmp_path: Path) -> None:
    """A phone that took it on to refresh: the trace ends in our BYE, with no UPDATE for the whole of the interval."""
    with short_sessions() as shortened:
        async with rigged(tmp_path, shortened) as rig:
            async with caller(rig.gateway, "gateway_expired", "601") as phone:
                await phone.finish()
            await rig.gateway.idle()
            call = rig.gateway.app.calls.ended[-1]
            assert (call.ended_after_ms or 0) >= INTERVAL * 1000
            trace = await rig.prints("A call ends after 15 or 30 minutes", "CALL_ID", call.id)
    said = arrows(trace)
    assert said[-2].startswith("BYE")
    assert [title.split()[0] for title in said].count("UPDATE") == 1, "it was refreshed once, and no more"


async def test_a_phone_behind_a_firewall_that_drops_fragments_hears_of_small_calls_alone(tmp_path: Path) -> None:
    """A small one is answered; the trace of the large one shows INVITEs, and nothing from the phone."""
    phone = UserAgent(UserAgentConfig(listen=LOOPBACK), Application(answering))
    async with rigged(tmp_path, **QUICK) as rig:
        await phone.start()
        try:
            port = await registered(rig.gateway)
            _, host, inside = phone.listening[0]
            async with middlebox((host, inside), whole, port) as (_, dropped):
                _, answered = await rig.calls("1002")
                assert isinstance(answered, events.Answered)
                assert not dropped.done()
                await rig.idle()
                _, failed = await rig.calls("1002", LARGE)
                assert isinstance(failed, events.Failed)
                assert (await dropped).startswith(b"INVITE ")
                await rig.gateway.idle()
                trace = await rig.prints("Big messages get lost", "CALL_ID", rig.gateway.app.calls.ended[-1].id)
        finally:
            await phone.close()
    said = arrows(trace)
    assert len([title for title in said if title.startswith("INVITE ")]) > 4, "two of the caller, more of ours"
    assert not [title for title in said if title.startswith(("SIP/2.0 180", "SIP/2.0 200"))]


async def test_media_that_comes_through_nowhere_fails_the_call(tmp_path: Path) -> None:
    """What browsers are told leads nowhere: the call ends as the page says, and doctor says what they are told."""
    heading = "Connecting, and a failure after 15 seconds"
    changes = {"ADVERTISED": f'["{NOWHERE}"]', "SETUP_TIMEOUT": "2", "OWN_ADDRESSES": "false"}
    async with rigged(tmp_path, **{f"WEBRTC__{key}": value for key, value in changes.items()}) as rig:
        alice = await rig.gateway.browser("alice")
        assert await alice.refused("600") == "media-failed"
        doctor = await rig.prints(heading, "gateway doctor")
        assert f"webrtc.listen  Peers are told {NOWHERE}" in doctor


async def test_limits_that_refuse_calls_are_named(tmp_path: Path) -> None:
    """A user's own, and that of the whole gateway: 503 whose Reason says which, and a count of each cause."""
    heading = "The gateway refuses calls with 503"
    async with rigged(tmp_path, LIMITS__MAX_CALLS="2", METRICS__ENABLED="true") as rig:
        for user, reason in (("1002", None), ("1002", "too-many-own"), ("1001", None), ("1001", "limit")):
            _, outcome = await rig.calls("601", user=user)
            if reason is None:
                assert isinstance(outcome, events.Answered)
                continue
            assert isinstance(outcome, events.Failed)
            assert outcome.status == 503
            assert f'text="{reason}' in str(outcome.headers.get("Reason"))
            counted = await rig.prints(heading, "/metrics")
            assert f'gateway_calls_refused_total{{cause="{reason}"}} 1.0' in counted


async def test_who_may_not_or_cannot_be_called_is_told_apart(tmp_path: Path) -> None:
    """404, 403 and 401, as the table of "It does not ring" has them."""
    async with rigged(tmp_path, LOG__LEVEL="debug") as rig:
        for number, status in (("2999", 404), ("admin", 403)):
            _, failed = await rig.calls(number)
            assert isinstance(failed, events.Failed)
            assert failed.status == status
        stranger = rig.phone.invite(
            f"sip:alice@{rig.gateway.app.sip_hostport}", caller="<sip:2001@pbx.example>", body=PCMU
        )
        refused = await Recorder(stranger).wait(events.Failed, 30)
        assert isinstance(refused, events.Failed)
        assert refused.status == 401
        _, host, port = rig.phone.listening[0]
        logged = await rig.gateway.journal.text()
        assert re.search(rf'flow=udp:{re.escape(host)}:{port}/\S+ start="INVITE sip:alice@', logged)
