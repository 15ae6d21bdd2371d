"""Example 5: digest authentication by hand, with a clock turned by hand, and then over UDP at a small registrar."""

from __future__ import annotations

from gateway.lesson import arrow, check, run, table, within

import asyncio
import hashlib
import logging

from exchange import ACCOUNTS, ALICE, PASSWORD, REALM, SERVER, Exchange, register, tried
from registrar import Registrar

from gateway import net
from gateway.sip import DigestResult, Uri, build


def hashed(algorithm: str, *words: str) -> str:
    """The hash of words with colons between them, in hexadecimal digits."""
    return hashlib.new(algorithm.replace("-", ""), ":".join(words).encode()).hexdigest()


def challenge_and_answer(algorithm: str) -> Exchange:
    """401, credentials, 200; and the answer made once more by hand."""
    print(f"1. A challenge and its answer: {algorithm}")
    exchange = Exchange(algorithm)
    check(tried(exchange, register(1), "REGISTER") is DigestResult.MISSING, "without credentials the answer is 401")
    check(exchange.challenge(), "the client knows how to answer the challenge")
    request = exchange.signed()
    given = dict(request.authorization[0].params)
    ha1 = hashed(algorithm, "alice", REALM, PASSWORD)
    ha2 = hashed(algorithm, "REGISTER", given["uri"])
    answer = hashed(algorithm, ha1, given["nonce"], given["nc"], given["cnonce"], given["qop"], ha2)
    table(
        ("the 401 says", f"realm={given['realm']}, nonce={given['nonce']}, qop={given['qop']}"),
        ("HA1", f"H(alice:{REALM}:{PASSWORD})", ha1),
        ("HA2", f"H(REGISTER:{given['uri']})", ha2),
        ("response", f"H(HA1:nonce:{given['nc']}:{given['cnonce']}:{given['qop']}:HA2)", answer),
        widest=66,
    )
    check(ACCOUNTS["alice"][algorithm] == ha1, "HA1 is what the server keeps, and not the password")
    check(given["response"] == answer, "the client sends the response that was made by hand")
    check(PASSWORD.encode() not in request.write(), "the password is not in it")
    check(tried(exchange, request, "REGISTER, response") is DigestResult.OK, "the server is content")
    return exchange


def without_qop() -> None:
    """Servers of the last century name no qop: no nonce count, no client nonce, one hash of three (RFC 2069)."""
    print("2. Without qop")
    exchange = Exchange("MD5")
    old = f'Digest realm="{REALM}", nonce="7ce1a5", algorithm=MD5'
    exchange.client.challenged(build.response(register(1), 401, headers=[("WWW-Authenticate", old)]), SERVER)
    credentials = exchange.signed().authorization[0]
    by_hand = hashed("MD5", ACCOUNTS["alice"]["MD5"], "7ce1a5", hashed("MD5", "REGISTER", f"sip:{REALM}"))
    table(("the 401 says", old), ("response", "H(HA1:7ce1a5:HA2)", by_hand))
    check(credentials.get("nc") is None and credentials.get("cnonce") is None, "nothing counts the nonce's uses")
    check(credentials.get("response") == by_hand, "and it is what the client sends")


def replay(exchange: Exchange) -> None:
    """Credentials are good for one request; the nonce is good for more."""
    print("3. Replay")
    request = exchange.signed()
    check(tried(exchange, request, "REGISTER") is DigestResult.OK, "the same nonce again, counted up")
    check(tried(exchange, request, "the same once more") is DigestResult.STALE, "a copy of it is refused")
    moved = exchange.signed().with_uri(Uri.of(None, "elsewhere.example.net"))
    refused = tried(exchange, moved, "to elsewhere.example.net")
    check(refused is DigestResult.MALFORMED, "credentials for another Request-URI are no good")


def lifetime(exchange: Exchange) -> None:
    """Nonces grow old; the clock of this example is turned by hand."""
    print("4. The life of a nonce: a minute later")
    exchange.clock.advance(61)
    check(tried(exchange, exchange.signed(), "REGISTER") is DigestResult.STALE, "after a minute the nonce is old")
    check(exchange.challenge(stale=True), "stale=true: the secret was right, so the client tries again")
    check(tried(exchange, exchange.signed(), "new nonce") is DigestResult.OK, "with the new nonce it is let in")


def wrong_password() -> None:
    """A client stops where another try cannot help, and answers nobody but its own server."""
    print("5. A wrong password, and a stranger")
    guess = Exchange("SHA-256", "looking-glass")
    guess.challenge()
    check(tried(guess, guess.signed(), "a guess") is DigestResult.WRONG, "a wrong password is seen")
    check(not guess.challenge(), "a second challenge tells the client to stop: the same answer would not help")
    honest = Exchange("SHA-256")
    check(not honest.challenge(peer="udp:203.0.113.66:5060"), "a challenge from elsewhere gets no digest to crack")


class Ladder:
    """A tap on the phone's stack: every message in and out is a step (net.MessageTap)."""

    def message(self, direction: net.Direction, data: bytes, flow: net.Flow, time: float) -> None:
        first, *lines = data.decode().split("\r\n")
        signed = ", Authorization" if any(line.startswith("Authorization:") for line in lines) else ""
        label = first.removeprefix("SIP/2.0 ").partition(" sip:")[0].rstrip()
        arrow("phone", label + signed, "registrar", back=direction is net.Direction.IN)


async def over_udp() -> None:
    """The same between two user agents: the client's does all of it by itself."""
    print("6. A registrar over UDP")
    place = net.UserAgentConfig(listen=(("127.0.0.1", 0),))
    registrar = Registrar(REALM, ACCOUNTS)
    server, phone = net.UserAgent(place, registrar), net.UserAgent(place, Registrar(REALM, ACCOUNTS))
    phone.taps.add(Ladder())
    await server.start()
    await phone.start()
    try:
        _, host, port = server.listening[0]
        target = f"sip:{host}:{port}"
        secret = net.Credentials("alice", PASSWORD)
        kept = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=secret)
        check(kept.registered and registrar.challenged == 1, f"registered for {kept.expires} s by one challenge")
        [binding] = registrar.bindings
        table(("who", "is at", "which came from"), (binding.aor, binding.contact, binding.received))
        other = await phone.register(target, aor=f"<sip:bob@{REALM}>", credentials=secret)
        check(other.status == 403, "alice's password does not register bob")
        wrong = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=net.Credentials("alice", "guess"))
        check(wrong.status == 401, "a wrong password ends with the second 401")
        await kept.unregister()
        check(not registrar.bindings, "unregistered: nothing is left")
        hasty = net.RegistrationPolicy(expires=2, shortest_refresh=0.2)
        brief = await phone.register(target, aor=f"<{ALICE.uri}>", credentials=secret, policy=hasty)
        before = registrar.bindings
        async with within(10, f"a registration for {brief.expires} s is refreshed"):
            await registrar.refreshed.wait()
        after = registrar.bindings
        check(after[0].cseq > before[0].cseq, f"one for {brief.expires} s is refreshed by itself")
        await brief.unregister()
    finally:
        await asyncio.gather(phone.close(), server.close())


async def main() -> None:
    logging.disable(logging.WARNING)  # The library warns of refused registrations; here they are the lesson.
    challenge_and_answer("MD5")
    shown = challenge_and_answer("SHA-256")
    without_qop()
    replay(shown)
    lifetime(shown)
    wrong_password()
    await over_udp()


if __name__ == "__main__":
    run(main, __doc__)
