"""What calls read in a description."""

from __future__ import annotations

from gateway.call.description import holds
from tests.rows import by_row

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n{session}t=0 0\r\nm=audio 9 RTP/AVP 0\r\nc=IN IP4 {address}\r\n{lines}"
)


@by_row(
    ("address", "session", "lines", "held"),
    [
        ("192.0.2.1", "", "", False),
        ("192.0.2.1", "", "a=sendonly\r\n", True),
        ("192.0.2.1", "", "a=inactive\r\n", True),
        ("192.0.2.1", "a=sendonly\r\n", "", True),
        ("0.0.0.0", "", "", True),  # as old phones do
        ("0.0.0.0", "", "a=ice-ufrag:abcd\r\n", False),  # a browser that has no candidate yet
        ("0.0.0.0", "a=ice-ufrag:abcd\r\n", "", False),
        ("0.0.0.0", "", "a=ice-ufrag:abcd\r\na=sendonly\r\n", True),
        ("192.0.2.1", "", "m=video 9 RTP/AVP 96\r\na=sendonly\r\n", False),
    ],
)
def test_what_holds_the_other_side(address: str, session: str, lines: str, held: bool) -> None:
    """The direction of the voice, or an address that is nowhere."""
    assert holds(OFFER.format(address=address, session=session, lines=lines)) is held
