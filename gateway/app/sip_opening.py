"""Who may speak SIP to us and who registers, made from the configuration."""

from __future__ import annotations

from collections.abc import Callable

from gateway.access.bans import Bans
from gateway.access.gatekeeper import Gatekeeper
from gateway.access.gruu import Gruus
from gateway.access.register import RegisterService
from gateway.accounts.trunks import Trunks
from gateway.app import settings
from gateway.app.cluster import Cluster
from gateway.app.cluster_settings import shared_key
from gateway.app.opening import Opening
from gateway.app.own_names import OwnNames
from gateway.identity.mapping import IdentityMap
from gateway.identity.store import IdentityStore
from gateway.net.user_agent import UserAgent


def open_gatekeeper(
    opening: Opening, identity: IdentityMap, store: IdentityStore, trunks: Trunks, bans: Bans, cluster: Cluster
) -> Gatekeeper:
    """Who lets requests in."""
    config = opening.config
    key = shared_key(config, "nonces") or opening.random(32)
    return Gatekeeper(
        identity,
        store,
        settings.digest(config, key, opening.wall_clock(), opening.random(1)[0]),
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
