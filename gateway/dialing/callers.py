"""Who the far ends of calls are said to be, and who may be told (RFC 3323, RFC 3325, RFC 4916, RFC 8224)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

from gateway.access.gatekeeper import TRUNK
from gateway.access.nodes import NODE
from gateway.call.leg import Address, Verdict
from gateway.config.people import Trunk
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.sip_diversion import hidden, is_private, read_diversions, read_history
from gateway.legs.sip_sessions import Shown
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.message.uri import Uri

_HIDING = frozenset(("id", "user", "header"))
"""Values of Privacy that keep the caller's name from who is called."""
_SIGNATURES = 4
_SIGNATURE_LENGTH = 4_096
"""Identity fields that are passed on, and bytes of each."""
_VERDICTS: tuple[tuple[str, Verdict], ...] = (("tn-validation-passed", "passed"), ("tn-validation-failed", "failed"))


def wants_privacy(message: Message) -> bool:
    """Whether who sent it asks not to be named."""
    return is_private(message.headers.all("Privacy"), _HIDING)


def of_trunk(request: Request, trunk: Trunk) -> Address:
    """Who calls through a trunk: whom it asserts or prefers, else what From says.

    In the trunk's own number plan: calling back leads there, and no number of it passes for a user of ours.
    """
    address = _of_trunk(request, trunk)
    diversions, history = read_diversions(request), read_history(request)
    signed = _signature(request, _number(_said_by_trunk(request).uri))
    if not (diversions or history or signed):
        return address
    return replace(address, diversions=diversions, history=history, signed=signed)


def renamed_by_trunk(message: Message, trunk: Trunk) -> Address | None:
    """Who a trunk says is at its end now; a response says that by an assertion only."""
    if isinstance(message, Response) and not message.asserted_identity:
        return None
    return _of_trunk(message, trunk)


def _said_by_trunk(message: Message) -> NameAddr:
    said = message.asserted_identity or message.preferred_identity
    return said[0] if said else message.from_


def _of_trunk(message: Message, trunk: Trunk) -> Address:
    said = _said_by_trunk(message)
    user = _number(said.uri) or "anonymous"
    verified = _verdict(said.uri) if trunk.verstat else "none"
    address = Address(str(Uri.of(user, *trunk.place)), said.display_name or user, verified=verified)
    return hidden(address) if wants_privacy(message) else address


def _number(uri: Uri) -> str:
    """The number without the parameters that some write behind it (RFC 3966)."""
    if uri.scheme == "tel":
        return uri.user or uri.opaque.partition(";")[0]
    return (uri.user or "").partition(";")[0]


def _verdict(uri: Uri) -> Verdict:
    """What the trunk has found of that number's signature: its parameter `verstat` (3GPP TS 24.229)."""
    written = uri.param("verstat")
    for part in (uri.user or "").split(";")[1:] if written is None else ():
        name, _, value = part.partition("=")
        written = value if name.lower() == "verstat" else written
    said = (written or "").lower()
    return next((verdict for word, verdict in _VERDICTS if said.startswith(word)), "none")


def _signature(request: Request, number: str) -> tuple[tuple[str, str], ...]:
    """The Identity fields that are of that number, with the Date that a short one is signed by (RFC 8224 section 4).

    One that does not say which number it is of was made over From's.
    """
    written = [one for one in request.headers.all("Identity") if len(one) <= _SIGNATURE_LENGTH][:_SIGNATURES]
    said = _number(request.from_.uri)
    signatures = [one for one in written if (_signed_number(one) or said).lstrip("+") == number.lstrip("+")]
    if not signatures:
        return ()
    date = request.headers.get("Date")
    return (*(("Identity", one) for one in signatures), *((("Date", date),) if date is not None else ()))


def _signed_number(signature: str) -> str:
    """The caller's number in a full PASSporT, "orig":{"tn":...} (RFC 8225 section 5.2.1); "" where none can be read."""
    payload = signature.partition(";")[0].partition(".")[2].partition(".")[0].strip()
    try:
        number = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["orig"]["tn"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return number if isinstance(number, str) else ""


def shown_to(trunk: Trunk) -> Shown:
    """What a trunk is told of whom it talks with."""
    return Shown(is_trunk=True, asserts=trunk.assert_identity, prefers=trunk.prefer_identity)


class Names:
    """Who the far ends of calls are, by what they say and who they have proved to be."""

    def __init__(self, identity: IdentityMap, trunks: Mapping[str, Trunk]) -> None:
        """`trunks` may change; who calls by one that is gone says nothing of itself any more."""
        self._identity = identity
        self._trunks = trunks

    def of_user(self, user: User, request: Message) -> Address:
        """A user by its own name, under the one of its own numbers that it prefers (RFC 3325), hidden if it wishes."""
        uri = self._identity.sip_uri(user.id)
        said = request.from_.display_name
        for preferred in request.preferred_identity[:2]:
            plain = str(replace(preferred.uri, params=(), headers=(), password=None))
            if self._identity.find(plain) is user:
                uri, said = plain, preferred.display_name or said
                break
        address = Address(uri, user.display_name or said or user.id)
        return hidden(address) if wants_privacy(request) else address

    def renamed(self, message: Message, identity: str | None) -> Address | None:
        """Who that identity says it is in a call; None where that is nobody's business but its own."""
        if identity is not None and identity.startswith(TRUNK):
            trunk = self._trunks.get(identity.removeprefix(TRUNK))
            return None if trunk is None else renamed_by_trunk(message, trunk)
        if identity is not None and identity.startswith(NODE):
            said = message.asserted_identity
            return Address(str(said[0].uri), said[0].display_name) if said else None
        user = self._identity.by_id(identity) if identity is not None else None
        if user is None or isinstance(message, Response):
            return None
        return self.of_user(user, message)
