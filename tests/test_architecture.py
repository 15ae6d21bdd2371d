"""Who may import whom: the table of docs/architecture.md, walked over every import of the tree."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rows import by_row

ROOT = Path(__file__).parent.parent
STDLIB = frozenset(sys.stdlib_module_names)
NO_IO = frozenset({"asyncio", "socket", "ssl", "select", "selectors", "threading", "time", "random", "secrets"})


@dataclass(frozen=True)
class Room:
    """One folder or file, and what its imports may begin with."""

    path: str
    may: str
    """Packages, separated by spaces."""
    never: frozenset[str] = frozenset()
    """Prefixes, also of packages that `may` has a wider one of."""


BASE = (
    "gateway.errors gateway.files gateway.sources gateway.plain gateway.handshakes gateway.repeated gateway.uptime "
    "gateway.reading gateway.tasks structlog "
)
"""Files that know no room."""
LEGS = BASE + "gateway.legs gateway.call gateway.identity gateway.media.engine sdp "
"""Rooms that most of those above the legs may see."""

ROOMS = (
    Room("sdp", "sdp", NO_IO),
    Room("gateway/sip", "gateway.sip gateway.sources gateway.errors", NO_IO),
    Room(
        "gateway/net",
        "gateway.net gateway.sip gateway.sources gateway.errors gateway.plain gateway.handshakes gateway.reading "
        "cryptography dns structlog websockets",
    ),
    Room("gateway/media/engine", "gateway.media.engine sdp", NO_IO),
    Room("gateway/media/delivery.py", "gateway.media.engine"),
    Room("gateway/media/described.py", "gateway.media.engine sdp", NO_IO),
    Room(
        "gateway/media/embedded",
        "gateway.media.embedded gateway.media.engine gateway.media.delivery gateway.media.described gateway.sources "
        "sdp numpy structlog pylibsrtp av OpenSSL cryptography aiortc gateway.files",
    ),
    Room(
        "gateway/media/rtpengine",
        "gateway.media.rtpengine gateway.media.engine gateway.media.delivery gateway.media.described sdp structlog",
    ),
    Room("gateway/media/choice.py", "gateway.media gateway.errors"),
    Room("gateway/media/ice_servers.py", "gateway.media gateway.sources"),
    Room("gateway/errors.py", ""),
    Room("gateway/files.py", "structlog"),
    Room("gateway/plain.py", ""),
    Room("gateway/reading.py", ""),
    Room("gateway/repeated.py", "structlog"),
    Room("gateway/sources.py", ""),
    Room("gateway/tasks.py", ""),
    Room("gateway/uptime.py", ""),
    Room("gateway/handshakes.py", "gateway.sources"),
    Room("gateway/probe.py", ""),
    Room(
        "gateway/identity",
        "gateway.identity gateway.sources gateway.errors gateway.files confusable_homoglyphs pydantic structlog",
    ),
    Room(
        "gateway/call",
        "gateway.call gateway.media.engine gateway.identity.model gateway.identity.store gateway.sources "
        "gateway.errors gateway.plain sdp structlog",
    ),
    Room("gateway/legs/base.py", "gateway.call gateway.media.engine"),
    Room("gateway/legs/service.py", "gateway.legs.base gateway.call gateway.media.engine"),
    Room(
        "gateway/legs/application.py",
        "gateway.legs.base gateway.legs.sound gateway.legs.speech gateway.call gateway.media.engine gateway.errors",
    ),
    Room("gateway/legs/sound.py", "gateway.legs.speech gateway.media.engine numpy"),
    Room("gateway/legs/speech.py", "numpy"),
    Room("gateway/legs/tones.py", "gateway.legs.speech numpy"),
    Room("gateway/legs/web.py", "gateway.legs.base gateway.call gateway.media.engine gateway.web"),
    Room("gateway/legs/web_clients.py", "gateway.legs gateway.call"),
    Room(
        "gateway/legs/sip_caller.py",
        "gateway.legs.sip_bodies gateway.legs.sip_flows gateway.legs.sip_leg gateway.legs.sip_sessions "
        "gateway.call gateway.media.engine gateway.sip",
    ),
    Room(
        "gateway/legs/sip_callee.py",
        "gateway.legs.sip_answers gateway.legs.sip_bodies gateway.legs.sip_diversion gateway.legs.sip_flows "
        "gateway.legs.sip_leg gateway.legs.sip_sessions "
        "gateway.call gateway.media.engine gateway.sip structlog",
    ),
    Room(
        "gateway/legs/sip_leg.py",
        "gateway.legs.base gateway.legs.sip_bodies gateway.legs.sip_diversion gateway.legs.sip_info "
        "gateway.legs.sip_sessions gateway.call gateway.media.engine gateway.sip",
    ),
    Room("gateway/legs/sip_answers.py", "gateway.legs.sip_sessions gateway.call gateway.sip"),
    Room("gateway/legs/sip_sessions.py", "gateway.legs.sip_info gateway.call gateway.media.engine gateway.sip"),
    Room("gateway/legs/sip_diversion.py", "gateway.legs.sip_sessions gateway.call gateway.sip"),
    Room("gateway/legs/sip_flows.py", "gateway.legs.sip_sessions gateway.sip"),
    Room("gateway/legs/sip_info.py", "gateway.legs.sip_bodies gateway.call gateway.media.engine gateway.sip sdp"),
    Room(
        "gateway/conference",
        LEGS + "gateway.conference gateway.cluster numpy",
    ),
    Room(
        "gateway/agents",
        "gateway.agents gateway.legs.application gateway.legs.speech gateway.call gateway.errors"
        " numpy structlog websockets",
    ),
    Room(
        "gateway/people",
        "gateway.people gateway.legs gateway.call gateway.identity gateway.errors gateway.plain structlog",
        frozenset({"gateway.people.sip"}),
    ),
    Room("gateway/people/sip", LEGS + "gateway.people gateway.trunks gateway.sip"),
    Room("gateway/cluster", LEGS + "gateway.cluster gateway.people gateway.access gateway.net gateway.sip"),
    Room("gateway/trunks", LEGS + "gateway.trunks gateway.cluster gateway.net gateway.sip cryptography"),
    Room(
        "gateway/dialing",
        LEGS + "gateway.dialing gateway.trunks gateway.cluster gateway.access gateway.net gateway.sip",
    ),
    Room("gateway/voicemail", LEGS + "gateway.voicemail gateway.people"),
    Room("gateway/recording", BASE + "gateway.recording gateway.call gateway.media.engine"),
    Room(
        "gateway/failover",
        LEGS + "gateway.failover gateway.observe gateway.trunks gateway.cluster gateway.net gateway.sip",
    ),
    Room(
        "gateway/store",
        "gateway.store gateway.people gateway.errors gateway.files gateway.call.rules gateway.call.journal "
        "gateway.identity gateway.repeated structlog pydantic redis cryptography",
    ),
    Room(
        "gateway/access",
        "gateway.access gateway.sip gateway.identity gateway.sources gateway.errors structlog cryptography",
    ),
    Room(
        "gateway/observe",
        LEGS + "gateway.observe gateway.trunks gateway.net gateway.sip gateway.log opentelemetry prometheus_client",
    ),
    Room("gateway/client", "gateway.client aiortc av httpx"),
    Room("gateway/remotemedia", "gateway.remotemedia aiortc av numpy websockets"),
    Room(
        "gateway/web",
        "gateway.web gateway.call gateway.people gateway.identity.model gateway.identity.guesses "
        "gateway.identity.turns gateway.identity.lookalike gateway.identity.store gateway.plain gateway.sources "
        "gateway.errors gateway.files gateway.probe gateway.handshakes "
        "fastapi starlette uvicorn pydantic structlog websockets prometheus_client jwt http_ece cryptography",
    ),
)

LEFT = frozenset(Path(__file__).with_name("data").joinpath("left_imports.txt").read_text().splitlines())
"""Imports of files that went to the rooms of their duty, still to be mended: the list may only get shorter."""

ONE_FILE_EACH = {
    "aiortc": "sctp.py",
    "pylibsrtp": "srtp.py",
    "av": None,
    "OpenSSL": "dtls.py",
    "jwt": "tokens.py",
    "http_ece": "sender.py",
    "opentelemetry": "otlp.py",
}
"""Libraries of the embedded engine and the one file that knows each (None: any one file)."""

OTHERS_OF_CALL = ("gateway.call.call", "gateway.call.registry")
"""Front ends see the calls through the facade, not the machine itself."""


def modules_of(path: Path) -> Iterator[Path]:
    yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


@functools.cache
def imports_of(path: Path) -> tuple[str, ...]:
    """What one file imports; each is read once for all tests here."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found += [
                f"{node.module}.{name.name}" if is_module(node.module, name.name) else node.module
                for name in node.names
            ]
    return tuple(found)


