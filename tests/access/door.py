"""A gatekeeper with phones and trunks behind it, and the requests of phones."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Coroutine

from gateway.access.gatekeeper import Gatekeeper
from gateway.identity import passwords
from gateway.identity.guesses import LockOut
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Credential, User
from gateway.sip.auth.server import DigestInput, DigestServer, response_of
from gateway.sip.flow import Flow
from gateway.sip.invite import events
from gateway.sip.message.message import Request
from gateway.sip.message.parser import parse_message
from gateway.store.identity_memory import MemoryStore
from gateway.trunks.known import TrunkAccount, Trunks

REALM = "gw.test"
PHONE = Flow("udp", "192.0.2.7", 5060)
OTHER = Flow("udp", "198.51.100.9", 5060)
TRUNK = Flow("udp", "203.0.113.5", 5060)
PASSWORD = "correct horse"
TRUNK_PASSWORD = "battery staple"


class Door:
    """One gatekeeper with two phones, a web user and a trunk behind it."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        users = [User("1001", sip=True, aliases=("2001",)), User("1002", sip=True), User("alice", web=True)]
        self.now = 1_000_000.0
        self.store = store or MemoryStore()
        self.identity = IdentityMap(users, [], REALM)
        self.trunks = Trunks(
            [
                TrunkAccount(name="provider", sources=(ipaddress.ip_network("203.0.113.0/29"),)),
                TrunkAccount(
                    name="office",
                    username="gateway",
                    ha1=passwords.ha1("gateway", REALM, TRUNK_PASSWORD),
                    admits_registered=True,
                ),
                TrunkAccount(name="twin", username="1002", ha1=passwords.ha1("1002", REALM, TRUNK_PASSWORD)),
            ]
        )
        self.keeper = Gatekeeper(
            self.identity,
            self.store,
            DigestServer(REALM, bytes(32), ("MD5",)),
            [REALM, "192.0.2.1"],
            self.trunks,
            lambda: self.now,
            lambda count: bytes(count),
            LockOut(failures=3, seconds=60, user_failures=5),
        )

    async def opened(self) -> Door:
        for name in ("1001", "1002", "alice"):
            await self.store.put_credential(Credential(name, REALM, passwords.ha1(name, REALM, PASSWORD)))
        return self

    async def asked(self, request: Request, source: Flow = PHONE) -> events.Verdict:
        verdict = self.keeper.authenticate(request, source)
        return await verdict if isinstance(verdict, Coroutine) else verdict

    async def nonce(self, source: Flow = PHONE) -> str:
        self.now += 0.02
        verdict = await self.asked(request("REGISTER"), source)
        assert isinstance(verdict, events.Refused)
        return str(verdict.headers[0][1]).partition('nonce="')[2].partition('"')[0]

    async def signed(
        self, method: str, user: str, source: Flow = PHONE, *, password: str = PASSWORD, **parts: str
    ) -> events.Verdict:
        """What a request signed with a nonce that was given to `source` is answered."""
        nonce = await self.nonce(source)
        return await self.asked(request(method, credentials(method, user, nonce, password), **parts), source)


def credentials(method: str, user: str, nonce: str, password: str = PASSWORD, nc: str = "00000001") -> str:
    ha1 = hashlib.md5(f"{user}:{REALM}:{password}".encode(), usedforsecurity=False).hexdigest()
    uri = f"sip:{REALM}"
    response = response_of(ha1, DigestInput("MD5", nonce, method, uri, "auth", "c", nc))
    return (
        f'Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="{uri}", response="{response}", '
        f'algorithm=MD5, qop=auth, nc={nc}, cnonce="c"'
    )


def request(method: str, authorization: str = "", sender: str = "1001", to: str = "1001", host: str = REALM) -> Request:
    lines = [
        f"{method} sip:{REALM} SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1",
        f"From: <sip:{sender}@{host}>;tag=1",
        f"To: <sip:{to}@{host}>",
        "Call-ID: c",
        f"CSeq: 1 {method}",
        f"Contact: <sip:{to}@192.0.2.7>",
        *([f"Authorization: {authorization}"] if authorization else []),
    ]
    message = parse_message(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(message, Request)
    return message


def from_there(port: int, host: str = "192.0.2.99") -> Flow:
    return Flow("udp", host, port)
