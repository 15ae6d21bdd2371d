"""A request of a phone played by hand, sent again for its challenge."""

from __future__ import annotations

from tests.interop.gateway import PASSWORDS
from tests.interop.stranger import SDP, Stranger, authorization, status_of


async def signed(phone: Stranger, method: str, uri: str, sip: tuple[str, int], domain: str, user: str) -> int:
    """The status of a request of `user`, after its challenge."""

    def request(cseq: int, *headers: str) -> bytes:
        body = SDP.format(host=phone.place[0]) if method == "INVITE" else ""
        to = f"sip:{user}@{domain}" if method == "REGISTER" else None
        made = phone.request(
            method, uri, user=user, to=to, call_id=f"{method}-{user}", cseq=cseq, headers=headers, body=body
        )
        lines = made.split(b"\r\n")
        return b"\r\n".join(
            f"From: <sip:{user}@{domain}>;tag=f".encode() if line.startswith(b"From:") else line for line in lines
        )

    first = await phone.ask(request(1), sip)
    header = authorization(first, method, uri, user, PASSWORDS[user])
    return status_of(await phone.ask(request(2, header), sip))
