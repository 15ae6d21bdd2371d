"""The configuration, in the words of each room: no room reads gateway.config itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import SecretStr

from gateway.access.algorithms import Algorithms
from gateway.access.bans import BanPolicy
from gateway.access.own_names import OwnNames, OwnPlaces
from gateway.call.limits import CallLimits
from gateway.call.load import LoadPolicy
from gateway.call.record import CallSettings
from gateway.call.routing import Emergency, Group, RoomDoor, Route, Router
from gateway.call.trunk_places import Addresses, TrunkHosts, TrunkPlaces, canonical
from gateway.cluster.settings import shared_key
from gateway.config import Config, advertised
from gateway.config.network import WebLimits
from gateway.identity import passwords
from gateway.identity.guesses import LockOut
from gateway.identity.mapping import IdentityMap
from gateway.net.config import UserAgentConfig
from gateway.net.connections import StreamLimits
from gateway.net.resolver import ResolverConfig
from gateway.net.tls import Tls, TlsFiles
from gateway.net.udp import UdpLimits
from gateway.people.courier import Keeping
from gateway.people.sip.messages import MessageSettings
from gateway.people.sip.subscriptions import PresenceSettings
from gateway.sip.auth.server import DigestServer, NoncePolicy
from gateway.sip.invite.session_timer import TimerPolicy
from gateway.sip.message.parser import Limits
from gateway.sip.message.uri import Uri
from gateway.sip.registration.registrar import RegistrarPolicy
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.transactions import Timers
from gateway.sip.transactions.admission import AdmissionLimits
from gateway.sip.transactions.config import StackConfig
from gateway.store.factory import messages_named
from gateway.trunks.accounts import Account
from gateway.trunks.known import TrunkAccount
from gateway.web.auth.oidc import OidcSettings
from gateway.web.push.waker import Waking
from gateway.web.settings import WebSettings

_NEVER = 10.0 * 365 * 86_400
"""Seconds that stand for "no limit"."""


def secret(value: SecretStr | None) -> str | None:
    """The text of a secret."""
    return None if value is None else value.get_secret_value()


def reachable(host: str) -> str:
    """`host` as others can use it: the wildcard becomes our address on the default route, IPv6 gets brackets."""
    return _in_uri(advertised(host, 1).host)


def _in_uri(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def routes(config: Config) -> tuple[Route, ...]:
    return tuple(
        Route(match=route.match, to=route.to, strip=route.strip, prefix=route.prefix) for route in config.routes
    )


def router(
    config: Config,
    identity: IdentityMap,
    before: Sequence[Route] = (),
    devices: Callable[[str], tuple[str, str] | None] = lambda dialled: None,
    rooms: RoomDoor | None = None,
    addresses: Addresses | None = None,
) -> Router:
    """Who is meant by what is dialled, or written to; `before` are routes that come before those of the file.

    `devices` reads a URI that means one device; `addresses` resolves the hosts of trunks.
    """
    every = (*before, *routes(config))
    return Router(
        identity,
        every,
        OwnNames.of(config),
        TrunkPlaces(trunk_hosts(config), addresses),
        emergency(config),
        groups(config, identity),
        devices,
        rooms,
    )


def groups(config: Config, identity: IdentityMap) -> tuple[Group, ...]:
    """Users who are called by one number."""
    made = []
    for group in config.groups:
        members = [identity.by_id(member) for member in group.members]
        found = tuple(user for user in members if user is not None)
        made.append(Group(group.name, found, in_turn=group.in_turn, time=group.time))
    return tuple(made)


def call_settings(config: Config) -> CallSettings:
    return CallSettings(
        ring_timeout=config.sip.ring_timeout,
        max_duration=config.limits.max_call_duration or _NEVER,
        service_max_duration=config.media.service_max_duration or _NEVER,
        reattach_time=config.limits.reattach_time,
        max_diversions=config.sip.max_diversions,
        park_timeout=config.sip.park_timeout,
        early_silence=config.rtp.early_silence,
    )


def call_limits(config: Config) -> CallLimits:
    limits = config.limits
    return CallLimits(
        max_calls=limits.calls,
        calls_per_second=limits.rate,
        guest_calls=limits.guests,
        guest_calls_per_source=limits.guest_calls_per_source,
        prefix_length=limits.prefix_length,
        prefix_calls_per_hour=limits.prefix_calls_per_hour,
        history=limits.history_size,
    )


def guests_may_call(config: Config) -> tuple[str, ...]:
    """What who has no account may call: nothing where guests are not welcome, as who came by a link."""
    return config.web.guests_may_call if config.web.guests_welcome else ()


def trunk_places(config: Config) -> dict[str, tuple[str, ...]]:
    """Trunk name -> the host, or host:port, of each of its places: where its numbers belong to in a SIP URI."""
    return {trunk.name: tuple(map(_place, trunk.uris)) for trunk in config.every_trunk}


def trunk_hosts(config: Config) -> dict[str, TrunkHosts]:
    """Trunk name -> its places, and the networks that its calls come from."""
    places = trunk_places(config)
    return {
        trunk.name: TrunkHosts(places[trunk.name], tuple(map(ipaddress.ip_network, trunk.sources)))
        for trunk in config.every_trunk
    }


def _place(uri: str) -> str:
    place = Uri.parse(uri)
    host = place.host.lower()
    return host if place.port is None else f"{host}:{place.port}"


def registrar_places(config: Config) -> dict[str, str]:
    """Name of a registrar of users' own accounts -> its host, or host:port."""
    return {trunk.name: _place(trunk.uri) for trunk in config.registrars}


