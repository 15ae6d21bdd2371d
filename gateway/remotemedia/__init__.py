"""The RemoteMedia transport in Python: peers found by JSON-RPC signalling, audio, video, data and files by WebRTC.

    config = WebRtcTransportConfig(signaling_url="ws://localhost:8080", max_peers=10)
    transport = WebRtcTransport(config)
    await transport.start()
    peer_id = await transport.connect_peer("peer-remote")
    await transport.send_audio(peer_id, numpy.zeros(960, numpy.float32))   # 20 ms at 48 kHz

Built on aiortc; it knows nothing of the gateway but its signalling.
"""

from gateway.remotemedia.config import WebRtcTransportConfig
from gateway.remotemedia.errors import PeerNotFound, SignalingError, TransportError
from gateway.remotemedia.media import AudioEncoderConfig
from gateway.remotemedia.peer import Peer
from gateway.remotemedia.transport import Metrics, PeerManager, Session, WebRtcTransport

__all__ = [
    "AudioEncoderConfig",
    "Metrics",
    "Peer",
    "PeerManager",
    "PeerNotFound",
    "Session",
    "SignalingError",
    "TransportError",
    "WebRtcTransport",
    "WebRtcTransportConfig",
]
