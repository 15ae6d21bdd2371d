"""`gateway reload`, `calls`, `trace` and `bans`: what the running gateway says over /api, for its operator."""

from __future__ import annotations

import json
import ssl
import textwrap
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.errors import GatewayError
from gateway.web.console import ConsoleAccess, read

_PATIENCE = 10.0
"""Seconds that the gateway may take to answer."""
_RELOADED = 40.0
"""Seconds that a reload may take: its file, each certificate that is new and each that is read again have five."""
_LANE = 30
"""Characters between two lines of the ladder."""
_CLOCK = 12
_WORDS = 90
"""Characters of a line of a far end's words."""
_ANSWER = "SIP/2.0 "
_WIDE = 1_000
"""Columns of a table that no terminal cuts."""


class ConsoleError(GatewayError):
    """The running gateway cannot be asked, or refuses."""


class Operator:
    """Asks the gateway that runs on a state folder."""

    def __init__(self, state_dir: Path) -> None:
        """Raises ConsoleError where none runs there."""
        access = read(state_dir)
        if access is None:
            raise ConsoleError(f"no gateway runs on {state_dir} (state_dir): start it by `gateway run`")
        self._access: ConsoleAccess = access

    def ask(self, path: str, method: str = "GET", patience: float = _PATIENCE) -> Any:
        """What /api says, None where it says nothing; raises ConsoleError with its own words, or after `patience` s."""
        body = b"{}" if method == "POST" else None
        request = urllib.request.Request(f"{self._access.url}{path}", body, method=method)
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self._access.token}")
        # Our own machine: its certificate names the domain, not this address.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=patience, context=context) as answer:
                told = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ConsoleError(_reason(error)) from None
        except OSError as error:
            raise ConsoleError(f"the gateway at {self._access.url} does not answer: {error}") from None
        return json.loads(told) if told else None


def is_answering(state_dir: Path) -> bool:
    """Whether a gateway runs on a state folder."""
    try:
        return "active_calls" in Operator(state_dir).ask("/healthz")
    except (ConsoleError, TypeError, ValueError):
        return False


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answers {error.code}"


def reload_configuration(operator: Operator, output: Console) -> bool:
    """Have the configuration read again, and say what became of it; False: a certificate could not be read again."""
    found = operator.ask("/api/reload", "POST", _RELOADED)
    for key in found["applied"]:
        output.print(f"{escape(key)}: applied")
    for key in found["waiting"]:
        output.print(f"[yellow]{escape(key)}: takes a restart[/]")
    for sentence in found["certificates"]:
        output.print(f"[yellow]{escape(sentence)}[/]", soft_wrap=True)
    if not found["applied"] and not found["waiting"] and not found["certificates"]:
        output.print("Nothing has changed; the certificates were read again.")
    return not found["certificates"]


def show_calls(operator: Operator, output: Console) -> None:
    """Every call now."""
    calls = operator.ask("/api/calls")["calls"]
    if not calls:
        output.print("No calls.")
        return
    table = _table("call", "state", "for", "caller", "dialled", "with")
    for call in calls:
        parties = ", ".join(party for party in call["parties"] if party != call["caller"])
        row = (call["id"], call["state"], _duration(call["seconds"]), call["caller"], call["dialled"], parties)
        table.add_row(*(escape(_plain(cell)) for cell in row))
    _print(output, table)


