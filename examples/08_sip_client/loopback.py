"""A gateway's configuration for one run of an example: loopback, free ports, nothing kept."""

from __future__ import annotations

import json

from gateway.config import Config, load
from gateway.demo.ports import free_ports


def gateway_config(folder: str, users: list[dict[str, object]]) -> Config:
    """What `gateway.yaml` and the environment would say, by the names of the environment variables."""
    web, sip, webrtc, rtp = free_ports(4)
    return load(
        None,
        {
            "GATEWAY_WEB__LISTEN": f"127.0.0.1:{web}",
            "GATEWAY_SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
            "GATEWAY_WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
            "GATEWAY_RTP__PORTS": f"{rtp}-{rtp + 99}",
            "GATEWAY_IDENTITY__STORE": "memory",
            "GATEWAY_STATE_DIR": folder,
            "GATEWAY_USERS": json.dumps(users),
        },
    )
