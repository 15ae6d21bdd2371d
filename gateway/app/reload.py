"""The configuration in use: what of a new one is applied while calls are up, and what waits for a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
from pydantic import BaseModel

from gateway import reading
from gateway.access.bans import Bans
from gateway.access.gatekeeper import Gatekeeper
from gateway.access.register import RegisterService
from gateway.access.sources import Networks
from gateway.app import media_settings, room_settings, settings
from gateway.call.call import Call
from gateway.call.load import LoadControl
from gateway.call.registry import Calls
from gateway.call.routing import Router
from gateway.call.state import State
from gateway.config import Config, checked
from gateway.config.people import Trunk
from gateway.dialing.incoming import SipFront
from gateway.dialing.rights import LegRights
from gateway.errors import ConfigError
from gateway.identity import passwords
from gateway.identity.directory import Directory
from gateway.identity.mapping import IdentityMap, Rule
from gateway.identity.model import Credential
from gateway.identity.provisioned import ProvisionedStore
from gateway.identity.store import StoreError
from gateway.legs.web_clients import Presence
from gateway.log import set_level
from gateway.media.engine import MediaEngine
from gateway.net.renewals import certificates_of
from gateway.net.tls import Tls, TlsFiles
from gateway.net.user_agent import UserAgent
from gateway.observe.message_log import MessageLog
from gateway.reading import Reading
from gateway.trunks.accounts import Account, Accounts
from gateway.trunks.care import TrunkCare
from gateway.trunks.known import Trunks
from gateway.voicemail.programs import Voicemail

log = structlog.get_logger(__name__)

LIVE = frozenset(
    {
        *("users", "identity.rules", "routes", "groups", "rooms", "conference.max_members", "trunks", "emergency"),
        *("conference.numbers", "conference.opened_by", "conference.min_pin", "conference.max_per_user"),
        *("conference.max_opened", "conference.empty_time", "conference.max_speakers"),
        *("accounts.registrars", "accounts.by_users", "accounts.register_expires"),
        *("voicemail.users", "voicemail.after", "voicemail.greeting", "voicemail.shortest"),
        *("codecs", "data", "text", "video", "log.level"),
        *("rtp.srtp", "rtp.srtp_keying", "rtp.srtp_suites"),
        *("rtp.latching", "rtp.media_timeout", "rtp.unreachable_timeout"),
        *("rtp.held_timeout", "rtp.silence_after"),
        *("rtp.silence_interval", "rtp.max_packets_per_second"),
        *("limits.max_calls", "limits.calls_per_second", "limits.guest_calls"),
        *("limits.load", "limits.delay", "limits.plane_load", "limits.store_delay"),
        *("limits.guest_calls_per_source", "limits.prefix_length", "limits.prefix_calls_per_hour"),
        *("limits.reattach_time", "limits.drain_timeout", "limits.max_call_duration", "limits.history_size"),
        *("sip.ring_timeout", "sip.park_timeout", "sip.max_diversions", "sip.outbound_proxy", "sip.bans"),
        *("sip.limits.requests_per_second", "sip.limits.burst", "sip.limits.failed_logins"),
        *("sip.limits.trunk_invites_per_second", "sip.limits.trunk_invite_burst"),
        *("sip.limits.login_penalty", "sip.limits.failed_logins_per_user", "sip.proxies"),
        *("sip.registration.min_expires", "sip.registration.default_expires", "sip.registration.max_expires"),
        *("sip.registration.max_contacts", "sip.registration.websocket_grace", "sip.registration.flow_timer"),
        *("sip.registration.flow_timeout", "media.service_max_duration", "media.hold_music"),
        *("web.guests", "web.guests_may_call", "web.ice_servers"),
        *("webrtc.stun_server", "webrtc.turn_secret", "webrtc.turn_lifetime"),
        "webrtc.turn_guest_lifetime",
    }
)
"""Keys, and whole sections, that a reload applies; every other one is named as waiting for a restart."""
_CERTIFICATES = frozenset({"cert", "key", "certificates", "client_certificates", "wildcards"})
_TLS = ("sip.tls", "web.tls")


class Reader(Protocol):
    """Reads the configuration whenever it needs something of it."""

    config: Config


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload, in dotted keys."""

    applied: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Those whose change takes a restart."""
    certificates: tuple[str, ...] = ()
    """One sentence for each certificate that was not read again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How a configuration differs from the one in force."""

    config: Config
    """The one to have in force: the new one, as far as it can be without a restart."""
    applied: tuple[str, ...]
    waiting: tuple[str, ...]


def changes(current: Config, wanted: Config) -> Changes:
    """What a reload of `wanted` does.

    Raises ConfigError where `wanted` cannot be had without what waits for a restart.
    """
    applied: list[str] = []
    waiting: list[str] = []
    config: Config = _merged(current, wanted, "", applied, waiting)
    try:
        checked(config)
    except ConfigError as error:
        raise ConfigError(error.key, f"{error.reason}, until a restart applies {', '.join(waiting)}") from None
    return Changes(config, tuple(applied), tuple(waiting))


def _merged(current: Any, wanted: Any, path: str, applied: list[str], waiting: list[str]) -> Any:
    values = {}
    for name, field in type(current).model_fields.items():
        key = f"{path}.{field.alias or name}".removeprefix(".")
        old, new = getattr(current, name), getattr(wanted, name)
        if key not in LIVE and isinstance(old, BaseModel):
            values[name] = _merged(old, new, key, applied, waiting)
        elif old == new:
            continue
        elif key in LIVE or (path in _TLS and name in _CERTIFICATES and None not in (current.cert, wanted.cert)):
            values[name] = new
            applied.append(key)
        else:
            waiting.append(key)
    return current.model_copy(update=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What is told of a configuration that is another one."""

    store: ProvisionedStore
    directory: Directory
    identity: IdentityMap
    accounts: Accounts
    router: Router
    new_router: Callable[[Config], Router]
    calls: Calls
    rights: LegRights
    load: LoadControl
    engine: MediaEngine
    voicemail: Voicemail
    user_agent: UserAgent
    gatekeeper: Gatekeeper
    bans: Bans
    registrar: RegisterService
    front: SipFront
    presence: Presence
    known_trunks: Trunks
    trunks: dict[str, Trunk]
    """By name; changed in place."""
    care: TrunkCare
    web_tls: Tls
    in_force: Callable[[Config, passwords.Passwords], None]
    """Told of the configuration, and the passwords, that everybody else is to read from now on."""


