"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How it is."""

    GOOD = "good"
    NOTICE = "notice"
    """It works here, but perhaps not for everybody."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    subject: str
    """Two or three words, or the key of the configuration."""
    found: str
    """A sentence."""
    advice: str = ""
    """What to do; "" where nothing is to be done."""


def good(subject: str, found: str) -> Finding:
    return Finding(Verdict.GOOD, subject, found)


def notice(subject: str, found: str, advice: str) -> Finding:
    return Finding(Verdict.NOTICE, subject, found, advice)


def wrong(subject: str, found: str, advice: str) -> Finding:
    return Finding(Verdict.WRONG, subject, found, advice)
