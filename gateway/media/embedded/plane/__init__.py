"""The packet path: what comes in, what goes out, and the routes between. Knows neither asyncio nor SDP."""
