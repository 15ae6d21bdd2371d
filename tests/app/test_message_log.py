"""At log level debug each SIP message has its line, with both names of the call it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.app import GatewayApp
from tests.interop.gateway import PASSWORDS, config_on_free_ports
from tests.interop.stranger import SDP, authorization, status_of, stranger

SIP_CALL_ID = "both-names"


async def one_call(app: GatewayApp) -> str:
    """1001 calls the echo, and the gateway hangs up; the gateway's id of the call."""
    host, _, port = app.sip_hostport.rpartition(":")
    place = (host, int(port))
    async with stranger("127.0.0.1") as phone:
        uri = f"sip:600@{app.config.domain}"

        def invite(cseq: int, *headers: str) -> bytes:
            sdp = SDP.format(host="127.0.0.1")
            return phone.request("INVITE", uri, user="1001", body=sdp, call_id=SIP_CALL_ID, cseq=cseq, headers=headers)

        challenge = await phone.ask(invite(1), place)
        signed = authorization(challenge, "INVITE", uri, "1001", PASSWORDS["1001"])
        assert status_of(await phone.ask(invite(2, signed), place)) == 200
        (call,) = app.calls
        seen = len(phone.received)
        call.stop()
        await call.finished()
        await phone.more_than(seen)
        return call.id


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_messages_and_steps_of_a_call_carry_both_its_names(tmp_path: Path, level: str) -> None:
    """The steps always; the messages at debug: the first INVITE comes before there is a call, then all have its id."""
    app = GatewayApp(config_on_free_ports(tmp_path, LOG__LEVEL=level))
    await app.start()
    try:
        with capture_logs() as lines:
            call_id = await one_call(app)
    finally:
        await app.stop()
    steps = [line for line in lines if line["event"] == "call"]
    assert {(line["call_id"], line["sip_call_id"]) for line in steps} == {(call_id, SIP_CALL_ID)}
    assert {line["state"] for line in steps} >= {"new", "connected", "ended"}
    messages = [line for line in lines if line["event"] == "sip message"]
    if level == "info":
        assert messages == []
        return
    assert {line["sip_call_id"] for line in messages} == {SIP_CALL_ID}
    told = [(line["direction"], line["start"].partition(" ")[0], line["cseq"], line["call_id"]) for line in messages]
    assert told[0] == ("in", "INVITE", "1 INVITE", None)
    assert ("out", "SIP/2.0", "2 INVITE", call_id) in told
    assert told[-1][:2] + told[-1][3:] == ("out", "BYE", call_id)
    assert not any(password in str(messages) for password in PASSWORDS.values())