def configured_accounts(config: Config) -> tuple[Account, ...]:
    """The users' own accounts that the configuration gives."""
    found = []
    for user in config.users:
        if user.account is not None and (registrar := config.registrar(user.account.registrar)) is not None:
            account = user.account
            found.append(
                Account(
                    user=user.id,
                    registrar=registrar.name,
                    username=account.username,
                    password=account.password.get_secret_value(),
                    auth_username=account.auth_username,
                    display_name=account.display_name or user.display_name,
                    configured=True,
                )
            )
    return tuple(found)


def emergency(config: Config) -> Emergency:
    return Emergency(numbers=frozenset(config.emergency.numbers), trunk=config.emergency_trunk)


def digest(config: Config, secret: bytes, since: float = 0.0, mark: int = 0) -> DigestServer:
    """The challenges for phones; `secret` signs the nonces, of which those before `since` are stale, and those that a
    process of this gateway made by another `mark`.
    """
    registration = config.sip.registration
    policy = NoncePolicy(lifetime=registration.nonce_lifetime)
    node = config.cluster.node or ""
    return DigestServer(config.realm, secret, registration.digest_algorithms, policy, since, node=node, mark=mark)


def algorithms(config: Config) -> Algorithms:
    """Which algorithm a phone is asked for."""
    registration = config.sip.registration
    return Algorithms(registration.digest_algorithms, registration.strong_digest_agents)


def registrar_policy(config: Config) -> RegistrarPolicy:
    registration = config.sip.registration
    return RegistrarPolicy(
        min_expires=registration.min_expires,
        max_expires=registration.max_expires,
        default_expires=registration.default_expires,
        max_contacts=registration.max_contacts,
        websocket_grace=registration.websocket_grace,
        flow_timer=registration.flow_timer,
        domains=OwnNames.of(config),
        own=OwnPlaces.of(config),
    )


def lock_out(config: Config) -> LockOut:
    limits = config.sip.limits
    return LockOut(
        failures=limits.failed_logins,
        seconds=limits.login_penalty,
        user_failures=limits.failed_logins_per_user,
        longest_delay=limits.longest_login_delay,
    )


def load(config: Config) -> LoadPolicy:
    limits = config.limits
    return LoadPolicy(busy=limits.load, late=limits.delay, plane=limits.plane_load, store=limits.store_delay)


def bans(config: Config) -> BanPolicy:
    wanted = config.sip.bans
    return BanPolicy(
        after=wanted.after,
        window=wanted.window,
        time=wanted.time,
        sources=wanted.max_sources,
        scanners=wanted.scanners,
        never=(*wanted.never, *config.sip.proxies),
    )


