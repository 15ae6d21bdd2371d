"""Web Push: only for known services, readable by the browser alone, forgotten where it is of no use."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.app.settings import waking
from gateway.config import load
from gateway.web.app import WaysIn, WebSettings, create_app
from gateway.web.push.sender import PushSender, read_key
from gateway.web.push.subscriptions import Subscription, SubscriptionError, Subscriptions, checked
from gateway.web.push.waker import Waker
from tests.ports import free_ports
from tests.rows import by_row
from tests.web.fake import FakeGateway
from tests.web.push_support import PushBrowser, PushService, push_service, text

SERVICES = ("https://fcm.example.com", "https://*.push.example.com", "http://127.0.0.1:8123")


def _sender(path: Path | None = None) -> PushSender:
    subscriptions = Subscriptions(path and path / "push.json", str)
    return PushSender(subscriptions, read_key(path and path / "push.pem"), "mailto:admin@example.com", services=())


async def _sent(sender: PushSender, service: PushService, **message: Any) -> tuple[str, dict[str, str], bytes]:
    assert sender.send("alice", message, 10)
    return await asyncio.to_thread(service.next)


async def test_a_message_is_read_by_its_browser_and_signed_by_us() -> None:
    """RFC 8291 and RFC 8292, as a push service and a browser see them."""
    sender, browser = _sender(), PushBrowser()
    with push_service() as service:
        sender.subscriptions.add("alice", browser.subscription(service.origin + "/one"))
        path, headers, body = await _sent(sender, service, type="call", **{"from": "Zoë"})
        await sender.close()
    assert path == "/one"
    assert browser.read(body) == {"type": "call", "from": "Zoë"}
    assert (headers["Ttl"], headers["Urgency"], headers["Content-Encoding"]) == ("10", "high", "aes128gcm")
    scheme, _, rest = headers["Authorization"].partition(" ")
    given = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert (scheme, given["k"]) == ("vapid", sender.public_key)
    point = base64.urlsafe_b64decode(given["k"] + "=")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    claims = jwt.decode(given["t"], public, algorithms=["ES256"], audience=service.origin)
    assert claims["sub"] == "mailto:admin@example.com"


async def test_a_service_that_hangs_holds_up_nothing_else() -> None:
    """It takes connections and never answers: work that has nothing to do with it finds a thread."""
    sender, browser = _sender(), PushBrowser()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for number in range(64):
            sender.subscriptions.add(f"{number}", browser.subscription(f"{origin}/{number}"))
            assert sender.send(f"{number}", {"type": "call"}, 10)
        await asyncio.sleep(0)  # each waits for a thread now
        await asyncio.to_thread(str)
        assert len(sender.tasks) == 64
        await sender.close()


async def test_a_service_that_hangs_leaves_threads_to_others(tmp_path: Path) -> None:
    """However long it takes, by however many hosts, and however many wait for it: the other half are of others."""
    browser, [port] = PushBrowser(), free_ports(1)
    hosts = [f"127.{number}.0.1" for number in (1, 2, 3)]
    known = ["https://*.push.example.com"]
    environ = {"GATEWAY_STATE_DIR": str(tmp_path), "GATEWAY_WEB__PUSH_SERVICES": json.dumps(known)}
    settings = waking(load(None, environ))
    assert list(settings.services) == known
    sender = Waker(replace(settings, services=(f"http://*.0.1:{port}",)), time.time, str).sender
    sender._timeout = 120
    with ExitStack() as stack, push_service() as service:
        for host in hosts:
            stack.enter_context(socket.create_server((host, port), backlog=128))
        for number in range(120):
            sender.subscriptions.add(f"{number}", browser.subscription(f"http://{hosts[number % 3]}:{port}/{number}"))
            assert sender.send(f"{number}", {"type": "call"}, 10)
        assert len(sender.tasks) == 100
        sender.subscriptions.add("carol", browser.subscription(f"{service.origin}/wake"))
        assert sender.send("carol", {"type": "call"}, 10)
        path, *_ = await asyncio.to_thread(service.next)
        assert path == "/wake"
        await sender.close()


@pytest.mark.parametrize("status", [404, 410])
async def test_a_subscription_that_its_service_gave_up_is_forgotten(status: int) -> None:
    """And nobody is there to be woken then."""
    sender, browser = _sender(), PushBrowser()
    with push_service() as service:
        service.status = status
        sender.subscriptions.add("alice", browser.subscription(service.origin))
        await _sent(sender, service, type="call")
        async with asyncio.timeout(30):
            while sender.subscriptions.of("alice"):  # noqa: ASYNC110  # the thread tells nobody
                await asyncio.sleep(0.01)
    assert not sender.send("alice", {}, 10)


@by_row("status", [301, 302, 303, 307])
async def test_a_redirect_is_not_followed_and_a_fault_costs_nothing(status: int) -> None:
    """A push service could point at anything in our network, with a GET as well."""
    sender, browser = _sender(), PushBrowser()
    with push_service() as service, push_service() as inner:
        service.status, service.location = status, inner.origin + "/secret"
        sender.subscriptions.add("alice", browser.subscription(service.origin))
        await _sent(sender, service, type="call")
        service.status = 500
        await _sent(sender, service, type="call")
        await asyncio.gather(*sender.tasks)
        assert inner.requests.empty()
        assert inner.connections == 0
    assert sender.send("alice", {"type": "call"}, 10)  # nobody listens there now
    await asyncio.gather(*sender.tasks)
    assert sender.subscriptions.of("alice")


@by_row(
    "endpoint",
    [
        "https://fcm.example.com/x",
        "https://web.push.example.com/x?y",
        "https://a.b.push.example.com/",
        "http://127.0.0.1:8123/x",
    ],
)
def test_known_services_are_taken(endpoint: str) -> None:
    """With any path."""
    assert checked(PushBrowser().subscription(endpoint), SERVICES).endpoint == endpoint


@by_row(
    "endpoint",
    [
        "https://push.example.com/x",
        "https://evilpush.example.com/x",
        "https://web.push.example.com.evil.test/x",
        "https://web.push.example.com:8443/x",
        "http://fcm.example.com/x",
        "http://127.0.0.1:8124/x",
        "http://[::1/x",
        "https://fcm.example.com:x/",
        "https://user:word@fcm.example.com/x",
        "https://fcm.example.com\\@127.0.0.1/x",
        "https://evil.test\\.push.example.com/x",
        "https://evil.test%2f.push.example.com/x",
        "https://evil.test%00.push.example.com/x",
        "https://evil.test,web.push.example.com/x",
        "https://[evil.test].push.example.com/x",
        "https://.push.example.com/x",
        "https://a..push.example.com/x",
        "https://-a.push.example.com/x",
        "https://" + "a" * 64 + ".push.example.com/x",
        "https://fcm.example.com/a b",
        "https://fcm.example.com/\r\nHost: x",
        "https://fcm.example.com/" + "x" * 1_100,
        "file:///etc/passwd",
        "",
    ],
)
def test_any_other_endpoint_is_refused(endpoint: str) -> None:
    """Nobody has the gateway send something to where they like."""
    with pytest.raises(SubscriptionError):
        checked(PushBrowser().subscription(endpoint), SERVICES)


@by_row(
    ("p256dh", "auth"),
    [("", ""), ("%%", "%%"), (text(b"\4" + bytes(64)), text(bytes(16))), (text(bytes(65)), text(bytes(16)))],
)
def test_keys_that_nothing_can_be_encrypted_for_are_refused(p256dh: str, auth: str) -> None:
    """Not base64url, no point, a point that is not on the curve."""
    with pytest.raises(SubscriptionError):
        checked(Subscription(endpoint="https://fcm.example.com/", p256dh=p256dh, auth=auth), SERVICES)


def test_subscriptions_outlive_a_restart_for_their_owner_only(tmp_path: Path) -> None:
    """The oldest of a user give way; who signs in later on a browser has it; a damaged file is begun anew."""
    path, browser = tmp_path / "push.json", PushBrowser()
    table = Subscriptions(path, str, limit_per_user=2)
    for name in "abc":
        table.add("alice", browser.subscription(f"https://fcm.example.com/{name}"))
    table.add("bob", browser.subscription("https://fcm.example.com/c"))
    again = Subscriptions(path, str)
    assert [one.endpoint[-1] for one in again.of("alice")] == ["b"]
    assert [one.endpoint[-1] for one in again.of("bob")] == ["c"]
    assert path.stat().st_mode & 0o077 == 0
    assert not again.remove("https://fcm.example.com/c", "alice")
    assert again.remove("https://fcm.example.com/c", "bob")
    path.write_text('{"version": 1, "users": {"alice": [{"endpoint": 1}]}}')
    assert Subscriptions(path, str).of("alice") == ()


def test_a_new_password_ends_what_the_old_one_subscribed(tmp_path: Path) -> None:
    """Also after a restart, until the browser signs in again; so does the end of the user."""
    marks: dict[str, str] = {"alice": "old"}
    path, given = tmp_path / "push.json", PushBrowser().subscription("https://fcm.example.com/a")
    table = Subscriptions(path, marks.get)
    table.add("alice", given)
    assert table.of("alice") == (given,)
    for mark in ({"alice": "new"}, {}):
        marks.clear()
        marks.update(mark)
        assert table.of("alice") == Subscriptions(path, marks.get).of("alice") == ()
    marks["alice"] = "new"
    table.add("alice", given)
    assert table.of("alice") == Subscriptions(path, marks.get).of("alice") == (given,)


def test_browsers_know_us_by_the_same_key_after_a_restart(tmp_path: Path) -> None:
    """Else every one of them would have to subscribe anew; a damaged key is no reason not to start."""
    first = _sender(tmp_path).public_key
    assert _sender(tmp_path).public_key == first
    assert (tmp_path / "push.pem").stat().st_mode & 0o077 == 0
    (tmp_path / "push.pem").write_text("nonsense")
    assert _sender(tmp_path).public_key != first


async def test_who_signed_in_subscribes_and_unsubscribes_a_browser() -> None:
    """Over /api/push; strangers and unknown services are refused."""
    sender = _sender()
    app = create_app(FakeGateway(), WebSettings(push_services=SERVICES), WaysIn(push=sender))
    given = PushBrowser().subscription("https://fcm.example.com/1")
    body = {"endpoint": given.endpoint, "keys": {"p256dh": given.p256dh, "auth": given.auth}}
    alice, bob = {"Authorization": "Bearer alice:wonder"}, {"Authorization": "Bearer bob:builder"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as http:
        assert (await http.get("/api/push")).status_code == 401
        assert (await http.post("/api/push", json=body)).status_code == 401
        assert (await http.get("/api/push", headers=alice)).json() == {"key": sender.public_key}
        assert (await http.post("/api/push", json=body, headers=alice)).status_code == 204
        elsewhere = body | {"endpoint": "https://evil.example/"}
        refused = await http.post("/api/push", json=elsewhere, headers=alice)
        assert (refused.status_code, "web.push_services" in refused.json()["error"]) == (400, True)
        assert sender.subscriptions.of("alice") == (given,)
        gone = {"endpoint": given.endpoint}
        assert (await http.post("/api/push/remove", json=gone, headers=bob)).status_code == 204
        assert sender.subscriptions.of("alice") == (given,)
        assert (await http.post("/api/push/remove", json=gone, headers=alice)).status_code == 204
        assert sender.subscriptions.of("alice") == ()
