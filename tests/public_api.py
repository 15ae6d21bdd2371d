"""The packages that programs use, and their tables in docs/api.md, which `python -m tests.public_api` prints."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from types import FunctionType, ModuleType

PACKAGES = {
    "gateway": "a whole gateway in a program",
    "gateway.net": "a SIP user agent on sockets: phones, registrars, clients",
    "gateway.sip": "SIP without I/O: messages, digest, dialogs, registrations, where a request goes next",
    "gateway.sdp": "session descriptions: the package `sdp` ([sdp.md](sdp.md)) under the gateway's name",
    "gateway.client": "the HTTP API from Python, with sound (extra `client`; [http-api.md](http-api.md))",
    "gateway.remotemedia": "peers for audio, video, data and files, found by JSON-RPC ([json-rpc.md](json-rpc.md))",
    "gateway.web.rooms": "signalling between browsers for any FastAPI application ([http-api.md](http-api.md))",
    "gateway.testing": "for the tests of programs: time turned by hand, networks that lose, tones that are found",
    "gateway.testing.peers": "a real Chromium on the softphone page, to prove a program (extra `browser`)",
    "gateway.lesson": "how a program that teaches speaks and ends: checks, tables, ladders, PASS or FAIL",
    "gateway.log": "logs in which no secret and no stranger's escape sequence can appear",
}
"""What each is for."""

_NO_DOCSTRING = {
    "COOKIE": "What every branch begins with (RFC 3261 8.1.1.7).",
    "SessionHandler": "Called with each event of a session: `Callable[[SessionEvent], None]`.",
    "Verdict": "What `Hooks.authenticate` gives: `Accepted` or `Refused`.",
}
"""Values and aliases, which cannot say it themselves."""


def names(package: str) -> list[str]:
    """What a package lets programs use."""
    return sorted(import_module(package).__all__)


def sentence(package: str, name: str) -> str:
    """The first paragraph of a name's docstring, in one line."""
    if name in _NO_DOCSTRING:
        return _NO_DOCSTRING[name]
    text = inspect.getdoc(getattr(import_module(package), name)) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def undocumented(module: ModuleType) -> list[str]:
    """Public methods and properties ("Class.name") of its public classes without a docstring, not even a base's."""
    classes = [thing for name in module.__all__ if inspect.isclass(thing := getattr(module, name))]
    return [
        f"{each.__name__}.{name}"
        for each in classes
        for name, member in vars(each).items()
        if not name.startswith("_")
        and isinstance(member, (FunctionType, property, classmethod, staticmethod))
        and not inspect.getdoc(getattr(each, name))
    ]


def tables() -> str:
    """The Markdown of every package."""
    parts = []
    for package, what_for in PACKAGES.items():
        rows = [f"| `{name}` | {sentence(package, name)} |" for name in names(package)]
        head = f"### {package}\n\n{what_for[0].upper()}{what_for[1:]}.\n\n| name | |\n|---|---|"
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(tables())
