"""Redirections with a Contact that cannot be read beside one that can: each stands alone (RFC 3261 20.10)."""

from __future__ import annotations

from pathlib import Path

from tests.app.phones import Phone
from tests.app.scripted_house import house
from tests.rows import by_row

GOOD = "<sip:1002@{domain}>"
UNREADABLE = {
    "no host": "<sip:b@>",
    "a port that is none": "<sip:b@127.0.0.1:x>;q=1.0",
    "an unclosed bracket": "<sip:b@127.0.0.1",
    "words": "not an address",
    "a star": "*",
    "a comma in quotes": '"Doe, John" <sip:b@>',
    "a name before a name": "John <tel> <sip:b@127.0.0.1>",
    "nothing": "<>",
    "a page": "<http://127.0.0.1/>",
    "a mail": "mailto:b@example.com",
    "a q that is none": "<sip:b@nobody.invalid>;q=x",
}


@by_row("status", [300, 302])
@by_row("bad", UNREADABLE)
@by_row("is_first", [True, False])
async def test_a_readable_contact_of_a_3xx_is_followed(tmp_path: Path, bad: str, status: int, is_first: bool) -> None:
    """In one field and in two, before and behind the Contact that cannot be read."""
    async with house(tmp_path) as there:
        good = GOOD.format(domain=there.app.config.domain)
        both = (UNREADABLE[bad], good) if is_first else (good, UNREADABLE[bad])
        for fields in ((("Contact", ", ".join(both)),), tuple(("Contact", one) for one in both)):
            phone = Phone(there.agent, there.app, "1001", dials="04711")
            invite = await there.trunk.request("INVITE")
            await there.trunk.send(there.trunk.says(invite, status, sdp=None, fields=fields))
            other = there.phones[0]
            await other.send(other.says(await other.request("INVITE"), 200))
            await other.request("ACK")
            assert await phone.status() == 200
            phone.session.hangup()
            await other.accepts("BYE")


async def test_a_3xx_without_a_readable_contact_refuses(tmp_path: Path) -> None:
    """There is nobody to be asked instead."""
    async with house(tmp_path) as there:
        phone = Phone(there.agent, there.app, "1001", dials="04711")
        invite = await there.trunk.request("INVITE")
        await there.trunk.send(there.trunk.says(invite, 302, sdp=None, fields=(("Contact", "<sip:b@>, junk junk"),)))
        assert await phone.status() >= 400
