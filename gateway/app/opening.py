"""The rooms that stand by themselves, opened from the configuration, each closed again when its turn comes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import structlog
from fastapi import FastAPI

from gateway.access.gruu import Gruus
from gateway.app import media_settings, settings
from gateway.cluster.settings import shared_key
from gateway.config import Config
from gateway.errors import AwayError, ConfigError
from gateway.identity import passwords
from gateway.identity.directory import Directory
from gateway.identity.mapping import IdentityMap
from gateway.identity.provisioned import ProvisionedStore
from gateway.identity.remembering import RememberingStore
from gateway.identity.store import IdentityStore, StoreError
from gateway.media.choice import choose
from gateway.media.described import Names
from gateway.media.embedded.plane.protocol import PlaneError
from gateway.media.engine import MediaEngine, MediaError, PortTakenError
from gateway.net.tls import Tls
from gateway.net.user_agent import UserAgent
from gateway.sip.errors import SipError
from gateway.sip.flow import WEBSOCKET
from gateway.sip.message.uri import Uri
from gateway.store.factory import store_named
from gateway.tasks import ended
from gateway.trunks.accounts import Accounts
from gateway.trunks.vault import Vault, read_key
from gateway.web import console
from gateway.web.app import bind, serve
from gateway.web.auth.links import GuestLinks
from gateway.web.settings import WebSettings
from gateway.web.sip_ws import create_sip_app

log = structlog.get_logger(__name__)

T = TypeVar("T")

_UNAVAILABLE = 503
"""Status of an engine that is not there."""
_EXPIRY_SECONDS = 60.0
"""How often what ran out is swept from a store."""
_OFFER_SECONDS = 60.0
"""How often it is looked whether commands on this machine find the gateway."""


class Opening:
    """What rooms are opened with; `stack` closes them in reverse order."""

    def __init__(self, config: Config, random: Callable[[int], bytes], wall_clock: Callable[[], float]) -> None:
        """`random` gives so many octets, `wall_clock` seconds since 1970."""
        self.config = config
        self.random = random
        self.wall_clock = wall_clock
        self.stack = AsyncExitStack()

    def token(self) -> str:
        """A name that nobody can guess."""
        return self.random(10).hex()

    def fraction(self) -> float:
        """A number from 0 up to 1."""
        return int.from_bytes(self.random(4), "big") / 2**32

    async def opened(self, key: str, opening: Awaitable[T]) -> T:
        """The result of `opening`; what the system refuses is a ConfigError of `key`.

        A taken port, and an engine that does not answer, is an AwayError.
        """
        try:
            return await opening
        except (OSError, MediaError) as error:
            is_taken = isinstance(error, PortTakenError) or getattr(error, "errno", None) == errno.EADDRINUSE
            is_mute = isinstance(error, MediaError) and error.status == _UNAVAILABLE
            kind = AwayError if is_taken or is_mute else ConfigError
            raise kind(key, f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None

    def sweep(self, expire: Callable[[float], Awaitable[int]], interval: float = _EXPIRY_SECONDS) -> None:
        """Have what ran out dropped every minute, or `interval` seconds."""
        self.stack.push_async_callback(ended, asyncio.create_task(self._sweep(expire, interval)))

    async def _sweep(self, expire: Callable[[float], Awaitable[int]], interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await expire(self.wall_clock())
            except StoreError as error:
                log.warning("what has expired is swept later", reason=str(error))
            except Exception:
                log.exception("sweeping what has expired failed")


async def open_directory(opening: Opening, identity: IdentityMap, store: ProvisionedStore) -> Directory:
    """Users and identities that administrators made, taken into `identity`; raises ConfigError."""
    directory = Directory(identity, store, opening.config.realm, opening.token)
    try:
        await directory.load()
    except StoreError as error:
        raise unusable(opening.config, error) from None
    return directory


def unusable(config: Config, error: Exception) -> ConfigError:
    """Of the store; a server may be there later, a file is as it is."""
    kind = AwayError if config.identity.store.startswith("redis") else ConfigError
    return kind("identity.store", f"cannot be used: {error}")


async def open_store(opening: Opening) -> tuple[ProvisionedStore, passwords.Passwords, Callable[[], float]]:
    """Bindings and credentials, and how long the store takes to answer (s); raises ConfigError."""
    config = opening.config
    words = passwords.resolve(config.passwords_wanted(), config.state_dir, opening.random, config.digests())
    named = store_named(config.identity.store, config.state_dir)
    kept = RememberingStore(named, asyncio.get_running_loop().time)
    store = ProvisionedStore(kept, words.credentials(config.realm))
    try:
        await store.open()
        opening.stack.push_async_callback(store.close)
        await passwords.provision(store, words, config.realm)
        passwords.settle(words, config.state_dir)
    except (StoreError, OSError) as error:
        raise unusable(config, error) from None
    opening.sweep(store.expire)
    return store, words, kept.took


def open_accounts(opening: Opening, identity: IdentityMap) -> Accounts:
    """Users' own accounts: those of the configuration, and those that users brought. Raises ConfigError."""
    config = opening.config
    key = read_key(config.state_dir, opening.random)
    vault, accounts = Vault(config.state_dir, key, opening.random), Accounts(shared_key(config, "contacts") or key, key)
    for account in vault.read(settings.registrar_places(config).get):
        if identity.by_id(account.user) is not None:
            accounts.put(account)
    for account in settings.configured_accounts(config):
        accounts.put(account)
    return accounts


