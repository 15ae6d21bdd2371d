"""Sends a message to a browser by its push service: encrypted for it (RFC 8291), signed by us (VAPID, RFC 8292)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.files import write_whole
from gateway.web.auth.tokens import vapid_token
from gateway.web.push.subscriptions import Subscription, Subscriptions, service_of

log = logging.getLogger(__name__)

_GONE = (404, 410)
_TOKEN_SECONDS = 12 * 3_600
_THREADS, _OF_ONE_SERVICE = 8, 3
"""A service that answers an octet at a time has threads for as long as it likes: it leaves others the rest."""
_MAX_WAITING, _MOST_OF_ONE_SERVICE = 200, 100
"""Messages that may be on their way at once; beyond it a browser is not woken."""


def read_key(path: Path | None) -> ec.EllipticCurvePrivateKey:
    """The key browsers know us by, made at the first use and kept in `path` for its owner only.

    With another key every browser has to subscribe anew, so one that cannot be kept or read is made for this run.
    """
    try:
        if path is not None and path.exists():
            key = load_pem_private_key(path.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
                return key
        made = ec.generate_private_key(ec.SECP256R1())
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_whole(path, pem)
    except (OSError, ValueError) as error:
        log.warning("the key for Web Push is not kept: %s", type(error).__name__)
        made = ec.generate_private_key(ec.SECP256R1())
    return made


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Where a push service points to is no push service that we know."""


class PushSender:
    """Sends in threads; a subscription that its service has given up is forgotten."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        key: ec.EllipticCurvePrivateKey,
        contact: str,
        *,
        services: tuple[str, ...],
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`contact`: the "mailto:" or "https:" URL a push service finds us by.

        `services`: as `checked` takes them; the hosts of one share what one may have, any other host has it alone.
        """
        self.public_key = _text(_point(key))
        """As `applicationServerKey` of a browser's subscription."""
        self.subscriptions = subscriptions
        self._key = key
        self._contact = contact
        self._services = services
        self._timeout = timeout
        self._clock = clock
        # Of its own: a service that hangs holds up nothing else that waits for a thread.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="push")
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()
        """Messages on their way, by their service."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Messages on their way."""

    def send(self, user: str, message: dict[str, Any], ttl: int) -> bool:
        """Send to every browser of the user, of use for `ttl` seconds; whether there is one."""
        found = self.subscriptions.of(user)
        for subscription in found:
            host = urlsplit(subscription.endpoint).hostname or ""
            service = service_of(subscription.endpoint, self._services) or host
            if len(self.tasks) >= _MAX_WAITING or self._waiting[service] >= _MOST_OF_ONE_SERVICE:
                log.warning("too many messages wait for push services, the last for %s", host)
                continue
            turn = self._turns.setdefault(service, asyncio.Semaphore(_OF_ONE_SERVICE))
            task = asyncio.get_running_loop().create_task(self._send(host, turn, subscription, message, ttl))
            self._waiting[service] += 1
            self.tasks.add(task)
            task.add_done_callback(partial(self._sent, service))
        return bool(found)

    def _sent(self, service: str, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._waiting[service] -= 1
        if not self._waiting[service]:
            del self._waiting[service], self._turns[service]

    async def _send(
        self, host: str, turn: asyncio.Semaphore, subscription: Subscription, message: dict[str, Any], ttl: int
    ) -> None:
        try:
            content = json.dumps(message).encode()
            loop = asyncio.get_running_loop()
            async with turn:
                status = await loop.run_in_executor(self._threads, self._post, subscription, content, ttl)
        except (OSError, HTTPException, ValueError) as error:
            log.warning("the push service %s did not answer: %s", host, type(error).__name__)
            return
        if status in _GONE:
            self.subscriptions.remove(subscription.endpoint)
        elif status >= 300:
            log.warning("the push service %s refused a message: %d", host, status)

    def _post(self, subscription: Subscription, content: bytes, ttl: int) -> int:
        p256dh, auth = subscription.keys
        body = http_ece.encrypt(
            content,
            salt=os.urandom(16),
            private_key=ec.generate_private_key(ec.SECP256R1()),
            dh=p256dh,
            auth_secret=auth,
            version="aes128gcm",
        )
        headers = {
            "Authorization": self._authorization(subscription.endpoint),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl),
            "Urgency": "high",
        }
        request = urllib.request.Request(subscription.endpoint, body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def _authorization(self, endpoint: str) -> str:
        """RFC 8292 section 3: a token for the origin of the push service, and our key."""
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}"
        token = vapid_token(origin, self._contact, self._clock() + _TOKEN_SECONDS, self._key)
        return f"vapid t={token}, k={self.public_key}"

    async def close(self) -> None:
        """Give up what is on its way, and wait until subscriptions are written."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.subscriptions.written()
        self._threads.shutdown(wait=False, cancel_futures=True)
