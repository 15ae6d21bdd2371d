"""STUN keep-alives on a SIP port: for phones that have registered, not for strangers (RFC 5626 3.5.2)."""

from __future__ import annotations

import pytest

from gateway.sip.config import CoreConfig
from gateway.sip.flow import Flow
from gateway.sip.stun import binding_response, is_binding_request
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from tests.rows import by_row
from tests.sip.agents import BOB, Stage, answered_call

REQUEST = bytes.fromhex("000100002112a442") + bytes(range(12))
SOURCE = Flow("udp", *BOB, "here")


@pytest.mark.parametrize(
    ("host", "attribute"),
    [
        # RFC 5769 section 2.2 and 2.3: 192.0.2.1 and 2001:db8:1234:5678:11:2233:4455:6677, port 32853.
        ("192.0.2.1", "002000080001a147e112a643"),
        (
            "2001:db8:1234:5678:11:2233:4455:6677",
            "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
        ),
    ],
)
def test_the_response_says_where_the_request_came_from(host: str, attribute: str) -> None:
    """The test vectors of RFC 5769."""
    request = bytes.fromhex("000100002112a442b7e7a701bc34d686fa87dfae")
    length = f"{len(attribute) // 2:04x}"
    expected = bytes.fromhex(f"0101{length}2112a442b7e7a701bc34d686fa87dfae{attribute}")
    assert binding_response(request, Flow("udp", host, 32853)) == expected


@by_row(
    "data",
    [
        REQUEST[:-1],
        b"\x01\x01" + REQUEST[2:],
        REQUEST[:4] + b"\0\0\0\0" + REQUEST[8:],
        b"\0\1\0\4" + REQUEST[4:],
        b"\0\1\0\x80" + REQUEST[4:] + bytes(128),
        b"\0",
    ],
)
def test_what_is_no_binding_request_is_none(data: bytes) -> None:
    """Truncated, a response, without the cookie, of another length, too long."""
    assert not is_binding_request(data)


def test_only_who_has_proved_to_be_there_is_answered() -> None:
    """A forged source would be sent more than was sent in its name."""
    stage = Stage()
    out = stage.agent.core
    out.receive(REQUEST, SOURCE)
    assert out.datagrams() == []
    answered_call(stage)
    out.datagrams()
    out.receive(REQUEST, SOURCE)
    [(data, flow)] = out.datagrams()
    assert (data[:2], data[8:20], flow) == (b"\x01\x01", REQUEST[8:20], SOURCE)


def test_a_flood_of_keep_alives_is_answered_within_the_rate() -> None:
    """Each counts like a request of that source."""
    stage = Stage(CoreConfig(stack=StackConfig(admission=AdmissionLimits(rate=1, burst=10))))
    answered_call(stage)
    stage.agent.core.datagrams()
    for _ in range(100):
        stage.agent.core.receive(REQUEST, SOURCE)
    assert len(stage.agent.core.datagrams()) <= 10
