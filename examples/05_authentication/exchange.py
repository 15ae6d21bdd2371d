"""A digest server, one client of it, and no network between them: what each says is looked at by hand."""

from __future__ import annotations

from gateway.lesson import arrow

import os

from gateway.sip import (
    ClientCredentials,
    DigestClient,
    DigestResult,
    DigestServer,
    NameAddr,
    NoncePolicy,
    Request,
    Uri,
    build,
    ha1_of,
)
from gateway.testing import ManualClock

REALM, PASSWORD = "example.com", "wonderland"
SERVER = "udp:192.0.2.10:5060"
ALICE = NameAddr(Uri.of("alice", REALM))
# What a server keeps is HA1, a hash of user, realm and password, never the password.
ACCOUNTS = {"alice": {name: ha1_of(name, "alice", REALM, PASSWORD) for name in ("SHA-256", "MD5")}}


def register(cseq: int) -> Request:
    """A REGISTER without credentials."""
    registrar = Uri.of(None, REALM)
    return build.request("REGISTER", registrar, from_=ALICE.with_tag("1"), to=ALICE, call_id="reg-1", cseq=cseq)


class Exchange:
    """A digest server and one client of it, without a network between them."""

    def __init__(self, algorithm: str, password: str = PASSWORD) -> None:
        self.clock = ManualClock()
        self.server = DigestServer(REALM, os.urandom(32), (algorithm,), NoncePolicy(lifetime=60))
        self.client = DigestClient(ClientCredentials("alice", SERVER, password=password))
        self.cseq = 0

    def challenge(self, stale: bool = False, peer: str = SERVER) -> bool:
        """The server's 401, said to come from `peer`; whether the client thinks that another try is worth it."""
        challenges = self.server.challenges(self.clock(), stale=stale, salt=os.urandom(4))
        fields = [("WWW-Authenticate", value) for value in challenges]
        return self.client.challenged(build.response(register(1), 401, headers=fields), peer)

    def signed(self) -> Request:
        """The next REGISTER, signed; each one counts the nonce up."""
        self.cseq += 1
        return self.client.authorize(register(self.cseq), SERVER, cnonce=os.urandom(8).hex())

    def result(self, request: Request) -> DigestResult:
        """What the server says to it."""
        return self.server.check(request, lambda user, realm: ACCOUNTS.get(user), self.clock()).result


def tried(exchange: Exchange, request: Request, words: str) -> DigestResult:
    """What the server says to a request, as two steps of a ladder."""
    [*signed] = request.authorization
    arrow("phone", f"{words}, nc={signed[0].get('nc')}" if signed else words, "registrar")
    result = exchange.result(request)
    arrow("phone", result.name if result is DigestResult.OK else f"401: {result.name.lower()}", "registrar", back=True)
    return result
