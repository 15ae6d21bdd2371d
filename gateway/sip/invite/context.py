"""Input data of the session table's actions."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite.events import Ended
from gateway.sip.message import build
from gateway.sip.message.message import Response
from gateway.sip.requests.server import ServerRequest

ENDED_HERE = Ended("local")
MISTAKE = Ended("mistake", 500, text="Server Internal Error")


@dataclass(slots=True)
class Context:
    """Input data of an action; each input sets the fields available."""

    request: ServerRequest | None = None
    response: Response | None = None
    dialog: Dialog | None = None
    status: int = 0
    phrase: str | None = None
    headers: build.Fields = ()
    body: bytes = b""
    ended: Ended = ENDED_HERE
