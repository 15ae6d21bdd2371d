"""Responses to unproven addresses, never longer than the request.

A forger of source addresses must gain no amplification: the response takes the first of several ever shorter forms that
fits the request's size, or is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sip.errors import SipSyntaxError
from gateway.sip.message.addresses import NameAddr, Via
from gateway.sip.message.fields import Headers, Item
from gateway.sip.message.grammar import quote
from gateway.sip.message.message import Response
from gateway.sip.message.values import AuthValue

_WAY = {"via": "v", "from": "f", "to": "t", "call-id": "i", "cseq": "CSeq"}
_CHALLENGES = {"www-authenticate": "WWW-Authenticate", "proxy-authenticate": "Proxy-Authenticate"}
_NEEDED = {
    **_WAY,
    **_CHALLENGES,
    "unsupported": "Unsupported",
    "retry-after": "Retry-After",
    "min-expires": "Min-Expires",
    "contact": "m",
}
_TELLING = {**_NEEDED, "allow": "Allow", "accept": "Accept", "accept-encoding": "Accept-Encoding", "require": "Require"}
_SHORT_TAG = 8
"""Characters of the To tag in the shortest form; a rejection creates no dialog for the tag to protect."""


def fitting(response: Response, size: int) -> bytes | None:
    """Return the most informative form of `response` within `size` octets, None if none fits.

    Dropped in order: body and informational fields; Allow and Accept; all challenges but the last, known to every
    phone; then phrase, Content-Length, redundant `received` and challenge defaults (RFC 7616 3.3, RFC 3261 20.7);
    Contact.
    """
    return next((data for data in _shapes(response) if len(data) <= size), None)


def _shapes(response: Response) -> Iterator[bytes]:
    yield response.write()
    yield _write(response, _only(response, _TELLING))
    items = _only(response, _NEEDED)
    yield _write(response, items)
    challenges = [item for item in items if item[0] in _CHALLENGES]
    for item in challenges[:-1]:
        items.remove(item)
        yield _write(response, items)
    yield _bare(response, items, with_qop=True)
    yield _bare(response, items)
    yield _bare(response, items, colon=":")
    yield _bare(response, [item for item in items if item[0] != "contact"], colon=":")


def _only(response: Response, names: dict[str, str]) -> list[Item]:
    return [(key, names[key], value) for key, _, value in response.headers.items if key in names]


def _write(response: Response, items: list[Item]) -> bytes:
    return Response(response.status, response.phrase, Headers.from_items(items)).write()


def _bare(response: Response, items: list[Item], *, with_qop: bool = False, colon: str = ": ") -> bytes:
    """Write without phrase and Content-Length, which a datagram does not need (RFC 3261 7.2, 18.3)."""
    lines = [f"SIP/2.0 {response.status} "]
    for key, name, value in items:
        if key == "via":
            value = _without_received(value)
        elif key == "to":
            value = _with_short_tag(value)
        elif key in _CHALLENGES:
            value = _bare_challenge(value, with_qop=with_qop)
        lines.append(f"{name}{colon}{value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _without_received(value: str) -> str:
    via, end = Via.read(value, 0)
    if via.received is None or via.received != via.host.strip("[]"):
        return value
    kept = Via(via.transport, via.host, via.port, tuple(p for p in via.params if p[0].lower() != "received"))
    return f"{kept}{value[end:]}"


def _with_short_tag(value: str) -> str:
    try:
        tag = NameAddr.parse(value).tag
    except SipSyntaxError:
        return value
    mark = f";tag={tag}"
    return value[: -len(mark)] + mark[: len(";tag=") + _SHORT_TAG] if tag and value.endswith(mark) else value


def _bare_challenge(value: str, *, with_qop: bool) -> str:
    challenge = AuthValue.parse(value)
    if challenge.scheme.lower() != "digest":
        return value
    parts = [f"{name}={quote(challenge.get(name) or '')}" for name in ("realm", "nonce")]
    if challenge.get("stale") is not None:
        parts.append("stale=true")
    algorithm = challenge.get("algorithm") or "MD5"
    if algorithm.upper() != "MD5":
        parts.append(f"algorithm={algorithm}")
    if with_qop and challenge.get("qop"):
        parts.append('qop="auth"')
    return f"Digest {','.join(parts)}"
