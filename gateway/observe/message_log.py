"""A line for every SIP message, at log level debug: which way, what, and whose call it is of (net.tap.MessageTap)."""

from __future__ import annotations

import re
from collections import OrderedDict

import structlog

from gateway.call.call import Call
from gateway.net.tap import Direction
from gateway.sip.flow import Flow

log = structlog.get_logger(__name__)

_REMEMBERED = 10_000
"""SIP Call-IDs whose call is known, those of ended calls included: the answer to a BYE comes after the end."""
_Header = tuple[bytes, re.Pattern[bytes]]
"""As most write it, which is found in a tenth of the time, and as it may be written."""
_CALL_ID: _Header = (
    b"\r\nCall-ID: ",
    re.compile(rb"^(?:call-id|i)[ \t]*:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE),
)
_CSEQ: _Header = (b"\r\nCSeq: ", re.compile(rb"^cseq[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE))
_LONGEST = 200
"""Octets of a start line that are shown."""


class MessageLog:
    """Listens to the calls, so that a message's line has the gateway's call id beside the SIP Call-ID."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, str] = OrderedDict()

    def call_changed(self, call: Call) -> None:
        """Learn what SIP calls this call."""
        for references in call.record.references.values():
            for reference in references:
                self._calls[reference] = call.id
                self._calls.move_to_end(reference)
        while len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)

    def message(self, direction: Direction, data: bytes, flow: Flow, time: float) -> None:
        """Write the line of one message; nothing of it but its first line, CSeq and Call-ID."""
        head = _head(data)
        sip_call_id = _first(_CALL_ID, head)
        log.debug(
            "sip message",
            direction=direction.value,
            flow=str(flow),
            start=head.partition(b"\r\n")[0][:_LONGEST].decode("utf-8", "replace"),
            cseq=_first(_CSEQ, head),
            sip_call_id=sip_call_id,
            call_id=self._calls.get(sip_call_id) if sip_call_id is not None else None,
        )


def names_of(data: bytes) -> tuple[str | None, str | None]:
    """Method and Call-ID of a message, read off its octets; None where there is none, or the message is broken.

    The method of a response is that of its request.
    """
    data = data.lstrip(b"\r\n")
    cseq = _first(_CSEQ, data)
    return None if cseq is None else cseq.rpartition(" ")[2], _first(_CALL_ID, data)


def _head(data: bytes) -> bytes:
    return data.lstrip(b"\r\n").partition(b"\r\n\r\n")[0]


def _first(header: _Header, data: bytes) -> str | None:
    """What the first such header of a message says, whose body need not be taken off."""
    usual, pattern = header
    start = data.find(usual)
    if start < 0 or data.find(b"\r\n\r\n", 0, start + 2) >= 0:
        found = pattern.search(_head(data))
        return None if found is None else found[1].decode("utf-8", "replace")
    start += len(usual)
    end = data.find(b"\r\n", start)
    return data[start : end if end >= 0 else None].strip().decode("utf-8", "replace")
