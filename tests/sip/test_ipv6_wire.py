"""RFC 5118 on the wire: what each torture message of IPv6 is answered."""

from __future__ import annotations

from gateway.sip.message.parser import parse_message
from tests.rows import by_row
from tests.sip.ipv6_messages import MESSAGES
from tests.sip.wire import over_tcp, over_udp


@by_row("name", MESSAGES)
async def test_an_ipv6_message_gets_its_answer(name: str) -> None:
    """Over UDP and over TCP alike."""
    data, status = MESSAGES[name]
    assert (await over_udp(data))[:1] == [status]
    assert (await over_tcp(data))[:1] == [status]


def test_the_port_is_what_stands_behind_the_bracket() -> None:
    """4.3 and 4.4 differ in nothing else."""
    part, port = (parse_message(MESSAGES[name][0]) for name in list(MESSAGES)[2:4])
    assert (part.uri.host, part.uri.port) == ("[2001:db8::10:5070]", None)  # type: ignore[union-attr]
    assert (port.uri.host, port.uri.port) == ("[2001:db8::10]", 5070)  # type: ignore[union-attr]


def test_received_is_read_with_and_without_brackets() -> None:
    """RFC 3261 says without, its examples and old clients with (4.5)."""
    values = {parse_message(MESSAGES[name][0]).top_via.received for name in list(MESSAGES)[4:6]}
    assert values == {"2001:db8::9:255"}
