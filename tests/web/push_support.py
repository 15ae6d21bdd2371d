"""A push service on loopback, and a browser's keys: what it is sent can be read as the browser would."""

from __future__ import annotations

import base64
import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.web.push.subscriptions import Subscription


def text(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class PushBrowser:
    """The receiving end of a subscription."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    def subscription(self, endpoint: str) -> Subscription:
        """As it subscribes at that endpoint."""
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return Subscription(endpoint=endpoint, p256dh=text(point), auth=text(self.auth))

    def read(self, body: bytes) -> Any:
        """The JSON that was encrypted for it (RFC 8291)."""
        return json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"))


@dataclass
class PushService:
    """`requests` are (path, headers, body), as they came."""

    origin: str
    status: int = 201
    location: str = ""
    requests: queue.Queue[tuple[str, dict[str, str], bytes]] = field(default_factory=queue.Queue)
    connections: int = 0
    """How many were made, for whatever method."""

    def next(self) -> tuple[str, dict[str, str], bytes]:
        """The next request, within 30 s."""
        return self.requests.get(timeout=30)


@contextmanager
def push_service() -> Iterator[PushService]:
    """Listens on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def setup(self) -> None:
            service.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(service.status)
            if service.location:
                self.send_header("Location", service.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            service.requests.put((self.path, dict(self.headers), body))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = PushService(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
