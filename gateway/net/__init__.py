"""asyncio shell of the SIP core: sockets, resolver, user agent."""
