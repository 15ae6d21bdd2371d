"""The gateway's HTTP API from Python: SDP offers and answers, sessions, and whole calls with sound.

async with GatewayClient("http://localhost:8080", user="alice", password="…") as client:
    async with await client.call("600", audio=microphone) as call:
        async for frame in call.frames():
            ...
"""

from gateway.client.call import Call
from gateway.client.http import Answer, ClientError, GatewayClient, IceCandidate, IceServer, SessionInfo

__all__ = ["Answer", "Call", "ClientError", "GatewayClient", "IceCandidate", "IceServer", "SessionInfo"]
