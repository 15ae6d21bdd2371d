"""Rules across sections of a configuration, and allowed values that deserve a warning."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

from gateway.config.conference import RoomConfig
from gateway.config.settings import Config
from gateway.config.strength import ADVICE, weakness
from gateway.config.values import HostPort
from gateway.errors import ConfigError


def checked(config: Config) -> Config:
    """Return the configuration if valid; raise the first ConfigError."""
    for mistake in mistakes(config):
        raise mistake from None
    return config


def mistakes(config: Config) -> Iterator[ConfigError]:
    """Yield every violated rule."""
    return chain(
        _names(config),
        _routes(config),
        _rooms(config),
        _short_pins(config),
        _accounts(config),
        _sockets(config),
        _cluster(config),
        _recording(config),
        _identity(config),
        _weak_secrets(config),
    )


@dataclass(frozen=True, slots=True)
class Notice:
    """Allowed value that deserves a warning at the start."""

    key: str
    text: str

    def __str__(self) -> str:
        return self.text


def notices(config: Config) -> Iterator[Notice]:
    """Yield a warning for each allowed value that deserves one at the start."""
    key = "emergency.numbers"
    if not config.emergency.numbers:
        yield Notice(key, f"No emergency number is set ({key}): nobody can call for help through this gateway.")
    elif config.emergency_trunk is None:
        lost = [number for number in config.emergency.numbers if not _leads_somewhere(config, number)]
        if lost:
            yield Notice(key, f"No way leads to {', '.join(lost)} ({key}): name the trunk in emergency.trunk.")
    for index, trunk in enumerate(config.trunks):
        if trunk.password is not None:
            why = weakness(trunk.password.get_secret_value(), (trunk.username or "", trunk.name))
            if why is not None:
                text = f"The password of trunk {trunk.name} {why} (trunks): ask its operator for another one."
                yield Notice(f"trunks.{index}.password", text)


def _leads_somewhere(config: Config, number: str) -> bool:
    return any(fnmatchcase(number, route.match) for route in config.routes) or any(
        number in (user.id, *user.aliases) for user in config.users
    )


def _absent(kind: str, name: str, known: Collection[str]) -> str:
    """Return the sentence for an unknown name, with the most similar known name."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"there is no {kind} {name!r} in {kind}s" + (f", did you mean {close[0]!r}?" if close else "")


def _names(config: Config) -> Iterator[ConfigError]:
    yield from _unique("users", "id", [user.id for user in config.users])
    yield from _unique("trunks", "name", [trunk.name for trunk in config.trunks])
    yield from _unique("agents", "name", [agent.name for agent in config.agents])
    yield from _unique("groups", "name", [group.name for group in config.groups])
    yield from _unique("rooms", "name", [room.name for room in config.rooms])


def _unique(section: str, key: str, names: list[str]) -> Iterator[ConfigError]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield ConfigError(f"{section}.{index}.{key}", f"{name!r} is there twice")
        seen.add(name)


def _routes(config: Config) -> Iterator[ConfigError]:
    """Check that routes, groups and the emergency trunk name existing entries."""
    users, trunks = {user.id for user in config.users}, {trunk.name for trunk in config.trunks}
    groups, agents = {group.name for group in config.groups}, {agent.name for agent in config.agents}
    by_kind = {"trunk": trunks, "user": users, "group": groups, "agent": agents}
    for index, route in enumerate(config.routes):
        kind, _, target = route.to.partition(":")
        known = by_kind.get(kind)
        if known is not None and "{" not in target and target not in known:
            yield ConfigError(f"routes.{index}.to", _absent(kind, target, known))
    for index, group in enumerate(config.groups):
        for member in group.members:
            if member not in users:
                yield ConfigError(f"groups.{index}.members", _absent("user", member, users))
    if config.emergency.trunk is not None and config.emergency.trunk not in trunks:
        yield ConfigError("emergency.trunk", _absent("trunk", config.emergency.trunk, trunks))


