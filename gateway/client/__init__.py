"""The gateway's HTTP API from Python: SDP offers and answers, sessions, and whole calls with sound.

async with GatewayClient("http://localhost:8080", user="alice", password="…") as client:
    async with await client.call("bob", audio=microphone) as call:
        await call.answered()
        async for frame in call.frames():
            ...
"""

from gateway.client.call import Call
from gateway.client.errors import ClientError
from gateway.client.http import GatewayClient
from gateway.client.values import Answer, IceCandidate, IceServer, SessionInfo, SessionState

__all__ = ["Answer", "Call", "ClientError", "GatewayClient", "IceCandidate", "IceServer", "SessionInfo", "SessionState"]