@functools.cache
def is_module(package: str, name: str) -> bool:
    base = ROOT.joinpath(*package.split("."))
    return (base / f"{name}.py").exists() or (base / name / "__init__.py").exists()


def begins(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


@by_row("room", ROOMS, ids=lambda room: room.path)
def test_a_room_imports_only_what_the_table_lets_it(room: Room) -> None:
    """Arrows go down only, but for those of `LEFT`."""
    place = ROOT / room.path
    assert place.exists(), f"{room.path} is in the table but not in the tree"
    assert sorted(arrow for path in files_of(room) for arrow in broken(room, path) if arrow not in LEFT) == []


def test_imports_left_to_mend_only_fall() -> None:
    """An arrow that is mended leaves the list."""
    found = {arrow for room in ROOMS for path in files_of(room) for arrow in broken(room, path)}
    assert sorted(LEFT - found) == []


def files_of(room: Room) -> Iterator[Path]:
    """Yield the files of a room that are in none of the rooms within."""
    within = [ROOT / other.path for other in ROOMS if other.path.startswith(room.path + "/")]
    for path in modules_of(ROOT / room.path):
        if not any(path.is_relative_to(other) for other in within):
            yield path


def broken(room: Room, path: Path) -> Iterator[str]:
    """Yield each import of a file that its room may not have, as `LEFT` names it."""
    for module in imports_of(path):
        is_allowed = module.partition(".")[0] in STDLIB or any(begins(module, prefix) for prefix in room.may.split())
        if not is_allowed or any(begins(module, prefix) for prefix in room.never):
            yield f"{path.relative_to(ROOT)}: {module}"


def test_each_library_of_the_packet_path_is_known_to_one_file() -> None:
    """aiortc, aioice, pylibsrtp and PyAV can each be replaced by changing one file."""
    users: dict[str, set[str]] = {}
    for path in modules_of(ROOT / "gateway"):
        if path.name in DEMO_FILES or {"client", "remotemedia"} & set(path.parts):
            continue
        for module in imports_of(path):
            users.setdefault(module.partition(".")[0], set()).add(path.name)
    for library, owner in ONE_FILE_EACH.items():
        known_to = users.get(library, set())
        assert len(known_to) <= 1, f"{library} is imported by {sorted(known_to)}"
        assert owner is None or known_to <= {owner}, f"{library} belongs into {owner}"


DEMO_FILES = frozenset({"aiortc_browser.py"})
"""The demo's stand-in for a browser is an independent peer, so it uses aiortc as anybody would."""


def test_web_sees_calls_only_through_the_facade() -> None:
    """No front end touches the call machine or the registry."""
    for path in modules_of(ROOT / "gateway" / "web"):
        for module in imports_of(path):
            assert not any(begins(module, other) for other in OTHERS_OF_CALL), f"{path}: {module}"


def test_only_the_composition_root_knows_every_room() -> None:
    """No module but those of gateway/app and what starts it imports both a front end and an engine."""
    for path in modules_of(ROOT / "gateway"):
        if {"app", "commands", "demo"} & set(path.parts) or path.name == "cli.py":
            continue
        modules = {module for module in imports_of(path) if f"{path.relative_to(ROOT)}: {module}" not in LEFT}
        sides = {
            side
            for side in ("gateway.web", "gateway.net", "gateway.media.embedded", "gateway.media.rtpengine")
            if any(begins(module, side) for module in modules)
        }
        assert len(sides) <= 1, f"{path} knows {sorted(sides)}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Each file can be read with those below it alone; imports behind TYPE_CHECKING count as well."""
    assert circles(imports_between_files()) == []


def test_tests_share_by_modules_that_hold_no_tests() -> None:
    """What two test modules need stands in a third; importing one would run its tests' fixtures and order."""
    for path in modules_of(ROOT / "tests"):
        for module in imports_of(path):
            assert not module.rpartition(".")[2].startswith("test_"), f"{path} imports {module}"


def imports_between_files() -> dict[str, set[str]]:
    """Every file of the product as a module, and the files it imports."""
    paths = [path for place in ("sdp", "gateway") for path in modules_of(ROOT / place)]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {
        name: {
            target if target in modules else target.rpartition(".")[0]
            for target in imports_of(path)
            if target.partition(".")[0] in ("sdp", "gateway")
        }
        - {name}
        for name, path in modules.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that reach each other, found by peeling off what nobody or nothing of the rest imports."""
    rest = {name: {target for target in targets if target in graph} for name, targets in graph.items()}
    while loose := {name for name, targets in rest.items() if not targets & rest.keys()}:
        rest = {name: targets for name, targets in rest.items() if name not in loose}
    while loose := rest.keys() - set().union(*(targets & rest.keys() for targets in rest.values()), set()):
        rest = {name: targets for name, targets in rest.items() if name not in loose}
    return [sorted(rest)] if rest else []


@pytest.mark.wall
def test_each_room_that_knows_the_composition_root_can_be_imported_first() -> None:
    """The package of the root loads none of its files by itself."""
    files = sorted({arrow.partition(".py: ")[0] for arrow in LEFT if ".py: gateway.app" in arrow})
    assert files
    for module in (file.replace("/", ".") for file in files):
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=ROOT)


def test_circles_are_found() -> None:
    """The finder sees a circle among files that are not part of one."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []
