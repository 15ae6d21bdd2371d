"""Who a caller is said to be, and who may be told (RFC 3323, RFC 3325, RFC 5806)."""

from __future__ import annotations

from gateway.call.leg import Address, Diversion
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request
from gateway.sip.message.uri import Uri

ANONYMOUS = "sip:anonymous@anonymous.invalid"
_HIDING = frozenset(("id", "user", "header"))
"""Values of Privacy that keep the caller's name from who is called."""
_DIVERSIONS = 8
_REASONS = frozenset(("unconditional", "user-busy", "no-answer", "unavailable", "do-not-disturb"))
_VALUES = 8


def wants_privacy(request: Request) -> bool:
    """Whether the caller asks not to be named."""
    values = ";".join(request.headers.all("Privacy")[:_VALUES]).lower().replace(",", ";").split(";")
    return not _HIDING.isdisjoint(value.strip() for value in values)


def hidden(address: Address) -> Address:
    """The address as who is called sees it where it is to be kept from them."""
    return Address(ANONYMOUS, "Anonymous", asserted=address.uri)


def of_trunk(request: Request, place: tuple[str, int | None]) -> Address:
    """Who calls through a trunk whose numbers belong to `place`: whom it asserts, else what From says.

    In the trunk's own number plan: calling back leads there, and no number of it passes for a user of ours.
    """
    asserted = request.asserted_identity
    said = asserted[0] if asserted else request.from_
    user = _number(said.uri) or "anonymous"
    address = Address(str(Uri.of(user, *place)), said.display_name or user, diversions=_diversions(request))
    return hidden(address) if wants_privacy(request) else address


def _number(uri: Uri) -> str:
    return uri.user or (uri.opaque.partition(";")[0] if uri.scheme == "tel" else "")


def _diversions(request: Request) -> tuple[Diversion, ...]:
    """How the trunk says the call came here, the latest first; reasons that nobody knows are no-one's words."""
    return tuple([_diversion(one) for one in request.diversion[:_DIVERSIONS]])


def _diversion(said: NameAddr) -> Diversion:
    reason = (said.param("reason") or "").lower()
    return Diversion(str(said.uri.without_headers()), reason if reason in _REASONS else "unknown")