def _rooms(config: Config) -> Iterator[ConfigError]:
    users = {user.id for user in config.users}
    for index, one in enumerate(config.voicemail.users):
        if one != "*" and one not in users:
            yield ConfigError(f"voicemail.users.{index}", _absent("user", one, users))
    known = users | {f"trunk:{trunk.name}" for trunk in config.trunks}
    for index, room in enumerate(config.rooms):
        for key, named, there in (("members", room.members, known), ("moderators", room.moderators, users | {"*"})):
            for one in named:
                if one not in there:
                    yield ConfigError(f"rooms.{index}.{key}", _absent("user", one, there))


ENOUGH_DIGITS = 6
"""Digits of a PIN that strangers may try, by telephone."""


def _short_pins(config: Config) -> Iterator[ConfigError]:
    """A PIN that strangers reach is long; where users alone come in, the operator decides."""
    for index, room in enumerate(config.rooms):
        by = _strangers_at(config, room)
        if by and room.pin is not None and len(room.pin.get_secret_value()) < ENOUGH_DIGITS:
            why = f"has fewer than {ENOUGH_DIGITS} digits, and {by} can try it: give it more, or name users in members"
            yield ConfigError(f"rooms.{index}.pin", why)


def _strangers_at(config: Config, room: RoomConfig) -> str:
    """Return the strangers who may dial a room; "" for none."""
    ways = _ways_to(config, room)
    trunks = [trunk.name for trunk in config.trunks if not room.members or f"trunk:{trunk.name}" in room.members]
    if ways and trunks:
        return f"callers of trunk {trunks[0]}"
    return "guests" if config.web.guests_welcome and not room.members and _guests_dial(config, ways) else ""


def _ways_to(config: Config, room: RoomConfig) -> list[str]:
    return [route.match for route in config.routes if route.to in (f"room:{room.name}", "room:{user}")]


def _guests_dial(config: Config, ways: list[str]) -> bool:
    return any(fnmatchcase(way, pattern) for way in ways for pattern in config.web.guests_may_call)


def _accounts(config: Config) -> Iterator[ConfigError]:
    """Check that accounts name only listed registrars."""
    names = [trunk.name for trunk in config.trunks]
    for index, listed in enumerate(config.accounts.registrars):
        if ":" not in listed and listed not in names:
            yield ConfigError(f"accounts.registrars.{index}", _absent("trunk", listed, names))
    if len(set(names)) == len(names):
        yield from _unique("trunks", "name", [trunk.name for trunk in config.every_trunk])
    for index, user in enumerate(config.users):
        if user.account is not None and config.registrar(user.account.registrar) is None:
            reason = f"{user.account.registrar!r} is not in accounts.registrars"
            yield ConfigError(f"users.{index}.account.registrar", reason)


def _sockets(config: Config) -> Iterator[ConfigError]:
    """Check that no two of our sockets need the same port."""
    taken: list[tuple[str, HostPort, str]] = []
    for index, listen in enumerate(config.sip.listen):
        if listen.transport in ("tls", "wss") and config.sip.tls.cert is None:
            yield ConfigError(f"sip.listen.{index}", f"{listen.transport} needs sip.tls.cert and sip.tls.key")
        protocol = "udp" if listen.transport == "udp" else "tcp"
        taken.append((f"sip.listen.{index}", HostPort(listen.host, listen.port), protocol))
    taken += [(key, address, "tcp") for key, address in config.web.listeners]
    taken.append(("webrtc.listen", config.webrtc.listen, "udp"))
    for index, (key, address, protocol) in enumerate(taken):
        for other, theirs, their_protocol in taken[:index]:
            if protocol == their_protocol and address.port == theirs.port and _overlap(address.host, theirs.host):
                yield ConfigError(key, f"port {address.port} is already taken by {other}")
        hosts = config.rtp.listen if protocol == "udp" and address.port in config.rtp.ports else ()
        if any(_overlap(address.host, host) for host in hosts):
            yield ConfigError(key, f"port {address.port} lies within rtp.ports {config.rtp.ports}")