def _table(key: str, *others: str) -> Table:
    """A table whose first column, which other commands are given, is never cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(key, no_wrap=True, overflow="ignore")
    for name in others:
        table.add_column(name)
    return table


def _print(output: Console, table: Table) -> None:
    """Whole where it goes into a pipe, else as wide as the terminal."""
    key = table.columns[0]
    key.min_width = max(len(str(cell)) for cell in key.cells)
    if not output.is_terminal:
        output.width = _WIDE
    output.print(table)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def show_trace(operator: Operator, output: Console, call: str, *, whole: bool) -> None:
    """The messages of a call that `call` begins the id of, as a ladder; `whole`: with their text."""
    found = [one["id"] for one in operator.ask("/api/calls")["calls"] if one["id"].startswith(call)]
    if len(found) > 1:
        raise ConsoleError(f"{call} begins the ids of {len(found)} calls: {', '.join(found)}")
    name = urllib.parse.quote(found[0] if found else call, safe="")
    details = operator.ask(f"/api/calls/{name}")
    output.print(
        f"[bold]{escape(details['id'])}[/]  {escape(_plain(details['caller']))} dialled "
        f"{escape(_plain(details['dialled']))}, "
        f"{escape(details['state'])} for {_duration(details['seconds'])}",
        soft_wrap=True,
    )
    for line in ladder(details["messages"], whole=whole):
        output.print(line, markup=False, soft_wrap=True)
    for side in details["media"]:
        output.print(escape(_plain(_quality(side))), soft_wrap=True)


def _quality(side: dict[str, Any]) -> str:
    parts = []
    for way in ("received", "sent"):
        stream = side[way]
        mos = "" if stream["mos"] is None else f", MOS {stream['mos']:.1f}"
        codec = stream["codec"] or "no codec"
        parts.append(f"{way} {stream['packets']} packets of {codec}, {stream['lost']} lost{mos}")
    return f"{side['party']}: {'; '.join(parts)}"


def ladder(messages: Sequence[dict[str, Any]], *, whole: bool = False) -> list[str]:
    """One line a message, an arrow between the gateway and the peer; each peer has a lane in order of appearance.

    The first peer stands left of the gateway, all others right of it.
    """
    if not messages:
        return ["No messages are kept of this call (limits.ladder_memory)."]
    peers = list(dict.fromkeys(message["peer"] for message in messages))
    lanes = [peers[0], "gateway", *peers[1:]]
    lines = [" " * _CLOCK + "".join(f"{name[: _LANE - 1]:<{_LANE}}" for name in lanes).rstrip()]
    for message in messages:
        peer, own = lanes.index(message["peer"]), 1
        start, end = (peer, own) if message["direction"] == "in" else (own, peer)
        at = datetime.fromtimestamp(message["at"]).strftime("%H:%M:%S.%f")[:-4]
        title = _plain(message["title"])
        lines += [f"{at:<{_CLOCK}}{_arrow(start, end, len(lanes), title)}", *_words(title)]
        if whole:
            lines += [" " * _CLOCK + "  " + _plain(line) for line in message["text"].splitlines()] + [""]
    return lines


def _arrow(start: int, end: int, lanes: int, title: str) -> str:
    left, right = sorted((start, end))
    row = list("|".ljust(_LANE) * lanes)
    room = (right - left) * _LANE - 1
    shown = title if len(title) <= room - 6 else title[: room - 9] + "..."
    shaft = f" {shown} ".center(room - 1, "-")
    row[left * _LANE + 1 : right * _LANE] = f"{shaft}>" if start < end else f"<{shaft}"
    return "".join(row).rstrip()


def _words(title: str) -> list[str]:
    """Return the lines with the whole status line of an answer, which its arrow may have cut."""
    if len(title) <= _LANE - 7 or not title.startswith(_ANSWER):
        return []
    return [" " * _CLOCK + "  " + line for line in textwrap.wrap(title.removeprefix(_ANSWER), _WORDS)]


def _plain(text: str) -> str:
    """What a stranger wrote moves no cursor and colours nothing."""
    return "".join(char if char.isprintable() else "?" for char in text)


def show_bans(operator: Operator, output: Console, lift: str | None) -> None:
    """SIP sources that get no answer; `lift`: answer that one again."""
    if lift is not None:
        operator.ask(f"/api/bans/{urllib.parse.quote(lift, safe='')}", "DELETE")
        output.print(f"{escape(lift)} is answered again.")
        return
    bans = operator.ask("/api/bans")["bans"]
    if not bans:
        output.print("Nobody is banned.")
        return
    table = _table("address", "since", "until", "silenced", "why")
    for ban in bans:
        since, until = (datetime.fromtimestamp(ban[key]).strftime("%H:%M:%S") for key in ("since", "until"))
        table.add_row(escape(ban["address"]), since, until, str(ban["silenced"]), escape(_plain(ban["reason"])))
    _print(output, table)
