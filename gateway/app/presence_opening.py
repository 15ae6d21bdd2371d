"""Who watches whom, opened from the configuration; in a cluster together with the other gateways."""

from __future__ import annotations

import asyncio

from gateway.access.own_names import OwnNames
from gateway.app import settings
from gateway.app.opening import Opening
from gateway.call.registry import Calls
from gateway.cluster.cluster import Cluster
from gateway.cluster.presence import SharedPresence
from gateway.identity.mapping import IdentityMap
from gateway.identity.store import IdentityStore
from gateway.people.contacts import Contacts
from gateway.people.lamps import Lamps
from gateway.people.presence import Presences
from gateway.people.sip.messages import Messages
from gateway.people.sip.publishing import PublicationRelay
from gateway.people.sip.relay import SubscriptionRelay
from gateway.people.sip.subscriptions import Subscriptions
from gateway.tasks import ended


def open_subscriptions(
    opening: Opening,
    identity: IdentityMap,
    store: IdentityStore,
    presences: Presences,
    messages: Messages,
    relay: SubscriptionRelay,
    calls: Calls,
    cluster: Cluster,
) -> tuple[Subscriptions, Contacts]:
    """Until `opening.stack` ends."""
    config, clock = opening.config, opening.wall_clock
    lamps = Lamps(identity, presences)
    calls.observe(lamps.call_changed)
    contacts = Contacts(identity, store, presences, clock)
    opening.stack.push_async_callback(contacts.close)
    wanted, now = settings.presence(config), asyncio.get_running_loop().time
    publishing = PublicationRelay(
        relay,
        lambda: messages.requester,
        new_tag=opening.token,
        clock=now,
        per_user=wanted.publications_per_user,
    )
    subscriptions = Subscriptions(
        identity,
        presences,
        lamps,
        contacts,
        messages.mailboxes,
        messages.count,
        wanted,
        OwnNames.of(config),
        new_tag=opening.token,
        clock=now,
        elsewhere=relay.subscribed,
        publish_elsewhere=publishing.publish,
    )
    opening.stack.push_async_callback(subscriptions.close)
    if cluster.node:

        async def read(user: str) -> None:
            await contacts.read(user)
            await lamps.read(user)

        def is_user(user: str) -> bool:
            return identity.by_id(user) is not None

        shared = SharedPresence(cluster, store, presences, read, is_user, clock, config.cluster.interval)
        opening.stack.push_async_callback(ended, asyncio.create_task(shared.run()))
    return subscriptions, contacts
