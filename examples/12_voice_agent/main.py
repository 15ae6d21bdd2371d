"""Example 12: a voice agent answers the telephone, is interrupted, and passes its caller on to a person."""

from __future__ import annotations

from gateway.lesson import check, run

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from agent import MENU, PITCH, SORRY, app, new_turn, turns

from gateway import Gateway, GatewayError, net
from gateway.testing import loopback_config

# Caller and person are the client that example 8 has built.
sys.path.append(str(Path(__file__).resolve().parents[1] / "08_sip_client"))

from client import Call, CallError, SipClient

USERS: list[dict[str, object]] = [{"id": "1001", "sip": True}, {"id": "1002", "sip": True}]
AGENT = "the agent"


async def hears(call: Call, speaker: str, hz: float, words: str) -> None:
    """A phone hears a tone of now, which its far end says; TimeoutError with what it hears instead."""
    call.sound.listen()
    heard = await call.sound.tone(speaker, hz)
    check(abs(heard - hz) <= 15, f"{words}: {heard:.0f} Hz")


async def ask(call: Call, hz: float, seconds: float = 0.8) -> float:
    """Say a tone for a while, then be silent; the time at which it ended."""
    call.sound.say(hz)
    await asyncio.sleep(seconds)
    call.sound.say(None)
    return time.monotonic()


async def conversation(caller: SipClient, person: SipClient) -> None:
    print("1. 1002 dials 700")
    call = caller.dial("700")
    await call.expect(net.Answered)
    await hears(call, AGENT, 440, "the agent greets")

    print("2. A question, and a whole answer")
    asked = await ask(call, 600)
    await hears(call, AGENT, 300, "it says when they are open")
    print(f"  {time.monotonic() - asked:.1f} s after the last word, with 0.4 s of silence that end a question")

    print("3. A question, and an answer that is interrupted")
    await until_turns(1)
    await ask(call, 800)
    await hears(call, AGENT, 400, "it reads the menu, for twenty seconds")
    began = time.monotonic()
    await ask(call, 500)
    await hears(call, AGENT, 220, "it has stopped, and says that it did not understand")
    check(time.monotonic() - began < PITCH[MENU][1] / 2, "long before the menu's end")
    await until_turns(3)

    print("4. 'A person, please'")
    await ask(call, 1000)
    taken = await person.rings()
    taken.answer()
    call.sound.say(600)
    await hears(call, "1001", 784, "1002 hears the person at 1001")
    await hears(taken, "1002", 600, "and the person hears 1002")
    call.hangup()
    check((await taken.expect(net.Ended)).by == "remote", "1002 hangs up")


async def until_turns(number: int) -> None:
    """Wait until the agent has ended so many exchanges; TimeoutError with how many it has."""
    try:
        async with asyncio.timeout(8):
            while len(turns) < number:
                new_turn.clear()
                await new_turn.wait()
    except TimeoutError:
        raise TimeoutError(f"the agent has not answered {number} times within 8 s: does 1002 speak?") from None


def told() -> None:
    print("5. The agent's own record")
    for turn in turns:
        end = "" if turn.whole else "(interrupted)"
        print(f"  | {turn.seconds:.1f} s | {turn.heard or '?':20} | {turn.answer:30} | {end}")
    check([turn.whole for turn in turns] == [True, False, True, True], "one of its four answers was cut short")
    check(turns[2].answer == SORRY, "and what it did not know it said so")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            async with Gateway(loopback_config(folder, USERS), application=app) as gateway:
                domain, place = gateway.config.domain, gateway.sip_address
                async with (
                    SipClient("1001", gateway.password("1001"), domain, place, hz=784) as person,
                    SipClient("1002", gateway.password("1002"), domain, place, hz=None) as caller,
                ):
                    await asyncio.gather(person.sign_in(), caller.sign_in())
                    await conversation(caller, person)
                    await gateway.idle()
        except (CallError, TimeoutError) as error:
            raise GatewayError(f"{error} (the agent has answered {len(turns)} times, 4 are wanted)") from None
    told()


if __name__ == "__main__":
    run(main, __doc__, log=True, seconds=60)