def trunk_accounts(config: Config) -> tuple[TrunkAccount, ...]:
    """Every trunk as far as it concerns who calls; its account's HA1 is of our own realm, where it signs to us."""
    return tuple(
        TrunkAccount(
            name=trunk.name,
            sources=tuple(ipaddress.ip_network(source) for source in trunk.sources),
            hosts=tuple(canonical(Uri.parse(uri).host).strip("[]") for uri in trunk.uris),
            username=trunk.username,
            ha1=_ha1(trunk.username, config.realm, secret(trunk.password)),
            admits_registered=trunk.register_account,
        )
        for trunk in config.every_trunk
    )


def _ha1(username: str | None, realm: str, password: str | None) -> dict[str, str]:
    return passwords.ha1(username, realm, password) if username is not None and password is not None else {}


def presence(config: Config) -> PresenceSettings:
    wanted = config.presence
    return PresenceSettings(
        visible_to=wanted.visible_to,
        min_expires=wanted.min_expires,
        max_expires=wanted.max_expires,
        publications_per_user=wanted.max_publications_per_user,
    )


def subscriptions(config: Config) -> SubscriptionPolicy:
    wanted = config.presence
    return SubscriptionPolicy(
        min_expires=wanted.min_expires,
        max_expires=wanted.max_expires,
        total=wanted.max_subscriptions,
        per_subscriber=wanted.max_subscriptions_per_user,
        interval=wanted.notify_interval,
    )


def messages(config: Config) -> MessageSettings:
    wanted = config.messages
    return MessageSettings(
        max_size=wanted.max_size,
        content_types=wanted.content_types,
        per_minute=wanted.per_minute,
        burst=wanted.burst,
        keep=wanted.keep,
    )


def keeping(config: Config) -> Keeping | None:
    """What is kept for users who are away, None where nothing is; the store is not opened yet."""
    wanted = config.messages
    if wanted.store == "off":
        return None
    return Keeping(store=messages_named(wanted.store, config.state_dir), limit=wanted.max_stored)


def web(config: Config, console_token: str = "") -> WebSettings:
    limits = config.web.limits
    return WebSettings(
        allowed_origins=config.web.allowed_origins,
        strict_transport=config.web.strict_transport if config.web.tls.cert is not None else 0,
        public_url=config.web.public_url or "",
        proxies=config.web.proxies,
        link_lifetime=config.web.link_lifetime,
        open_rooms=config.web.rooms_open,
        rooms_from_here=config.web.open_rooms == "auto",
        guests_from_here=config.web.guests == "auto",
        staff_names=config.web.staff_names,
        ice_service=config.web.ice_service,
        ice_service_token=secret(config.web.ice_service_token) or "",
        push_services=config.web.push_services,
        issuer=config.domain,
        token_key=shared_key(config, "tokens"),
        sign_in_file=config.state_dir / "sign-ins.json",
        guesses_file=config.state_dir / "guesses-web.json",
        console_token=console_token,
        max_body=limits.max_message_size,
        max_message=limits.max_message_size,
        max_batch=limits.max_batch,
        offers_per_second=limits.offers_per_second,
        offer_burst=limits.offer_burst,
        setup_timeout=limits.setup_timeout,
        session_lifetime=limits.session_lifetime,
        max_connections=limits.max_connections,
        max_connections_per_address=limits.max_connections_per_source,
        messages_per_second=limits.requests_per_second,
        message_burst=limits.burst,
        messages_per_peer=limits.messages_per_peer,
        send_queue_messages=limits.send_queue,
        ping_interval=limits.ping_interval,
        ping_timeout=limits.ping_timeout,
        longest_backlog=limits.longest_backlog,
        max_sessions=limits.max_sessions,
        max_watches=config.presence.max_subscriptions_per_user,
        **_guesses(limits),
    )


