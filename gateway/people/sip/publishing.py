"""What users publish about people behind a trunk: sent on to the PBX that owns them (RFC 3903)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from gateway.call.routing import RouteError
from gateway.identity.model import User
from gateway.legs.sip_flows import PLACE_FAILED
from gateway.legs.sip_sessions import Destination
from gateway.people.sip.messages import Requester
from gateway.people.sip.relay import SubscriptionRelay
from gateway.sip.errors import SipError
from gateway.sip.invite.events import Reply
from gateway.sip.locate import forward_limit
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request, Response
from gateway.sip.message.uri import Uri

log = structlog.get_logger(__name__)

_PATIENCE = 8.0
"""Seconds that the PBX has to answer by one flow: the phone waits, and gives up after 32 s (RFC 4320)."""
_PATIENCE_IN_ALL = 24.0
"""Seconds that all flows to all its places have together."""
_PASSED_ON = frozenset((403, 404, 406, 410, 412, 413, 415, 423, 480, 489, 503, 603, 604))
"""Refusals of the PBX that say something to the phone; a challenge is between the PBX and us."""
_EXPLAINED = ("Accept", "Accept-Encoding", "Allow-Events", "Min-Expires", "Retry-After")
_RETRY_AFTER = 10
_CROSSED = (("Retry-After", "1"),)


@dataclass(slots=True)
class _Publication:
    """One that the PBX has of a user, or is asked for."""

    target: str
    """Request-URI that it was published at, as the phone has it."""
    etag: str | None
    """Its name at the PBX; None until that has answered."""
    place: str
    """Where the PBX has taken it."""
    expires_at: float
    """Seconds of the clock."""
    is_asked: bool = True
    """Whether a PUBLISH of it is under way."""


class PublicationRelay:
    """Sends PUBLISH on, each publication under a name of ours, which is good for who made it alone."""

    def __init__(
        self,
        relay: SubscriptionRelay,
        requester: Callable[[], Requester],
        *,
        new_tag: Callable[[], str],
        clock: Callable[[], float],
        per_user: int,
    ) -> None:
        """`relay` knows where people elsewhere are, `requester` gives the SIP user agent once there is one; `per_user`
        is how many publications one user may have there."""
        self._relay = relay
        self._requester = requester
        self._new_tag = new_tag
        self._clock = clock
        self._per_user = per_user
        self._by_user: dict[str, dict[str, _Publication]] = {}

    async def publish(self, request: Request, publisher: User, expires: int) -> Reply:
        """The answer to a PUBLISH for nobody of ours: whoever may call there may also publish there, by its own name.

        Where two cross, the second is answered 500 and the first decides. A name that we do not know, because it is
        somebody else's, has run out, or was given before a restart, is 412, at which phones publish anew.
        """
        hops = forward_limit(request)
        if isinstance(hops, Refusal):
            return Reply(hops.status)
        try:
            places = self._relay.places_of(request.uri, publisher, named=True)
        except RouteError as error:
            log.info("publication refused", publisher=publisher.id, reason=str(error))
            return Reply(error.cause.status)
        except SipError as error:
            log.warning("a publication cannot be passed on", reason=str(error))
            return Reply(404)
        self._forget_expired(publisher.id)
        # And those of one other user, in turn: whoever publishes no more is forgotten, too.
        self._forget_expired(next(iter(self._by_user), ""))
        published, tag = self._by_user.setdefault(publisher.id, {}), request.sip_if_match
        known = published.get(tag) if tag is not None else None
        refusal = self._refusal(request, known, len(published))
        if refusal is not None:
            return refusal
        if known is None or tag is None:
            tag, known = self._new_tag(), _Publication(str(request.uri), None, "", float("inf"))
            published[tag] = known
        known.is_asked = True
        try:
            response = await self._ask(_flows(places, known.place), known, request, publisher, expires, hops)
            return self._answered(published, tag, known, response, expires)
        finally:
            known.is_asked = False
            if known.etag is None:
                published.pop(tag, None)

    def _refusal(self, request: Request, known: _Publication | None, has: int) -> Reply | None:
        if request.sip_if_match is None:
            if not request.body:
                return Reply(400, "Nothing To Publish")
            if has >= self._per_user:
                return Reply(503, headers=(("Retry-After", str(_RETRY_AFTER)),))
        elif known is None or known.target != str(request.uri):
            return Reply(412)
        elif known.is_asked:
            return Reply(500, "Publication Under Way", _CROSSED)
        return None

    async def _ask(
        self,
        flows: Sequence[Destination],
        known: _Publication,
        request: Request,
        publisher: User,
        expires: int,
        hops: int,
    ) -> Response | None:
        """What the PBX answers by the first flow that leads anywhere; None: nobody is there."""
        headers = [("Event", request.headers.get("Event") or ""), ("Expires", str(expires))]
        if known.etag is not None:
            headers.append(("SIP-If-Match", known.etag))
        response = None
        for place in flows:
            try:
                async with asyncio.timeout(min(_PATIENCE, _PATIENCE_IN_ALL / len(flows))):
                    response = await self._requester().request(
                        "PUBLISH",
                        Uri.parse(place.uri),
                        caller=place.caller or self._relay.name_of(publisher),
                        route=tuple(NameAddr.parse(hop) for hop in place.route),
                        credentials=place.credentials,
                        headers=[*headers, *self._relay.fields_of(publisher, place)],
                        body=request.body,
                        content_type=request.headers.get("Content-Type"),
                        max_forwards=hops,
                    )
            except TimeoutError:
                continue
            except SipError as error:
                log.warning("a publication cannot be passed on", reason=str(error))
                continue
            if response.status not in PLACE_FAILED:
                known.place = place.uri
                break
        return response

    def _answered(
        self, published: dict[str, _Publication], tag: str, known: _Publication, response: Response | None, expires: int
    ) -> Reply:
        if response is None:
            return Reply(480)
        if response.is_success:
            if response.sip_etag is None:
                # Nobody could ever change or remove it: a PBX that knows no PUBLISH (RFC 3903 section 6, 200).
                known.etag = None
                return Reply(502)
            granted = expires if response.expires is None else min(response.expires, expires)
            del published[tag]
            fresh = self._new_tag()
            if granted > 0:
                known.etag, known.expires_at = response.sip_etag, self._clock() + granted
                published[fresh] = known
            return Reply(200, headers=(("SIP-ETag", fresh), ("Expires", str(granted))))
        if response.status == 412:
            known.etag = None
        if response.status in _PASSED_ON:
            said = ((name, response.headers.get(name)) for name in _EXPLAINED)
            return Reply(response.status, headers=tuple((name, text) for name, text in said if text is not None))
        return Reply(480 if response.status in PLACE_FAILED else 403)

    def _forget_expired(self, user: str) -> None:
        now, published = self._clock(), self._by_user.pop(user, {})
        for tag in [tag for tag, one in published.items() if one.expires_at <= now and not one.is_asked]:
            del published[tag]
        if published:
            self._by_user[user] = published


def _flows(places: Sequence[Destination], place: str) -> list[Destination]:
    """The flows to the PBX, to where it has the publication before others."""
    flows = [flow for each in places for flow in (each, *each.others)]
    return sorted(flows, key=lambda one: one.uri != place)
