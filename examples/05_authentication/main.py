"""Example 5: digest authentication by hand, with a clock turned by hand, and then over UDP at a small registrar."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import sys

from exchange import ACCOUNTS, ALICE, REALM, SERVER, Exchange, register
from registrar import Registrar

from gateway import net
from gateway.sip import (
    DigestResult,
    Uri,
    build,
)


def check(condition: bool, words: str) -> None:
    """Print what holds; where it does not hold, say so and end the program with status 1."""
    if not condition:
        sys.exit(f"FAIL: {words}")
    print(f"  ok: {words}")


def challenge_and_answer(algorithm: str) -> Exchange:
    """401, credentials, 200."""
    print(f"1. A challenge and its answer: {algorithm}")
    exchange = Exchange(algorithm)
    check(exchange.result(register(1)) is DigestResult.MISSING, "without credentials the answer is 401")
    check(exchange.challenge(), "the client knows how to answer the challenge")
    request = exchange.signed()
    credentials = request.authorization[0]
    for name in ("username", "algorithm", "qop", "nc", "uri", "response"):
        print(f"  {name}: {credentials.get(name)}")
    check(b"wonderland" not in request.write(), "the password is not in it")
    check(exchange.result(request) is DigestResult.OK, "the server is content")
    return exchange


def without_qop() -> None:
    """Servers of the last century name no qop: no nonce count, no client nonce, one hash of three (RFC 2069)."""
    print("2. Without qop")
    exchange = Exchange("MD5")
    old = f'Digest realm="{REALM}", nonce="7ce1a5", algorithm=MD5'
    exchange.client.challenged(build.response(register(1), 401, headers=[("WWW-Authenticate", old)]), SERVER)
    credentials = exchange.signed().authorization[0]
    ha2 = hashlib.md5(f"REGISTER:sip:{REALM}".encode()).hexdigest()
    by_hand = hashlib.md5(f"{ACCOUNTS['alice']['MD5']}:7ce1a5:{ha2}".encode()).hexdigest()
    print(f"  response: {credentials.get('response')}")
    check(credentials.get("nc") is None and credentials.get("cnonce") is None, "nothing counts the nonce's uses")
    check(credentials.get("response") == by_hand, "H(HA1:nonce:HA2), made by hand")


def replay(exchange: Exchange) -> None:
    """Credentials are good for one request; the nonce is good for more."""
    print("3. Replay")
    request = exchange.signed()
    check(exchange.result(request) is DigestResult.OK, "a second request is signed with the same nonce, counted up")
    check(request.authorization[0].get("nc") == "00000002", "nc=00000002")
    check(exchange.result(request) is DigestResult.STALE, "the very same request once more is refused")
    moved = exchange.signed().with_uri(Uri.of(None, "elsewhere.example.net"))
    check(exchange.result(moved) is DigestResult.MALFORMED, "credentials for another Request-URI are no good")


def lifetime(exchange: Exchange) -> None:
    """Nonces grow old; the clock of this example is turned by hand."""
    print("4. The life of a nonce")
    exchange.clock.advance(61)
    check(exchange.result(exchange.signed()) is DigestResult.STALE, "after a minute the nonce is old")
    check(exchange.challenge(stale=True), "stale=true: the secret was right, so the client tries again")
    check(exchange.result(exchange.signed()) is DigestResult.OK, "with the new nonce it is let in")


def wrong_password() -> None:
    """A client stops where another try cannot help, and answers nobody but its own server."""
    print("5. A wrong password, and a stranger")
    guess = Exchange("SHA-256", "looking-glass")
    guess.challenge()
    check(guess.result(guess.signed()) is DigestResult.WRONG, "a wrong password is seen")
    check(not guess.challenge(), "a second challenge tells the client to stop: the same answer would not help")
    honest = Exchange("SHA-256")
    check(not honest.challenge(peer="udp:203.0.113.66:5060"), "a challenge from elsewhere gets no digest to crack")


async def over_udp() -> None:
    """The same between two user agents: the client's does all of it by itself."""
    print("6. A registrar over UDP")
    place = net.UserAgentConfig(listen=(("127.0.0.1", 0),))
    registrar = Registrar(REALM, ACCOUNTS)
    server, phone = net.UserAgent(place, registrar), net.UserAgent(place, Registrar(REALM, ACCOUNTS))
    await server.start()
    await phone.start()
    try:
        _, host, port = server.listening[0]
        target = f"sip:{host}:{port}"
        secret = net.Credentials("alice", "wonderland")
        kept = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=secret)
        check(kept.registered and kept.status == 200, f"registered for {kept.expires} s")
        check(registrar.challenged == 1, "it took one challenge")
        for binding in registrar.bindings:
            print(f"  {binding.aor} is at {binding.contact}, which came from {binding.received}")
        check(len(registrar.bindings) == 1, "one binding")
        other = await phone.register(target, aor=f"<sip:bob@{REALM}>", credentials=secret)
        check(other.status == 403, "alice's password does not register bob")
        wrong = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=net.Credentials("alice", "guess"))
        check(wrong.status == 401, "a wrong password ends with the second 401")
        await kept.unregister()
        check(not registrar.bindings, "unregistered: nothing is left")
        hasty = net.RegistrationPolicy(expires=2, shortest_refresh=0.2)
        brief = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=secret, policy=hasty)
        before = registrar.bindings
        try:
            await asyncio.wait_for(registrar.refreshed.wait(), 10)
        except TimeoutError:
            sys.exit("FAIL: a registration for 2 s was not refreshed within 10 s")
        after = registrar.bindings
        check(brief.registered and after[0].cseq > before[0].cseq, f"for {brief.expires} s, and refreshed by itself")
    finally:
        await asyncio.gather(phone.close(), server.close())


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    logging.disable(logging.WARNING)  # The library warns of refused registrations; here they are the lesson.
    challenge_and_answer("MD5")
    shown = challenge_and_answer("SHA-256")
    without_qop()
    replay(shown)
    lifetime(shown)
    wrong_password()
    asyncio.run(over_udp())
    print("PASS")
