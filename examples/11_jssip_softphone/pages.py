"""The softphone's page: a web server of three files and nothing else, and what the page shows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gateway import GatewayError

HERE = Path(__file__).parent
JSSIP = Path(sys.prefix) / "sip-libraries.js"
FILES = {
    "/": (HERE / "softphone.html", "text/html; charset=utf-8"),
    "/softphone.js": (HERE / "softphone.js", "text/javascript"),
    "/jssip.js": (JSSIP, "text/javascript"),
}


class Handler(BaseHTTPRequestHandler):
    """Gives what `FILES` lists."""

    def do_GET(self) -> None:
        file, kind = FILES.get(self.path, (None, ""))
        if file is None:
            return self.send_error(404)
        body = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the lesson has its own words."""


def origin(port: int) -> str:
    """The origin of a page at this port, as browsers write it: 80 is left out (RFC 6454 section 6.2)."""
    return "http://localhost" if port == 80 else f"http://localhost:{port}"


@contextmanager
def site(port: int = 0) -> Iterator[str]:
    """The page's origin as long as it is served; any free port for 0."""
    if not JSSIP.exists():
        sys.exit("FAIL: JsSIP is not there; fetch it with: scripts/sip-libraries .venv")
    try:
        server = ThreadingHTTPServer(("localhost", port), Handler)
    except (OSError, OverflowError) as error:
        sys.exit(f"FAIL: port {port} cannot be used ({error}); choose another: --port 8081")
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield origin(server.server_port)
        finally:
            server.shutdown()


async def shows(page: Any, state: str) -> str:
    """Wait until the softphone's page shows that state; its words, or GatewayError with what it says instead."""
    return await words_once(page, f"document.body.dataset.state === '{state}'", f"the page is not {state}")


async def words_once(page: Any, condition: str, otherwise: str) -> str:
    """What the page says once the condition holds; GatewayError with its words where that takes too long."""
    from playwright.async_api import TimeoutError as PageTimeout  # of the extra `browser`

    try:
        await page.wait_for_function(condition, timeout=10_000)
    except PageTimeout:
        raise GatewayError(f"{otherwise}; it says: {await page.inner_text('#status')}") from None
    return str(await page.inner_text("#status"))


async def settled(page: Any) -> str:
    """What the softphone's page says once it no longer connects: ready, offline, or why it is refused."""
    return await words_once(page, "document.body.dataset.state !== 'connecting'", "the page goes on connecting")
