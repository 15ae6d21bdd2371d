"""Who may speak SIP to us and who registers, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.access.bans import Bans
from gateway.access.gatekeeper import Gatekeeper
from gateway.access.gruu import Gruus
from gateway.access.own_names import OwnNames
from gateway.access.register import RegisterService
from gateway.app import settings
from gateway.app.opening import Opening
from gateway.cluster.cluster import Cluster
from gateway.cluster.settings import shared_key
from gateway.files import write_whole
from gateway.identity.mapping import IdentityMap
from gateway.identity.store import IdentityStore
from gateway.net.user_agent import UserAgent
from gateway.trunks.known import Trunks

log = structlog.get_logger(__name__)

MARK_FILE = "nonces.mark"
GUESSES_FILE = "guesses-sip.json"


def open_gatekeeper(
    opening: Opening, identity: IdentityMap, store: IdentityStore, trunks: Trunks, bans: Bans, cluster: Cluster
) -> Gatekeeper:
    """Who lets requests in."""
    config = opening.config
    key = shared_key(config, "nonces")
    mark = 0 if key is None else next_mark(config.state_dir, opening.random)
    gatekeeper = Gatekeeper(
        identity,
        store,
        settings.digest(config, key or opening.random(32), opening.wall_clock(), mark),
        OwnNames.of(config),
        trunks,
        opening.wall_clock,
        opening.random,
        settings.lock_out(config),
        settings.algorithms(config),
        {name: tuple(known) for name, known in config.digests().items()},
        bans,
        cluster.verify,
        config.sip.proxies,
    )
    gatekeeper.guesses.keep_in(config.state_dir / GUESSES_FILE, opening.wall_clock, opening.wall_clock)
    opening.stack.push_async_callback(gatekeeper.guesses.written)
    return gatekeeper


def next_mark(state_dir: Path, random: Callable[[int], bytes]) -> int:
    """Another one (0 to 255) than the process before had, as the state folder says; drawn where that says nothing."""
    path, drawn = state_dir / MARK_FILE, random(1)[0]
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError, ValueError):
            drawn = (int(path.read_text("ascii")) + 1) % 256
        write_whole(path, str(drawn))
    except OSError as error:
        log.warning("nonces of the process before may be good", reason=str(error.strerror))
        return random(1)[0]
    return drawn


def open_registrar(
    opening: Opening,
    identity: IdentityMap,
    store: IdentityStore,
    user_agent: Callable[[], UserAgent],
    gruus: Gruus,
    cluster: Cluster,
) -> RegisterService:
    """Who answers REGISTER, until the stack of `opening` ends; `user_agent` is there once one comes."""
    registrar = RegisterService(
        identity,
        store,
        settings.registrar_policy(opening.config),
        opening.wall_clock,
        lambda flow: user_agent().is_reachable(flow, is_flow=True),
        lambda flow, seconds: user_agent().expect_keep_alives(flow, seconds),
        gruus.of,
        cluster.node,
        gruus.read,
    )
    opening.stack.push_async_callback(registrar.close)
    return registrar
