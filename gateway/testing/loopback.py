"""A gateway's configuration for one run of a program or a test: loopback, free ports, nothing kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

from gateway.config import Config, load
from gateway.demo.ports import free_ports


def loopback_config(folder: str | PathLike[str], users: Iterable[Mapping[str, Any]] = (), **variables: str) -> Config:
    """A configuration on free ports of 127.0.0.1 with these users; secrets are kept in `folder`.

    `variables` are GATEWAY_ variables without their prefix: `SIP__RING_TIMEOUT="5"`. Raises ConfigError.
    """
    web, sip, webrtc, rtp = free_ports(4)
    environ = {
        "WEB__LISTEN": f"127.0.0.1:{web}",
        "SIP__LISTEN": f'["udp:127.0.0.1:{sip}"]',
        "WEBRTC__LISTEN": f"127.0.0.1:{webrtc}",
        "RTP__PORTS": f"{rtp}-{rtp + 99}",
        "IDENTITY__STORE": "memory",
        "STATE_DIR": fspath(folder),
        "USERS": json.dumps([dict(user) for user in users]),
        **variables,
    }
    return load(None, {f"GATEWAY_{name}": value for name, value in environ.items()})
