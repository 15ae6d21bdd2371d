"""Text messages, opened from the configuration."""

from __future__ import annotations

import asyncio

from gateway.app import settings
from gateway.app.opening import Opening
from gateway.call.routing import Router
from gateway.dialing.outgoing import GatewayDialer
from gateway.errors import ConfigError
from gateway.identity.mapping import IdentityMap
from gateway.legs.web_clients import Presence
from gateway.people.messages import MessageStoreError
from gateway.people.sip.messages import Messages
from gateway.trunks.accounts import Accounts


async def open_messages(
    opening: Opening,
    identity: IdentityMap,
    accounts: Accounts,
    router: Router,
    dialer: GatewayDialer,
    presence: Presence,
) -> Messages:
    """Until `opening.stack` ends; raises ConfigError where those that are kept cannot be read."""
    messages = Messages(
        identity,
        accounts,
        router,
        dialer,
        presence,
        settings.messages(opening.config),
        settings.keeping(opening.config),
        new_id=opening.token,
        wall_clock=opening.wall_clock,
        clock=asyncio.get_running_loop().time,
    )
    try:
        await messages.courier.open()
    except MessageStoreError as error:
        raise ConfigError("messages.store", f"cannot be used: {error}") from None
    opening.stack.push_async_callback(messages.courier.close)
    opening.sweep(messages.courier.expire)
    return messages