def open_links(
    opening: Opening, store: IdentityStore, directory: Directory, refusal: Callable[[str, str], str]
) -> GuestLinks | None:
    """Links for guests, swept of those that ran out; None where there are none. `refusal` as GuestLinks has it."""
    config, clock = opening.config, opening.wall_clock
    lifetime = config.web.link_lifetime
    if not lifetime:
        return None
    links = GuestLinks(store, config.domain, lifetime, clock, opening.random, mark=directory.mark, refusal=refusal)
    opening.sweep(links.expire)
    return links


def open_gruus(opening: Opening) -> Gruus:
    """URIs of single devices, with a key that outlives a restart; raises ConfigError."""
    key = shared_key(opening.config, "gruu") or read_key(opening.config.state_dir, opening.random, "gruu.key")
    return Gruus(opening.config.domain, key, opening.random)


class HostNames:
    """Host names of media and of SIP URIs, looked up by the resolver of the user agent, which is opened later."""

    def __init__(self, user_agent: Callable[[], UserAgent]) -> None:
        self._user_agent = user_agent

    async def address_of(self, name: str, version: int) -> str | None:
        return await self._user_agent().address_of(name, version)

    def last_addresses(self, host: str) -> tuple[str, ...]:
        return self._user_agent().last_addresses(host)

    async def look_up(self, host: str) -> None:
        with contextlib.suppress(SipError):
            await self._user_agent().resolve(Uri.parse(f"sip:{host}"))


async def open_media(opening: Opening, names: Names) -> MediaEngine:
    """The media engine on the packet plane that can be had; raises ConfigError."""
    config, clock = opening.config, asyncio.get_running_loop().time
    choice = choose(config)
    engine = media_settings.engine(config, clock, choice, owner=_owner(opening), names=names)
    try:
        await opening.opened(media_settings.engine_key(config), engine.start())
    except PlaneError as error:
        if not choice.may_fall_back:
            # Who has it may be ending, and a plane of another version does; a secret that is not its own stays so.
            kind = ConfigError if error.code == "refused" else AwayError
            raise kind("media.plane", str(error)) from None
        log.warning("packets are forwarded in this process", reason=str(error))
        engine = media_settings.engine(config, clock, names=names)
        await opening.opened(media_settings.engine_key(config), engine.start())
    opening.stack.push_async_callback(engine.close)
    return engine


def _owner(opening: Opening) -> str:
    """By what a restarted gateway knows its calls at an rtpengine again; raises ConfigError for a damaged key."""
    if not opening.config.media.rtpengines:
        return ""
    key = read_key(opening.config.state_dir, opening.random)
    return hmac.digest(key, b"rtpengine", hashlib.sha256)[:6].hex() + "-"


async def open_websockets(opening: Opening, user_agent: UserAgent) -> list[tuple[str, str, int]]:
    """Listeners for SIP over WebSocket alone, beside the one on the web port: transport, host and port of each."""
    found = []
    web_settings = settings.web(opening.config)
    for index, listen in enumerate(opening.config.sip.listen):
        if listen.transport in WEBSOCKET:
            tls = user_agent.tls.server if listen.transport == "wss" else None
            sip_app = create_sip_app(user_agent.websocket, web_settings)
            serving = serve(sip_app, listen.host, listen.port, tls, web_settings)
            server = await opening.opened(f"sip.listen.{index}", serving)
            opening.stack.push_async_callback(server.stop)
            found.append((listen.transport, *server.address))
    return found


async def open_page(opening: Opening, application: FastAPI, web_settings: WebSettings) -> tuple[int, Tls]:
    """Serve the web side, and offer it to commands on this machine; its port, and its certificates."""
    listen, tls = opening.config.web.listen, settings.tls(opening.config)
    also = []
    for index, further in enumerate(opening.config.web.also_listen):
        listener = await opening.opened(f"web.also_listen.{index}", bind(further.host, further.port))
        opening.stack.callback(listener.close)
        also.append(listener)
    serving = serve(application, listen.host, listen.port, tls.server, web_settings, also)
    server = await opening.opened("web.listen", serving)
    opening.stack.push_async_callback(server.stop)
    scheme = "https" if tls.server is not None else "http"
    url = f"{scheme}://{settings.reachable(listen.host)}:{server.port}"
    access = console.ConsoleAccess(url, web_settings.console_token)
    opening.stack.callback(console.withdraw, opening.config.state_dir, access)

    async def offer(now: float) -> int:
        console.offer(opening.config.state_dir, access)
        return 0

    await offer(0.0)
    opening.sweep(offer, _OFFER_SECONDS)  # where the disk had no room for it
    return server.port, tls
