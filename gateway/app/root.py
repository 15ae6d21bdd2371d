"""The composition root: makes every room from the configuration, starts and stops them in order."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import urlencode

import structlog

from gateway.access.bans import Bans
from gateway.access.gatekeeper import TRUNK
from gateway.app import settings
from gateway.app.account import Account, accounts_of
from gateway.app.drafts import Drafts
from gateway.app.drain import drain
from gateway.app.message_opening import open_messages
from gateway.app.observers import collecting, copy_messages, keep_messages
from gateway.app.opening import (
    HostNames,
    Opening,
    open_accounts,
    open_directory,
    open_gruus,
    open_links,
    open_media,
    open_page,
    open_store,
    open_websockets,
)
from gateway.app.presence_opening import open_subscriptions
from gateway.app.reload import Reader, Reloader, Rooms
from gateway.app.room_settings import room_members
from gateway.app.sip_opening import open_gatekeeper, open_registrar
from gateway.app.web_front import WebFront
from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.call.routing import RoomDoor, Router
from gateway.cluster.cluster import Cluster, ClusterTexts, incidents_of, join
from gateway.cluster.settings import cluster
from gateway.cluster.toll import keep_toll
from gateway.conference.front import ConferencingFront, open_conferences, open_voicemail
from gateway.conference.personal_front import PersonalFront, open_personal_rooms
from gateway.config import Config
from gateway.dialing.announcements import open_announcements
from gateway.dialing.applications import Application
from gateway.dialing.incoming import SipFront
from gateway.dialing.outgoing import GatewayDialer
from gateway.dialing.rights import LegRights
from gateway.failover.recovery import Recovery, find_calls
from gateway.failover.takeover import go_on
from gateway.identity import passwords
from gateway.identity.directory import Directory
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import Credential
from gateway.identity.provisioned import ProvisionedStore
from gateway.identity.store import IdentityStore
from gateway.legs.web_clients import Presence
from gateway.media.engine import MediaEngine
from gateway.net.renewals import Renewals
from gateway.net.user_agent import UserAgent
from gateway.observe.health import EngineWatch, StoreWatch, Watch, ports_taken, probe, reload_state
from gateway.observe.load import watch_load
from gateway.observe.metrics import Metrics, only_for
from gateway.observe.tracing import send_traces
from gateway.people.contacts import Contacts
from gateway.people.presence import Presences
from gateway.people.rules import ShownRules
from gateway.people.sip.messages import Messages
from gateway.people.sip.relay import SubscriptionRelay
from gateway.people.sip.subscriptions import Subscriptions
from gateway.people.users import Users
from gateway.store.rules_file import FileRules
from gateway.trunks.accounts import Accounts
from gateway.trunks.answering import FILE_NAME, AnsweringPlaces
from gateway.trunks.care import TrunkCare
from gateway.trunks.known import Trunks
from gateway.trunks.own_accounts import open_own_accounts
from gateway.trunks.reachability import Reachability
from gateway.voicemail.programs import Voicemail
from gateway.web.app import WaysIn, create_app
from gateway.web.auth.links import GuestLinks, link_refusal
from gateway.web.auth.oidc import OpenIdProvider
from gateway.web.push.waker import Waker

log = structlog.get_logger(__name__)

_DIRECTORY_SECONDS = 10.0
"""How often what other gateways of the same store have changed is looked for."""
_STORE_SECONDS = 1.5
"""Seconds between two questions to the store."""
_RENEWAL_SECONDS = 60.0
"""How often it is looked whether certificates were renewed."""


class GatewayApp:
    """A whole gateway in one object; nothing happens before `start`."""

    def __init__(
        self,
        config: Config,
        *,
        application: Application | None = None,
        reread: Callable[[], Config] | None = None,
        random: Callable[[int], bytes] = os.urandom,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`reread` reads the configuration again for a reload, and blocks; None: certificates alone are read again."""
        self.config = config
        self._reread = reread
        self._application = application or Application()
        self.calls: Calls
        self._random = random
        self._wall_clock = wall_clock
        self._messages: Messages
        self._contacts: Contacts
        self._subscriptions: Subscriptions
        self._relay: SubscriptionRelay
        self._passwords: passwords.Passwords
        self._credentials: Mapping[str, Credential] = {}
        self._identity: IdentityMap
        self._directory: Directory
        self._presences = Presences()
        self._presence = Presence(presences=self._presences)
        self._conferencing: ConferencingFront
        self._voicemail: Voicemail
        self._rooms: PersonalFront
        self._user_agent: UserAgent
        self._care: TrunkCare
        self._trunks: Trunks
        self._answering = AnsweringPlaces(config.state_dir / FILE_NAME)
        self._reachability = Reachability(self._answering)
        self._accounts: Accounts
        self._load = LoadControl(settings.load(config))
        self._web_port = config.web.listen.port
        self._websockets: list[tuple[str, str, int]] = []
        """(transport, host, port) of the listeners for SIP over WebSocket alone."""
        self.recovery: Recovery
        self._opening = Opening(config, random, wall_clock)
        self._stack = self._opening.stack
        self.reloader: Reloader
        self._readers: list[Reader] = []
        """Who is given the configuration that is in force after a reload."""

    # -- life ----------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, the media port, SIP, and the web side, in this order; all or nothing.

        Raises ConfigError for what cannot be opened.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def drain(self) -> None:
        """Refuse new calls, tell peers and pages so, and wait for the last call to end.

        At most `limits.drain_timeout` seconds. `stop` is what follows; it may be called meanwhile.
        """
        seconds = self.config.limits.drain_timeout
        self._registrar.drain()
        await drain(self._user_agent, self._presence, self._cluster, self.calls, seconds)

    async def stop(self) -> None:
        """End every call, say goodbye to every peer, close everything; idempotent."""
        await self._stack.aclose()

    async def _start(self) -> None:
        identity = self.config.identity_map()
        store, self._passwords, self._load.store = await open_store(self._opening)
        self._credentials = store.credentials
        self._identity, self._directory = identity, await open_directory(self._opening, identity, store)
        self._accounts = open_accounts(self._opening, identity)
        engine = await open_media(self._opening, HostNames(lambda: self._user_agent))
        presence = self._presence
        services = engine.capabilities.services
        self._waker = Waker(settings.waking(self.config), self._wall_clock, self._credential_mark)
        self._stack.push_async_callback(self._waker.sender.close)
        self._cluster = Cluster(cluster(self.config), identity, store, self._wall_clock, self._random)
        dialer = GatewayDialer(
            self.config,
            identity,
            self._accounts,
            self._reachability,
            store,
            presence,
            services,
            self._wall_clock,
            lambda flow, is_flow: self._user_agent.is_reachable(flow, is_flow=is_flow),
            self._application,
            self._waker,
            self._cluster,
        )
        self._readers.append(dialer)
        self._gruus = open_gruus(self._opening)
        router = self._router(self.config)
        self._messages = await open_messages(self._opening, identity, self._accounts, router, dialer, presence)
        opening, can = self._opening, engine.capabilities.conferences
        self._rooms = open_personal_rooms(opening, identity, store, self._directory, router, self._cluster, can=can)
        dialer.room_elsewhere = self._rooms.elsewhere
        await self._open_calls(engine, identity, router, dialer)
        await keep_toll(self._opening, self.calls.toll, store, self.config.cluster.node)
        dialer.incoming = lambda trunk: self.calls.of(TRUNK + trunk)
        self.recovery = await find_calls(self._opening, self.calls, engine)
        self._subscriptions = self._open_subscriptions(identity, store, router, dialer)
        self._user_agent = dialer.inviter = self._messages.requester = await self._open_sip(identity, store, dialer)
        dialer.agent = self._user_agent
        await go_on(self._opening, self.recovery, self._cluster, self._user_agent, dialer)
        self._relay.subscribing = self._user_agent
        self._ladders = keep_messages(self.config, self._user_agent, self._wall_clock)
        await copy_messages(
            collecting(self.config), self._user_agent, self.calls, engine, self._wall_clock, self._stack
        )
        self._span_counts = send_traces(self._opening, self.calls)
        self._begin_watching(dialer, engine)
        await self._open_web(engine, identity, presence, store)
        self._begin_reloading(store, router, engine, dialer)
        presence.changed = self._cluster.page
        await join(self._opening, self._cluster, store, self.calls, dialer, self._bans)
        self._stack.push_async_callback(self._application.close)
        # Stopped first, before what carries the goodbyes: everything above is closed after it, in reverse order.
        self._stack.push_async_callback(self.calls.close)

    def _begin_watching(self, dialer: GatewayDialer, engine: MediaEngine) -> None:
        """Register where the configuration says, and look after trunks and our own load."""
        self._care = TrunkCare(
            self._user_agent,
            self.config.every_trunk,
            self._trunks,
            self._accounts,
            self._reachability,
            self._opening.fraction,
            self.config.sip.limits.options_per_second,
        )
        dialer.routes = self._care.registrations.routes
        self._reachability.follow(lambda trunk, is_lost: engine.doubt(f"trunk:{trunk}", doubted=is_lost))
        self._care.begin(self.config.accounts.register_expires, self.config.accounts.flows)
        self._stack.push_async_callback(self._answering.close)
        self._stack.push_async_callback(self._care.close)
        self._engine_watch = EngineWatch(engine)
        busy = self._engine_watch.busy
        watch_load(self._opening, self._user_agent, self._load, self.calls.is_emergency, busy)

    def _begin_reloading(
        self, store: ProvisionedStore, router: Router, engine: MediaEngine, dialer: GatewayDialer
    ) -> None:
        rooms = Rooms(
            store=store,
            directory=self._directory,
            identity=self._identity,
            accounts=self._accounts,
            router=router,
            new_router=self._router,
            calls=self.calls,
            rights=self._rights,
            load=self._load,
            engine=engine,
            voicemail=self._voicemail,
            user_agent=self._user_agent,
            gatekeeper=self._gatekeeper,
            bans=self._bans,
            registrar=self._registrar,
            front=self._front,
            presence=self._presence,
            known_trunks=self._trunks,
            trunks=dialer.trunks,
            care=self._care,
            web_tls=self._web_tls,
            in_force=self._in_force,
        )
        self.reloader = Reloader(self.config, self._passwords, self._reread, self._random, rooms)
        self._renewals = Renewals(self._user_agent.tls, self._web_tls)
        self._opening.sweep(self._renewals.look, _RENEWAL_SECONDS)

    def _in_force(self, config: Config, words: passwords.Passwords) -> None:
        """From now on `config` holds, with these passwords."""
        self.config = self._opening.config = config
        self._passwords = words
        for reader in self._readers:
            reader.config = config

    def _open_subscriptions(
        self, identity: IdentityMap, store: IdentityStore, router: Router, dialer: GatewayDialer
    ) -> Subscriptions:
        self._relay = SubscriptionRelay(identity, router, dialer, self._accounts.registrar_of)
        opening, presences, messages = self._opening, self._presences, self._messages
        subscriptions, self._contacts = open_subscriptions(
            opening, identity, store, presences, messages, self._relay, self.calls, self._cluster
        )
        return subscriptions

    def _registered(self, user: str) -> None:
        """A REGISTER of `user` was answered."""
        self._contacts.changed(user)
        self._messages.courier.arrived(user)

    async def _open_calls(
        self, engine: MediaEngine, identity: IdentityMap, router: Router, dialer: GatewayDialer
    ) -> None:
        opening, application = self._opening, self._application
        self._voicemail = await open_voicemail(opening, engine, identity, application, self._messages.mailboxes)
        self.calls = self._make_calls(engine, identity, router, dialer)
        self.calls.announcer = await open_announcements(opening.config, engine, dialer.trunks)
        self._conferencing = await open_conferences(
            opening, engine, identity, self.calls, application, self._voicemail, self._rooms
        )

    def _make_calls(self, engine: MediaEngine, identity: IdentityMap, router: Router, dialer: GatewayDialer) -> Calls:
        config = self.config
        rules = FileRules(config.state_dir / "forwarding.json")
        self._stack.push_async_callback(rules.close)
        self._rights = LegRights(identity, self._accounts, settings.guests_may_call(config))
        calls = Calls(
            engine,
            router,
            dialer,
            asyncio.get_running_loop(),
            settings=settings.call_settings(config),
            limits=settings.call_limits(config),
            new_id=self._opening.token,
            on_preference=dialer.learn,
            passed_on=dialer,
            rights=self._rights,
            rules=ShownRules(rules, self._presences, identity.users),
            uri_of=lambda user: identity.sip_uri(user.id),
            payers=self._rights,
            mailboxes=self._voicemail,
        )
        calls.observe(dialer.call_changed)
        calls.observe(partial(self._application.call_changed, engine))
        return calls

    async def _open_sip(self, identity: IdentityMap, store: IdentityStore, dialer: GatewayDialer) -> UserAgent:
        config = self.config
        self._trunks = Trunks(settings.trunk_accounts(config), HostNames(lambda: self._user_agent).last_addresses)
        self._bans = Bans(settings.bans(config), self._wall_clock)
        gatekeeper = self._gatekeeper = open_gatekeeper(
            self._opening, identity, store, self._trunks, self._bans, self._cluster
        )
        registrar = self._registrar = open_registrar(
            self._opening, identity, store, lambda: self._user_agent, self._gruus, self._cluster
        )
        front = self._front = SipFront(
            identity,
            self._accounts,
            self.calls,
            gatekeeper,
            registrar,
            dialer.trunks,
            config.rtp,
            self._opening.token,
            self._registered,
            self._cluster.caller,
            dialer.outgoing,
        )
        user_agent = self._user_agent = UserAgent(settings.user_agent(config), front)
        self._cluster.speak_by(user_agent)
        user_agent.know_peers(gatekeeper)
        user_agent.serve("MESSAGE", partial(self._messages.from_sip, front.sender))
        user_agent.serve("PUBLISH", self._subscriptions.publish)
        user_agent.serve_packages(self._subscriptions.packages, self._subscriptions.subscribed)
        self.recovery.reads = front.reads
        await self._opening.opened("sip.listen", user_agent.start(lambda: self.recovery.resume_calls(user_agent)))
        self._stack.push_async_callback(user_agent.close)
        user_agent.when_lost(registrar.flow_lost)
        dialer.flow_failed = registrar.flow_failed
        self._websockets = await open_websockets(self._opening, user_agent)
        return user_agent

    async def _open_web(
        self, engine: MediaEngine, identity: IdentityMap, presence: Presence, store: ProvisionedStore
    ) -> None:
        config = self.config
        register = self._care.registrations
        accounts = open_own_accounts(self._opening, identity, self._accounts, register, store, self._cluster)
        links = open_links(self._opening, store, self._directory, lambda by, to: link_refusal(front, by, to))
        voicemail, courier, rooms, random = self._voicemail, self._messages.courier, self._rooms, self._random
        users = Users(
            self._directory, identity, store, presence, self.calls, accounts, courier, voicemail, links, random, rooms
        )
        self._opening.sweep(users.look, _DIRECTORY_SECONDS)
        self._opening.sweep(Drafts(config).remove)
        store_watch = StoreWatch(partial(probe, store), asyncio.get_running_loop().time)
        self._opening.sweep(store_watch.look, _STORE_SECONDS)
        watch = Watch(
            config, self.calls, lambda: self.registered_trunks, self._reachability, self._wall_clock, self._load
        )
        front = WebFront(
            config,
            identity,
            accounts,
            self._reachability,
            presence,
            self.calls,
            self._check_password,
            self._opening.token,
            self._credential_mark,
            lambda: self.registered_trunks,
            watch,
            self._messages,
            self._subscriptions,
            ladders=self._ladders,
            users=users,
            bans=self._bans,
            load=self._load,
            conferencing=self._conferencing,
            reloader=lambda: self.reloader,
            left=self.recovery.left.of,
            watch_left_sessions=self.recovery.left.watch_sessions,
            to_come=self.recovery.to_come,
        )
        await watch.look(self._wall_clock())
        self._opening.sweep(watch.look, _RENEWAL_SECONDS)
        self._readers += [accounts, front, watch]
        watch.add_faults(self._engine_watch.faults)
        # Gateways of a cluster share the store: while it is away none of them is better than another.
        (watch.add_lacks if self._cluster.node else watch.add_faults)(store_watch.faults)
        watch.others += [store_watch.conditions, partial(ports_taken, engine), self.recovery.conditions]
        watch.others.append(lambda: reload_state(self.reloader.refused, self.reloader.waiting))
        watch.others.append(lambda: self._renewals.conditions())
        await self._open_page(front, links, store)

    async def _open_page(self, front: WebFront, links: GuestLinks | None, store: ProvisionedStore) -> None:
        """Listen for browsers and programs, and serve figures where they are wanted."""
        config = self.config
        web_settings, oidc = settings.web(config, self._random(32).hex()), settings.oidc(config)
        ways = WaysIn(
            sip=self._user_agent.websocket,
            push=self._waker.sender,
            provider=None if oidc is None else OpenIdProvider(oidc),
            site=self._application.site,
            links=links,
            shared=ClusterTexts(store, self._wall_clock) if self._cluster.node else None,
        )
        application = create_app(front, web_settings, ways)
        if config.metrics.enabled:
            agent = self._user_agent
            incidents = partial(incidents_of, agent, self._cluster)
            metrics = Metrics(self.calls, lambda: len(self._presence), incidents, front, lambda: agent.timers)
            metrics.count_spans(self._span_counts)
            self.calls.observe(metrics.observe)
            metrics.watch(self._load)
            application.add_route("/metrics", only_for(config.metrics.sources, metrics.endpoint))
        self._web_port, self._web_tls = await open_page(self._opening, application, web_settings)

    def _router(self, config: Config) -> Router:
        before = self._application.routes
        return settings.router(
            config,
            self._identity,
            before,
            self._gruus.read,
            RoomDoor(
                members=room_members(config),
                is_open=lambda name: self._conferencing.has_open_room(name),
                has_number=lambda number: self._rooms.has_number(number),
            ),
            HostNames(lambda: self._user_agent),
        )

    # -- what others are told ------------------------------------------------------

    def _check_password(self, user_id: str, secret: str) -> bool:
        return passwords.check(self._credentials.get(user_id), secret)

    def _credential_mark(self, user_id: str) -> str | None:
        if self._identity.by_id(user_id) is None:
            return None
        credential = self._credentials.get(user_id)
        digests = sorted(credential.ha1.items()) if credential is not None else []
        return hashlib.sha256((str(digests) + self._directory.mark(user_id)).encode()).hexdigest()[:16]

    def password(self, user_id: str) -> str:
        """The password in force; for the demo and the tests, which play the users."""
        return self._passwords.values[user_id]

    @property
    def registered_trunks(self) -> frozenset[str]:
        """Names of the trunks we are registered at now."""
        return self._care.registrations.standing

    @property
    def page_url(self) -> str:
        """Where people find the page."""
        web = self.config.web
        if web.public_url is not None:
            return web.public_url + "/"
        scheme = "https" if web.tls.cert is not None else "http"
        host = settings.reachable(web.listen.host)
        return f"{scheme}://{host}:{self._web_port}/"

    def signed_in_url(self, user_id: str) -> str:
        """The page with an account in its fragment, which never leaves the browser."""
        return f"{self.page_url}#{urlencode({'user': user_id, 'token': self.password(user_id)})}"

    @property
    def sip_addresses(self) -> tuple[str, ...]:
        """Where phones register, "udp:192.0.2.1:5060"."""
        listening = (*self._user_agent.listening, *self._websockets)
        return tuple(f"{transport}:{settings.reachable(host)}:{port}" for transport, host, port in listening)

    @property
    def sip_hostport(self) -> str:
        """Host and port of the first SIP address."""
        return self.sip_addresses[0].partition(":")[2]

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Every configured user, with the password when the gateway made it."""
        return accounts_of(self.config, self._passwords, self.signed_in_url)