def _overlap(one: str, other: str) -> bool:
    """Return True if both addresses compete for one port; sockets of two IP versions never do (IPV6_V6ONLY)."""
    if (":" in one) is not (":" in other):
        return False
    wildcards = ("0.0.0.0", "::")
    return one == other or one in wildcards or other in wildcards


def _cluster(config: Config) -> Iterator[ConfigError]:
    """Check that gateways of a cluster have a common key and a shared store."""
    cluster = config.cluster
    if (cluster.node is None) != (cluster.key is None):
        yield ConfigError("cluster", "node and key are set together, or neither")
    if cluster.node is None and cluster.journal is not None:
        yield ConfigError("cluster.journal", "is of a gateway with others (cluster.node)")
    if cluster.mutual_tls:
        yield from _nodes_by_tls(config)
    if cluster.node is not None and config.identity.store == "memory":
        yield ConfigError("cluster.node", 'needs a store that the gateways share, not "memory" (identity.store)')


def _nodes_by_tls(config: Config) -> Iterator[ConfigError]:
    node, tls = config.cluster.node or "", config.sip.tls
    if not node.startswith("sips:") and ";transport=tls" not in node:
        yield ConfigError("cluster.mutual_tls", 'is for a node that is reached by TLS (";transport=tls")')
    if tls.cert is None or tls.ca is None or tls.client_certificates == "off":
        yield ConfigError("cluster.mutual_tls", "needs sip.tls.cert, sip.tls.ca and sip.tls.client_certificates")


def _recording(config: Config) -> Iterator[ConfigError]:
    """Report settings unsupported by rtpengine at the start, as later only the log would show a missing recording."""
    if not config.media.rtpengines:
        return
    if config.recording.calls and not config.media.rtpengine_records:
        yield ConfigError("recording.calls", "are recorded by an rtpengine that may (media.rtpengine_records)")
    if config.media.rtpengine_records and config.recording.beep:
        yield ConfigError("media.rtpengine_records", "wants recording.beep: false, since it says no tone")
    if config.recording.digits:
        yield ConfigError("recording.digits", "cannot be where rtpengine carries the media: it tells of no digits")


def _identity(config: Config) -> Iterator[ConfigError]:
    try:
        config.identity_map()
    except ConfigError as error:
        yield error


def _weak_secrets(config: Config) -> Iterator[ConfigError]:
    """Yield easily guessed secrets that are reachable from other machines."""
    yield from _weak_passwords(config)
    by_page = not config.web.only_here
    for index, agent in enumerate(config.agents):
        if agent.url is None and agent.token is not None and by_page:
            yield from _weak(f"agents.{index}.token", agent.token.get_secret_value(), (agent.name, config.domain))
    if config.webrtc.turn_secret is not None and by_page:
        yield from _weak("webrtc.turn_secret", config.webrtc.turn_secret.get_secret_value(), (config.domain,))
    if config.cluster.key is not None and (config.sip_reachable or by_page):
        yield from _weak("cluster.key", config.cluster.key.get_secret_value(), (config.domain,))


def _weak_passwords(config: Config) -> Iterator[ConfigError]:
    by_page = not config.web.only_here
    for index, user in enumerate(config.users):
        by_sip = user.sip and (config.sip_reachable or by_page)
        if user.chosen_password is not None and (by_sip or (user.web and by_page)):
            names = (user.id, user.display_name, *user.display_name.split(), *user.aliases, config.domain)
            yield from _weak(f"users.{index}.password", user.chosen_password, names)


def _weak(key: str, secret: str, names: tuple[str, ...]) -> Iterator[ConfigError]:
    why = weakness(secret, names)
    if why is not None:
        yield ConfigError(key, f"{why}, and others than this machine reach it: {ADVICE}")
