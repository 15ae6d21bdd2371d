"""RFC 4475 on the wire: each message over UDP and over TCP to real sockets, with the answer it is to get."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tests.rows import by_row
from tests.sip.wire import CLOSED, WAITS, answers_over_udp, over_tcp, over_udp

RFC4475 = Path(__file__).parents[1] / "data" / "rfc4475"


UDP: dict[str, int | None] = {
    "wsinv": 481,
    "intmeth": 501,
    "esc01": 200,
    "escnull": 200,
    "esc02": 501,
    "lwsdisp": 200,
    "longreq": 200,
    "dblreq": 200,
    "semiuri": 200,
    "transports": 200,
    "mpart01": 405,
    "unreason": None,
    "noreason": None,
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 200,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "baddate": 200,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    "badbranch": 200,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 404,
    "bext01": 420,
    "invut": 415,
    "regaut01": 401,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 200,
    "cparam02": 200,
    "regescrt": 200,
    "sdp01": 406,
    "inv2543": 200,
    "test": None,
}
"""Status of the first final answer over UDP, None for silence. The sockets belong to a user agent whose application
lets in who shows no credentials but a digest, answers calls, is a registrar and has MESSAGE switched off (mpart01)."""

TCP: dict[str, int | tuple[int, ...] | None] = {
    **UDP,
    "clerr": WAITS,
    "baddn": 200,
    "ncl": (400, CLOSED),
    "mcl01": (400, CLOSED),
    # No Content-Length: lawful in a datagram, not in a stream (RFC 3261 18.3).
    "inv2543": (400, CLOSED),
    # The INVITE behind the REGISTER says less than its body has: where the next message begins is lost.
    "dblreq": CLOSED,
}
"""The same over TCP, where a message ends by its Content-Length."""


OURS = {
    "wsinv": 481,  # valid, and in a dialog that there is not: its To has a tag
    "esc02": 501,  # valid, of a method that nobody knows
    "mpart01": 405,  # valid, and MESSAGE is switched off
}
"""Where what is right for the message is not what the table says of its text."""
_LENIENT = re.compile(r"lenient|ignore|unless|\bif\b|treat")


def rows() -> dict[str, str]:
    with (RFC4475 / "EXPECT.tsv").open() as table:
        return {row["file"]: row["expected"] for row in csv.DictReader(table, delimiter="\t")}


def permitted(name: str, words: str) -> set[int | None]:
    """The final answers over UDP that the table's words for a message leave."""
    if name in OURS:
        return {OURS[name]}
    if (RFC4475 / f"{name}.dat").read_bytes().startswith(b"SIP/2.0 ") or "only not crash" in words:
        return {None}
    named: set[int | None] = {int(status) for status in re.findall(r"\b[4-6]\d\d\b", words)}
    return named | {200} if not named or _LENIENT.search(words) else named


def test_every_row_of_the_table_has_its_answer() -> None:
    """No message of the corpus is left out, and the corpus is in the repository."""
    assert sorted(rows()) == sorted(UDP) == sorted(TCP) == sorted(path.stem for path in RFC4475.glob("*.dat"))


def test_every_answer_is_one_that_the_table_permits() -> None:
    """Over TCP another one than over UDP only where the table speaks of the difference, or a line is missing."""
    for name, words in rows().items():
        assert UDP[name] in permitted(name, words), name
        if TCP[name] != UDP[name]:
            assert re.search("stream|datagram", words) or name in ("inv2543", "baddn"), name


@by_row("name", UDP)
async def test_a_torture_message_over_udp_gets_its_answer(name: str) -> None:
    """The status that its section of RFC 4475 wants, or silence."""
    expected = UDP[name]
    assert (await over_udp((RFC4475 / f"{name}.dat").read_bytes()))[:1] == ([] if expected is None else [expected])


@by_row("name", TCP)
async def test_a_torture_message_over_tcp_gets_its_answer(name: str) -> None:
    """And the stream goes on behind it, unless its end cannot be told."""
    expected = TCP[name]
    wanted = [] if expected is None else list(expected) if isinstance(expected, tuple) else [expected]
    assert await over_tcp((RFC4475 / f"{name}.dat").read_bytes()) == wanted


@by_row(
    ("name", "says"),
    [
        ("regaut01", b"WWW-Authenticate: Digest "),
        ("bext01", b"Unsupported: nothingSupportsThis, nothingSupportsThisEither"),
        ("invut", b"Accept: application/sdp"),
        ("mpart01", b"Allow: INVITE"),
    ],
)
async def test_a_refusal_says_what_would_be_taken(name: str, says: bytes) -> None:
    """A challenge that is supported, the extensions that are not, the bodies and the methods that are."""
    assert says in await answers_over_udp((RFC4475 / f"{name}.dat").read_bytes())
