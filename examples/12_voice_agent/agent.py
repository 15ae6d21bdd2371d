"""A voice agent: hears its caller, answers, stops when it is interrupted, and passes the call on to a person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway import Application, Session, SessionError, Utterance
from gateway.testing import loudest_frequency, sine

RATE = 16_000
GREETING, HOURS, MENU, SORRY = "hello", "we are open from nine to five", "soup, bread, tea ...", "I did not understand"
PERSON = "a person, please"
PITCH = {GREETING: (440, 1.0), HOURS: (300, 1.0), MENU: (400, 20.0), SORRY: (220, 1.0)}
"""How our synthesiser says a sentence: Hz and seconds."""
MEANING = {600: "when are you open?", 800: "what is there?", 1000: PERSON}
"""What our recogniser takes a pitch for."""
ANSWER = {"when are you open?": HOURS, "what is there?": MENU}


def understand(utterance: Utterance) -> str:
    """A speech recogniser stands here: samples to words. This one knows three pitches."""
    heard, _ = loudest_frequency(utterance.pcm, utterance.rate)
    return next((words for hz, words in MEANING.items() if abs(heard - hz) <= 15), "")


def speak(words: str) -> NDArray[np.int16]:
    """A synthesiser stands here: words to samples, RATE a second. This one whistles."""
    return sine(*PITCH[words], RATE)


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what the caller said, for how long, what was answered, and whether all of it was said."""

    heard: str
    seconds: float
    answer: str
    whole: bool


app = Application(may_call=["1001"])
turns: list[Turn] = []
new_turn = asyncio.Event()


@app.call("700")
async def agent(session: Session) -> None:
    """One call, from its greeting to its end."""
    await session.answer()
    greeting = asyncio.create_task(session.play(speak(GREETING), RATE, until_speech=True))  # heard already meanwhile
    async for utterance in session.utterances(RATE, silence=0.4):
        heard = understand(utterance)
        if heard == PERSON:
            turns.append(Turn(heard, utterance.seconds, "(passed on to 1001)", True))
            try:
                await session.transfer("1001")
            except SessionError:
                heard = ""  # Nobody is there: the agent goes on.
            else:
                break
        answer = ANSWER.get(heard, SORRY)
        whole = await session.play(speak(answer), RATE, until_speech=True)
        turns.append(Turn(heard, utterance.seconds, answer, whole))
        new_turn.set()
    await greeting
