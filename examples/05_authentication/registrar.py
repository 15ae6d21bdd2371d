"""A registrar as the hooks of a user agent: who sent this, and what does it change?"""

from __future__ import annotations

import asyncio
import os
import time

from gateway import Binding, net
from gateway.sip import Changes, DigestResult, DigestServer, RegistrarPolicy, Request, decide, ok_fields


class Registrar:
    """Challenges everybody, keeps bindings of one account."""

    def __init__(self, realm: str, accounts: dict[str, dict[str, str]]) -> None:
        self.digest = DigestServer(realm, os.urandom(32), ("SHA-256", "MD5"))
        self.accounts = accounts
        """HA1 by user and algorithm."""
        self.bindings: tuple[Binding, ...] = ()
        self.challenged = 0
        self.refreshed = asyncio.Event()
        """A binding was put in the place of an older one."""

    async def authenticate(self, request: Request, source: net.Flow) -> net.Verdict:
        checked = self.digest.check(
            request, lambda user, realm: self.accounts.get(user), time.time(), source=source.host
        )
        if checked.result is DigestResult.OK:
            return net.Accepted(checked.username)
        self.challenged += 1
        challenges = self.digest.challenges(time.time(), stale=checked.stale, salt=os.urandom(2), source=source.host)
        return net.Refused(401, headers=tuple(("WWW-Authenticate", str(value)) for value in challenges))

    def invited(self, session: net.IncomingSession, identity: str | None) -> None:
        session.reject(501)

    async def answer_register(self, request: Request, source: net.Flow, identity: str | None) -> net.Reply:
        if request.to.uri.username != identity:
            return net.Reply(403)  # A good password is no leave to register somebody else.
        now = time.time()
        changes = decide(
            request, self.bindings, RegistrarPolicy(min_expires=1), now, make=Binding, received=str(source)
        )
        if not isinstance(changes, Changes):
            return net.Reply(changes.status)
        if self.bindings and changes.after:
            self.refreshed.set()
        self.bindings = changes.after
        return net.Reply(200, headers=ok_fields(request, self.bindings, now))
