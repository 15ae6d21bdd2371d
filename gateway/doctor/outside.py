"""A look from outside, since no machine sees a firewall before it: by another gateway, or by a STUN server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from gateway.app.settings import reachable
from gateway.config import Config
from gateway.config.values import ip_version, is_loopback
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.network import seen_by
from gateway.errors import ConfigError
from gateway.probe import ECHO

_SUBJECT = "from outside"
_PATIENCE = 15.0
_MAX_ANSWER = 65_536
_OPEN = "Open it in this machine's firewall and its provider's, and have a router in between pass it on to here."
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Outside:
    """The observer that an operator names."""

    url: str
    """Of another gateway's page, or of a STUN server."""
    user: str = ""
    """An operator there."""
    password: str = ""

    @property
    def is_stun(self) -> bool:
        """True for a STUN server, which sees the address alone."""
        return self.url.startswith(("stun:", "stuns:"))


@dataclass(frozen=True, slots=True)
class _Place:
    """A port that peers outside are to reach."""

    key: str
    kind: str
    host: str
    port: int
    name: str
    """As a firewall's rule has it."""


def by_url(url: str, password: str | None = None) -> Outside:
    """Parse the URL of an observer; raises ConfigError for any other."""
    if url.startswith(("stun:", "stuns:")):
        return Outside(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username:
        raise ConfigError("--from", f"{url!r} is not written as https://OPERATOR@HOST or stun:HOST:PORT")
    place = parts.netloc.rpartition("@")[2]
    return Outside(f"{parts.scheme}://{place}{parts.path}", unquote(parts.username), password or parts.password or "")


class OutsideError(Exception):
    """The observer gives no answer; the text says why."""


async def outside(config: Config, by: Outside | None, *, runs: bool) -> Iterator[Finding]:
    """Report the view of `by`, or without one how to get it; `runs`: a gateway runs on `config`."""
    places = [one for one in _places(config, runs=runs) if not is_loopback(one.host)]
    if by is None:
        return iter([_unseen()] if places else [])
    if by.is_stun:
        seen = await seen_by(by.url, config, _SUBJECT)
        return iter([seen if isinstance(seen, Finding) else _judged(config, seen, by.url), _unseen()])
    looks = [await _by_gateway(config, by, some, version) for version, some in _by_version(places).items()]
    held = [_held(config)] if runs and not is_loopback(config.webrtc.listen.host) else []
    return iter([*chain.from_iterable(looks), *held])


def _by_version(places: list[_Place]) -> dict[int, list[_Place]]:
    """Group the places by IP version; without any, IPv4 has none."""
    versions = sorted({ip_version(one.host) for one in places} or {4})
    return {version: [one for one in places if ip_version(one.host) == version] for version in versions}


def _unseen() -> Finding:
    return notice(
        "firewall",
        "Whether a firewall lets peers through cannot be seen from inside.",
        "`gateway doctor --from https://OPERATOR@gateway.example.com` has another gateway try the ports;"
        " `--from stun:stun.example.com:3478` says the address that the world sees.",
    )


def _held(config: Config) -> Finding:
    return notice(
        _SUBJECT,
        f"UDP {config.webrtc.listen.port} (webrtc.listen) was not tried: the gateway that runs has it, and answers"
        " there to nothing but the ICE checks of a call, so that nobody uses it against others.",
        "Call 600 from a page outside: when you hear yourself, the port is open. Or stop the gateway for a moment, and"
        " ask again: then the doctor listens there itself.",
    )


def _places(config: Config, *, runs: bool) -> Iterator[_Place]:
    """List the ports of a running gateway that answer, else every port, at which the doctor listens."""
    for index, one in enumerate(config.sip.listen):
        is_udp = one.transport == "udp"
        kind = ("sip" if runs else "echo") if is_udp else "tcp"
        yield _Place(f"sip.listen.{index}", kind, one.host, one.port, f"{'UDP' if is_udp else 'TCP'} {one.port} (SIP)")
    for key, address in config.web.listeners:
        yield _Place(key, "tcp", address.host, address.port, f"TCP {address.port} (page)")
    if not config.media.rtpengines:
        yield from _media_places(config, runs=runs)


def _media_places(config: Config, *, runs: bool) -> Iterator[_Place]:
    media = config.webrtc.listen
    if not runs:
        yield _Place("webrtc.listen", "echo", media.host, media.port, f"UDP {media.port} (browsers' media)")
    if config.webrtc.tcp:
        yield _Place("webrtc.tcp", "tcp", media.host, media.port, f"TCP {media.port} (browsers' media)")
    for host in config.rtp.listen:
        port = _free_of(config, host)
        if port is not None:
            yield _Place("rtp.ports", "echo", host, port, f"UDP {port}, of {config.rtp.ports} (phones' media)")


def _free_of(config: Config, host: str) -> int | None:
    """A port of phones' media that no call has now."""
    for port in range(config.rtp.ports.last, config.rtp.ports.first - 1, -1):
        with contextlib.suppress(OSError), _socket(host, socket.SOCK_DGRAM) as probe:
            probe.bind((host, port))
            return port
    return None


def _socket(host: str, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(_FAMILIES[ip_version(host)], kind)
    made.setblocking(False)
    if ip_version(host) == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


async def _by_gateway(config: Config, by: Outside, places: list[_Place], version: int) -> list[Finding]:
    async with contextlib.AsyncExitStack() as stack:
        for one in places:
            with contextlib.suppress(OSError):  # what answers there has it already
                await _listen(stack, one)
        try:
            async with asyncio.timeout(_PATIENCE):
                address, answers = await _ask(by, places, version)
        except TimeoutError:
            return [_mute(by, "it does not answer")]
        except (OSError, OutsideError) as error:
            return [_mute(by, str(error))]
    seen = [] if not places else [_judged(config, address, by.url)]
    return [*seen, *(_of(one, address, said) for one, said in zip(places, answers, strict=True))]


def _mute(by: Outside, why: str) -> Finding:
    return wrong(
        _SUBJECT,
        f"{_place_of(by)} cannot look: {why}.",
        "Name the page of a gateway, with an operator's id and password.",
    )


def _place_of(by: Outside) -> str:
    return urlsplit(by.url).hostname or by.url


class _Echo(asyncio.DatagramProtocol):
    """Sends back what a doctor's probe sends, and nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(ECHO):
            self._transport.sendto(data, addr)


async def _listen(stack: contextlib.AsyncExitStack, place: _Place) -> None:
    """Be there to be reached, where nothing else is."""
    loop = asyncio.get_running_loop()
    if place.kind == "tcp":
        listener = _socket(place.host, socket.SOCK_STREAM)
        stack.callback(listener.close)
        listener.bind((place.host, place.port))
        listener.listen(8)
    elif place.kind == "echo":
        listener = _socket(place.host, socket.SOCK_DGRAM)
        stack.callback(listener.close)
        listener.bind((place.host, place.port))
        transport, _ = await loop.create_datagram_endpoint(_Echo, sock=listener)
        stack.callback(transport.close)


async def _ask(by: Outside, places: list[_Place], version: int) -> tuple[str, list[str | None]]:
    """The address at which the other gateway sees us, and what it says of each place. Raises OSError, OutsideError."""
    parts = urlsplit(by.url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        host,
        parts.port or (443 if is_tls else 80),
        family=_FAMILIES[version],
        ssl=ssl.create_default_context() if is_tls else None,
        server_hostname=host if is_tls else None,
    )
    try:
        writer.write(_request(by, places))
        answer = b""
        while len(answer) < _MAX_ANSWER and (more := await reader.read(_MAX_ANSWER)):
            answer += more
    finally:
        writer.transport.abort()
    return _read(answer, len(places))


def _request(by: Outside, places: list[_Place]) -> bytes:
    """Build the HTTP request, after which the other gateway closes the connection."""
    parts = urlsplit(by.url)
    body = json.dumps({"ports": [{"kind": one.kind, "port": one.port} for one in places]})
    given = base64.b64encode(f"{by.user}:{by.password}".encode()).decode()
    head = (
        f"POST {parts.path.rstrip('/')}/api/reach HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Authorization: Basic {given}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def _read(answer: bytes, count: int) -> tuple[str, list[str | None]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12].decode("ascii", "replace")
    if status != "200":
        why = {
            "401": "it does not know that operator and password",
            "403": "that user is no operator there",
            "409": "its proxy is not in web.proxies there, so that it cannot know who asks",
        }
        raise OutsideError(why.get(status, f"it answers {status or 'nothing'}"))
    try:
        found: Any = json.loads(body)
        address, answers = str(found["address"]), [None if one is None else str(one)[:100] for one in found["answers"]]
    except (ValueError, KeyError, TypeError):
        raise OutsideError("it answers what no gateway does") from None
    if len(answers) != count:
        raise OutsideError("it answers what no gateway does")
    return address, answers


def _judged(config: Config, seen: str, by: str) -> Finding:
    """The address that is seen, beside what peers are told."""
    told = {str(one.host) for one in config.webrtc.advertised} or {reachable(config.webrtc.listen.host).strip("[]")}
    host = urlsplit(by).hostname or by
    if seen in told:
        return good(_SUBJECT, f"{host} sees this machine as {seen}, and peers are told so.")
    return wrong(
        _SUBJECT,
        f"{host} sees this machine as {seen}, and browsers are told {', '.join(sorted(told))}.",
        f"Write {seen} into sip.advertised, webrtc.advertised and rtp.advertised, if peers are to come that way.",
    )


def _of(place: _Place, address: str, answer: str | None) -> Finding:
    if answer is not None:
        return good(_SUBJECT, f"{place.name} of {address} is reached from there.")
    return wrong(_SUBJECT, f"Nothing came back from {place.name} of {address} ({place.key}).", _OPEN)
