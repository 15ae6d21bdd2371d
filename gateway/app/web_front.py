"""The gateway as the web front ends see it (gateway.web.facade.Gateway)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import asdict, replace
from typing import Any

from gateway.access.bans import Ban, Bans
from gateway.app.reload import Reloader
from gateway.call.leg import Address
from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.call.routing import Caller, RouteError, allows
from gateway.call.status import Cause
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.legs.web import WebCallerLeg
from gateway.legs.web_clients import Presence
from gateway.media.ice_servers import IceServers
from gateway.observe.health import Health
from gateway.observe.ladder import Ladders
from gateway.people.messages import Outcome
from gateway.people.presence import PresenceState
from gateway.people.sip.messages import Messages
from gateway.people.sip.subscriptions import Subscriptions
from gateway.people.visibility import may_see
from gateway.people.voicemail_light import light
from gateway.trunks.own_accounts import OwnAccounts
from gateway.trunks.reachability import Reachability, State
from gateway.web.conferencing import Conferencing
from gateway.web.facade import AccountError, LeftCall, PageInbox, PlaceError, UserDirectory, WebCall, WebChannel
from sdp import SdpSyntaxError, SessionDescription

_KNOWN = {State.REACHABLE: True, State.UNREACHABLE: False, State.UNKNOWN: None}


async def _nobody_comes(user_id: str, call_id: str) -> bool:
    return False


class WebFront:
    """Authenticates web users, knows who is there, places their calls."""

    def __init__(
        self,
        config: Config,
        identity: IdentityMap,
        accounts: OwnAccounts,
        reachability: Reachability,
        presence: Presence,
        calls: Calls,
        check_password: Callable[[str, str], bool],
        new_tag: Callable[[], str],
        credential_mark: Callable[[str], str | None] = lambda user_id: "",
        registered_trunks: Callable[[], frozenset[str]] = frozenset,
        health: Callable[[], Health] = Health,
        messages: Messages | None = None,
        subscriptions: Subscriptions | None = None,
        ladders: Ladders | None = None,
        bans: Bans | None = None,
        load: LoadControl | None = None,
        *,
        users: UserDirectory,
        conferencing: Conferencing,
        reloader: Callable[[], Reloader] | None = None,
        left: Callable[[str, str], LeftCall | None] = lambda user_id, call_id: None,
        watch_left_sessions: Callable[[Callable[[LeftCall], None]], None] = lambda take: None,
        to_come: Callable[[str, str], Coroutine[Any, Any, bool]] = _nobody_comes,
    ) -> None:
        self._bans = bans
        self._load = load
        self.conferencing = conferencing
        self._reloader = reloader
        self.config = config
        """In force now; another one after a reload."""
        self.users = users
        self.left_call = left
        self.watch_left_sessions = watch_left_sessions
        self.call_to_come = to_come
        self._ladders = ladders or Ladders(0, time.time)
        self._identity = identity
        self._own_accounts = accounts
        self._reachability = reachability
        self._presence = presence
        self._calls = calls
        self._check_password = check_password
        self._new_tag = new_tag
        self.credential_mark = credential_mark
        self._registered_trunks = registered_trunks
        self._health = health
        self._messages = messages
        self._lights: dict[PageInbox, Callable[[], None]] = {}
        """What ends telling each page how many voice messages wait."""
        self._subscriptions = subscriptions

    async def authenticate(self, user: str, secret: str | None) -> User | None:
        known = self._identity.find(user)
        if known is None:
            if not self.config.web.guests_welcome or secret:
                return None
            return User(user, web=True, may_call=self.config.web.guests_may_call)
        if not known.web or secret is None or not self._check_password(known.id, secret):
            return None
        return known

    def is_configured(self, user_id: str) -> bool:
        return self._identity.find(user_id) is not None

    def resembles_user(self, name: str) -> bool:
        return self._identity.resembles(name)

    def find_user(self, name: str) -> User | None:
        found = self._identity.find(name)
        return found if found is not None and found.web else None

    def user_of(self, uri: str) -> str | None:
        found = self._identity.find(uri)
        return None if found is None else found.id

    def may_call(self, user: User, target: str) -> bool:
        return allows(user.may_call, target)

    def may_see(self, user: User, peer_id: str) -> bool:
        target = self._identity.find(peer_id)
        return target is None or may_see(user, target, self.config.presence.visible_to)

    @property
    def visibility(self) -> Hashable:
        return self.config.presence.visible_to, self._identity.version

    def connect(self, user_id: str, channel: WebChannel) -> None:
        self._presence.connect(user_id, channel)

    def disconnect(self, user_id: str, channel: WebChannel) -> None:
        self._presence.disconnect(user_id, channel)

    def attend(self, user_id: str, inbox: PageInbox) -> None:
        self._presence.attend(user_id, inbox)
        if self._messages is not None:
            self._messages.courier.arrived(user_id)
            self._lights[inbox] = light(self._messages.mailboxes, user_id, inbox)

    def leave(self, user_id: str, inbox: PageInbox) -> None:
        self._presence.leave(user_id, inbox)
        stop = self._lights.pop(inbox, None)
        if stop is not None:
            stop()

    async def send_message(self, sender: User, to: str, text: str, content_type: str = "text/plain") -> Outcome:
        if self._messages is None:
            return Outcome.UNAVAILABLE
        return await self._messages.from_page(sender, to, text, content_type)

    async def watch_presence(
        self, watcher: User, target: str, told: Callable[[PresenceState], None]
    ) -> tuple[PresenceState, Callable[[], None]]:
        if self._subscriptions is None:
            raise PlaceError(Cause.NOT_FOUND)
        return await self._subscriptions.watch_presence(watcher, target, told)

    def set_presence(self, user: User, state: PresenceState | None) -> None:
        if self._presence.presences is not None:
            self._presence.presences.say(user.id, state)

    async def place(self, channel: WebChannel, caller: User, to: str, sdp: str, source: str = "") -> WebCall:
        try:
            SessionDescription.parse(sdp)
        except SdpSyntaxError as error:
            raise PlaceError(Cause.NOT_ACCEPTABLE, f"the offer is not a session description: {error}", 400) from None
        if (
            self._load is not None
            and not self._calls.is_emergency(to)
            and not self._load.admit(asyncio.get_running_loop().time())
        ):
            raise PlaceError(Cause.OVERLOADED, f"{self._load.limit}: the gateway has more calls to begin than it can")
        known = self._identity.by_id(caller.id)
        guest = known is None
        if guest and self._reloader is not None and caller.id in self._reloader().leaving:
            raise PlaceError(Cause.FORBIDDEN, "the user is no more")
        caller = known or caller  # whose rights may be others since it signed in
        name, seen = caller.display_name or caller.id, source if guest else ""
        address = Address(self._identity.sip_uri(caller.id), name, source=seen)
        leg = WebCallerLeg(self._new_tag(), address, channel, caller.id)
        try:
            account = None if guest else self._own_accounts.registrar_of(caller.id)
            who = Caller(caller.id, caller.may_call, guest=guest, source=source, account=account)
            await self._calls.place(leg, who, to, sdp, caller.max_calls)
        except RouteError as error:
            raise PlaceError(error.cause, str(error), retry_after=error.retry_after) from None
        return leg.handle

    def forwarding(self, user: User) -> dict[str, Any]:
        return asdict(self._calls.rules.of(user.id))

    def forward(self, user: User, changes: dict[str, Any]) -> dict[str, Any]:
        rules = replace(self._calls.rules.of(user.id), **changes)
        try:
            account = self._own_accounts.registrar_of(user.id)
            self._calls.features.change(Caller(user.id, user.may_call, account=account), rules)
        except RouteError as error:
            raise PlaceError(error.cause, str(error)) from None
        return asdict(rules)

    def ice_servers(self, client: str, user: str | None) -> list[dict[str, Any]]:
        return IceServers(self.config, time.time).told(user, client)

    def list_calls(self) -> list[dict[str, Any]]:
        return [
            {
                "id": call.id,
                "caller": call.caller.address.uri,
                "dialled": call.record.dialled,
                "state": call.state.value,
                "seconds": round(asyncio.get_running_loop().time() - call.record.started_at, 1),
                "parties": [leg.address.uri for leg in call.legs],
            }
            for call in self._calls
        ]

    async def call_details(self, call_id: str) -> dict[str, Any] | None:
        call = self._calls.get(call_id)
        if call is not None:
            shown = next(one for one in self.list_calls() if one["id"] == call_id)
            record, statistics = call.record, await self._calls.statistics(call_id)
            names = {leg.party.tag: leg.address.uri for leg in call.legs}
        else:
            over = next((one for one in self._calls.ended if one.id == call_id), None)
            if over is None:
                return None
            record, statistics, names = over, over.statistics, {}
            shown = {"id": call_id, "caller": record.caller.uri, "dialled": record.dialled, "state": "ended"}
            shown |= {"seconds": round((record.ended_after_ms or 0) / 1000, 1), "parties": []}
        media = [
            {
                "party": names.get(tag, tag),
                "received": asdict(party.received),
                "sent": asdict(party.sent),
                "text": None if party.text is None else asdict(party.text),
            }
            for tag, party in statistics.parties.items()
        ]
        references = [name for each in record.references.values() for name in each]
        tags = {*names, *record.references, *statistics.parties}
        messages = [asdict(rung) for rung in self._ladders.of([*references, *tags])]
        return shown | {"media": media, "messages": messages}

    def trace(self, call_id: str, direction: str, user: str, title: str, text: str) -> None:
        self._ladders.web(call_id, direction, user, title, text)

    async def reload(self) -> dict[str, Any]:
        if self._reloader is None:
            raise AccountError("There is nothing to be read again", 409)
        try:
            return asdict(await self._reloader().reload())
        except ConfigError as error:
            raise AccountError(str(error), 409) from None

    def end_call(self, call_id: str) -> bool:
        call = self._calls.get(call_id)
        if call is None:
            return False
        call.stop()
        return True

    def list_bans(self) -> list[dict[str, Any]]:
        return [] if self._bans is None else [_ban(one) for one in self._bans.now()]

    def lift_ban(self, address: str) -> bool:
        return self._bans is not None and self._bans.lift(address)

    def list_trunks(self) -> list[dict[str, Any]]:
        registered = self._registered_trunks()
        return [
            {
                "name": trunk.name,
                "uri": trunk.uri,
                "registered": trunk.name in registered if trunk.register_account else None,
                "reachable": _KNOWN[self._reachability.of(trunk.name)],
                "places": [
                    {"uri": uri, "reachable": _KNOWN[self._reachability.place(trunk.name, uri)]} for uri in trunk.uris
                ],
            }
            for trunk in self.config.trunks
        ]

    def list_accounts(self) -> list[dict[str, Any]]:
        return self._own_accounts.listed()

    def account_of(self, user_id: str) -> dict[str, Any] | None:
        return self._own_accounts.of(user_id)

    def list_registrars(self, *, by_user: bool = False) -> list[str]:
        return self._own_accounts.registrars(by_user=by_user)

    async def set_account(self, user_id: str, given: dict[str, str | None], *, by_user: bool) -> dict[str, Any]:
        if self._identity.by_id(user_id) is None:
            raise AccountError("There is no such user", 404)
        return await self._own_accounts.put(user_id, given, by_user=by_user)

    async def remove_account(self, user_id: str, *, by_user: bool) -> bool:
        return await self._own_accounts.remove(user_id, by_user=by_user)

    def health(self) -> dict[str, Any]:
        health = self._health()
        return {
            "status": health.status,
            "conditions": list(health.conditions),
            "active_calls": len(self._calls),
            "web_users": len(self._presence),
        }


def _ban(ban: Ban) -> dict[str, Any]:
    return {
        "address": ban.address,
        "reason": ban.reason,
        "since": ban.since,
        "until": ban.until,
        "silenced": ban.silenced,
    }
