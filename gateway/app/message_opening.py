"""Text messages, opened from the configuration."""

from __future__ import annotations

import asyncio

from gateway.accounts.own import Accounts
from gateway.app import settings
from gateway.app.dialer import GatewayDialer
from gateway.app.messages import Messages
from gateway.app.opening import Opening
from gateway.app.presence import Presence
from gateway.call.routing import Router
from gateway.errors import ConfigError
from gateway.identity.mapping import IdentityMap
from gateway.people.messages import MessageStoreError


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