def _guesses(limits: WebLimits) -> dict[str, Any]:
    """Return the settings for wrong passwords."""
    return {
        "failures_per_second": limits.failed_logins / max(limits.login_penalty, 1.0),
        "failure_burst": limits.failed_logins,
        "user_failures": limits.failed_logins_per_user,
        "longest_login_delay": limits.longest_login_delay,
    }


def oidc(config: Config) -> OidcSettings | None:
    """The provider where people may sign in; None: nowhere."""
    told = config.web.oidc
    if told.issuer is None:
        return None
    return OidcSettings(
        issuer=told.issuer,
        client_id=told.client_id,
        client_secret=secret(told.client_secret) or "",
        scopes=told.scopes,
        claim=told.claim,
        name=told.name,
        timeout=told.timeout,
    )


def waking(config: Config) -> Waking:
    """What wakes browsers; its key and their subscriptions are in `state_dir`."""
    contact = config.web.push_contact or f"mailto:postmaster@{config.domain}"
    services = config.web.push_services
    return Waking(folder=config.state_dir, services=services, contact=contact, wait=config.web.push_wait)


def user_agent(config: Config) -> UserAgentConfig:
    sip = config.sip
    told = sip.advertised
    return UserAgentConfig(
        listen=_listeners(config, "udp"),
        listen_tcp=_listeners(config, "tcp"),
        listen_tls=_listeners(config, "tls"),
        tls=sip_certificates(config),
        advertised=None if told is None else (told.host, told.port),
        domains=(config.domain,),
        user_agent=sip.user_agent,
        stack=StackConfig(
            timers=Timers(t1=sip.timers.t1, t2=sip.timers.t2, t4=sip.timers.t4),
            parser=Limits(message=sip.limits.max_message_size),
            admission=AdmissionLimits(
                rate=sip.limits.requests_per_second,
                burst=sip.limits.burst,
                trusted=(*sip.proxies, *(source for trunk in config.trunks for source in trunk.sources)),
                trunks=tuple(source for trunk in config.trunks for source in trunk.sources),
                trunk_invites=sip.limits.trunk_invites_per_second,
                trunk_burst=sip.limits.trunk_invite_burst,
            ),
            transactions=sip.limits.max_transactions,
            alias=sip.tls.cert is not None,
        ),
        subscriptions=subscriptions(config),
        udp=UdpLimits(dscp=sip.dscp),
        streams=StreamLimits(
            dscp=sip.dscp,
            connections=sip.limits.max_connections,
            reserved=min(StreamLimits().reserved, sip.limits.max_connections // 2),
            per_host=sip.limits.max_connections_per_source,
            idle=sip.limits.idle_timeout,
        ),
        session_timer=TimerPolicy(
            interval=sip.session_timer.expires if sip.session_timer.enabled else 0,
            minimum=sip.session_timer.min_se,
        ),
        resolver=ResolverConfig(timeout=sip.timers.lookup),
        sessions=sip.limits.max_dialogs,
        longest_ringing=sip.ring_timeout + 60,
        answer_patience=sip.timers.answer,
        flow_grace=sip.registration.websocket_grace,
        referral_time=sip.timers.transfer,
        crossing_wait=sip.timers.crossing,
        other_answers=sip.timers.other_answers,
        trickle_ice=sip.trickle_ice,
    )


def _listeners(config: Config, transport: str) -> tuple[tuple[str, int], ...]:
    return tuple((listen.host, listen.port) for listen in config.sip.listen if listen.transport == transport)


def sip_certificates(config: Config) -> TlsFiles:
    tls = config.sip.tls
    return TlsFiles(
        cert=tls.cert,
        key=tls.key,
        ca=tls.ca,
        client_certificates=tls.client_certificates,
        certificates=tuple((one.cert, one.key) for one in tls.certificates if one.cert and one.key),
        wildcards=tls.wildcards,
    )


def web_certificates(config: Config) -> TlsFiles:
    return TlsFiles(cert=config.web.tls.cert, key=config.web.tls.key)


def tls(config: Config) -> Tls:
    """HTTPS; without a certificate its `server` is None: plain HTTP. Raises ConfigError for files of no use."""
    files = Tls(web_certificates(config), "web.tls")
    files.load()
    return files