class Reloader:
    """One reload after the other; none of them ends a call or the process."""

    def __init__(
        self,
        config: Config,
        words: passwords.Passwords,
        reread: Callable[[], Config] | None,
        random: Callable[[int], bytes],
        rooms: Rooms,
    ) -> None:
        """`reread` reads the configuration again, and blocks; None: certificates alone are read again."""
        self._config = config
        self._words = words
        self._reread = reread
        self._random = random
        self._rooms = rooms
        self._reading = Reading()
        self._looking = {section: Reading() for section in _TLS}
        self._turn = asyncio.Lock()
        self._messages = MessageLog()
        self.waiting: tuple[str, ...] = ()
        """Keys whose new value takes a restart."""
        self.refused: str | None = None
        """The key for which the latest reload was refused; None: it was not."""
        self._unsettled: set[str] = set()
        """Ids of those whose credential the store may have otherwise, since a reload was refused."""
        self.leaving: set[str] = set()
        """Users who are no more, or others, and have a call: their pages are signed out at its end."""
        rooms.calls.observe(self.call_changed)
        self._show_messages(config)

    async def reload(self) -> Reloaded:
        """Read the configuration and apply what can be applied.

        Raises ConfigError for one that cannot be used: then nothing has changed.
        """
        async with self._turn:
            try:
                wanted = self._config if self._reread is None else await self._read(self._reread)
                found = changes(self._config, wanted)
                await self._check_certificates(found.config)
                await self._apply(found)
            except ConfigError as error:
                self.refused = error.key or "its file"
                log.error("the configuration was not reloaded", key=error.key, reason=error.reason)
                raise
            self.refused, self.waiting = None, found.waiting
            certificates = tuple([sentence async for sentence in self._renewed(found.config)])
        log.info("configuration reloaded", applied=list(found.applied), wait_for_restart=list(found.waiting))
        return Reloaded(found.applied, found.waiting, certificates)

    async def _read(self, reread: Callable[[], Config]) -> Config:
        """What the file says from now on. Raises ConfigError, also where it does not say it in time."""
        try:
            return await self._reading.ask(reread)
        except TimeoutError:
            reason = f"the configuration was not read within {reading.PATIENCE:g} s: its file does not answer"
            raise ConfigError("", reason) from None

    async def _check_certificates(self, config: Config) -> None:
        """Raises ConfigError where other files than those in use cannot be used."""
        for section, files, before in (
            ("sip.tls", settings.sip_certificates(config), settings.sip_certificates(self._config)),
            ("web.tls", settings.web_certificates(config), settings.web_certificates(self._config)),
        ):
            if files != before:
                await certificates_of(section, self._looking[section], Tls(files, section).load)

    async def _renewed(self, config: Config) -> AsyncIterator[str]:
        """Read every certificate again; a sentence for each that could not be."""
        rooms = self._rooms
        pairs: tuple[tuple[Tls, TlsFiles], ...] = (
            (rooms.user_agent.tls, settings.sip_certificates(config)),
            (rooms.web_tls, settings.web_certificates(config)),
        )
        for tls, files in pairs:
            try:
                await certificates_of(tls.section, self._looking[tls.section], files.touch)
                tls.change(files)
            except ConfigError as error:
                log.error("certificates were not renewed", key=error.key, reason=error.reason)
                yield str(error)
            else:
                log.info("certificates were read again", section=tls.section)

    async def _apply(self, found: Changes) -> None:
        config, rooms = found.config, self._rooms
        words = self._words
        others: Collection[str] = ()
        if found.applied or self._unsettled:
            words, others = await self._apply_users(config)
        self._apply_calls(config)
        self._apply_access(config)
        accounts = self._apply_accounts(config)
        rooms.in_force(config, words)
        self._config, self._words = config, words
        await rooms.care.change(config.every_trunk, config.accounts.register_expires)
        for account in accounts:
            rooms.care.registrations.put(account)
        set_level(config.log.level)
        self._show_messages(config)
        self._sign_out(others)

    async def _apply_users(self, config: Config) -> tuple[passwords.Passwords, Collection[str]]:
        """The passwords in force, and the ids of users that are others now, or no more."""
        rooms, before = self._rooms, {user.id: user for user in self._config.identity_users()}
        wanted, digests = config.passwords_wanted(), config.digests()
        words = await asyncio.to_thread(passwords.resolve, wanted, config.state_dir, self._random, digests)
        after = {user.id: user for user in config.identity_users()}
        others = {name for name, user in before.items() if after.get(name) != user}
        try:
            await self._write_credentials({*before, *after, *self._unsettled}, words.credentials(config.realm))
            await rooms.directory.configure(
                config.identity_users(), [Rule(rule.sip, rule.web) for rule in config.identity.rules]
            )
        except (ConfigError, StoreError) as error:
            await self._take_credentials_back()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError("identity.store", f"cannot be used: {error}") from None
        others |= self._unsettled
        self._unsettled.clear()
        await asyncio.to_thread(passwords.settle, words, config.state_dir)
        return words, others

    async def _write_credentials(self, users: Collection[str], wanted: Mapping[str, Credential]) -> None:
        """Those that are others than the ones in force, and those of a reload that failed. Raises StoreError."""
        rooms, realm = self._rooms, self._config.realm
        for name in sorted(users):
            credential = wanted.get(name) or rooms.directory.credential(name) or Credential(name, realm)
            known = rooms.store.credentials.get(name)
            if name in self._unsettled or (known != credential and (known is not None or credential.ha1)):
                self._unsettled.add(name)
                await rooms.store.put_credential(credential)

    async def _take_credentials_back(self) -> None:
        """What a refused reload has written; where the store is away, the next reload writes it again."""
        config = self._config
        try:
            await self._write_credentials(self._unsettled.copy(), self._words.credentials(config.realm))
            self._unsettled.clear()
        except StoreError as error:
            log.error("passwords of a refused reload may be in the store until the next reload", reason=str(error))

    def _apply_calls(self, config: Config) -> None:
        rooms = self._rooms
        rooms.trunks.clear()
        rooms.trunks.update({trunk.name: trunk for trunk in config.every_trunk})
        rooms.router.change(rooms.new_router(config))
        rooms.calls.change(settings.call_settings(config), settings.call_limits(config))
        rooms.rights.guests_may_call = settings.guests_may_call(config)
        rooms.load.policy = settings.load(config)
        wanted = room_settings.voicemail(config)
        rooms.voicemail.settings = replace(
            rooms.voicemail.settings,
            users=wanted.users if rooms.engine.capabilities.recording else (),
            after=wanted.after,
            greeting=wanted.greeting,
            shortest=wanted.shortest,
        )
        media_settings.change_engine(rooms.engine, config)

    def _apply_access(self, config: Config) -> None:
        rooms = self._rooms
        rooms.known_trunks.change(settings.trunk_accounts(config))
        rooms.front.rtp = config.rtp
        rooms.gatekeeper.kept = {name: tuple(known) for name, known in config.digests().items()}
        rooms.gatekeeper.guesses.policy = settings.lock_out(config)
        rooms.gatekeeper.proxies = Networks(config.sip.proxies)
        rooms.bans.change(settings.bans(config))
        rooms.registrar.policy = settings.registrar_policy(config)
        told = settings.user_agent(config)
        rooms.user_agent.change(
            admission=told.stack.admission, longest_ringing=told.longest_ringing, flow_grace=told.flow_grace
        )

    def _apply_accounts(self, config: Config) -> list[Account]:
        """Forget accounts that the configuration gives no more, and others whose registrar or user is gone.

        Those that it gives anew, which are to be registered.
        """
        accounts, registrations = self._rooms.accounts, self._rooms.care.registrations
        configured = {account.user: account for account in settings.configured_accounts(config)}
        listed = {trunk.name for trunk in config.registrars}
        for account in accounts:
            lost = account.configured and account.user not in configured
            if lost or account.registrar not in listed or self._rooms.identity.by_id(account.user) is None:
                registrations.drop(account.user)
                accounts.remove(account.user)
        given = [one for user, one in configured.items() if accounts.of(user) != one]
        for account in given:
            accounts.put(account)
        return given

    def _show_messages(self, config: Config) -> None:
        """A line for every SIP message at level debug."""
        rooms = self._rooms
        rooms.user_agent.taps.remove(self._messages)
        if config.log.level == "debug":
            rooms.user_agent.taps.add(self._messages)

    def call_changed(self, call: Call) -> None:
        """Sign out who had to wait for the end of a call."""
        self._messages.call_changed(call)
        if call.state is State.ENDED and self.leaving:
            waiting, self.leaving = self.leaving, set()
            self._sign_out(waiting)

    def _sign_out(self, users: Collection[str]) -> None:
        """Their pages sign in anew, with the rights that they have now; not while they talk."""
        talking = {leg.identity for call in self._rooms.calls if call.state is not State.ENDED for leg in call.legs}
        for user in users:
            if user in talking:
                self.leaving.add(user)
                continue
            for channel in self._rooms.presence.channels(user):
                channel.signed_out()
