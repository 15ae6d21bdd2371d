"""Who is told of the soak's calls: a webhook of call records, an OpenTelemetry collector, and Homer."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE = 60.0
"""Seconds until everybody has been told of the last call."""
_RECORDS, _TRACES = "/records", "/v1/traces"
_PROTOCOL = 11
"""Chunk of HEP3 that says what is told."""
HEP_SIP, HEP_RTCP = 1, 5


def _calls(told: ExportTraceServiceRequest) -> Iterator[str]:
    """Trace of each span that is a call's own."""
    for resource in told.resource_spans:
        for scope in resource.scope_spans:
            yield from (span.trace_id.hex() for span in scope.spans if not span.parent_span_id)


class Collectors:
    """On loopback, in threads of their own; each takes what it is sent, and counts it."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        """How often each call's record came, by its id."""
        self.traces: Counter[str] = Counter()
        """How often each call's span came, by the id of its trace."""
        self.copies: Counter[int] = Counter()
        """Datagrams of HEP, by what they tell."""
        self._news = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._homer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._homer.bind(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._server.serve_forever), threading.Thread(target=self._listen)]

    @property
    def environ(self) -> dict[str, str]:
        """How a gateway is told of them."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "CDR__WEBHOOK": base + _RECORDS,
            "OTEL__ENDPOINT": base,
            "HEP__COLLECTOR": f"127.0.0.1:{self._homer.getsockname()[1]}",
            "HEP__REPORT_INTERVAL": "1",
        }

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._homer.sendto(b"", self._homer.getsockname())
        for thread in self._threads:
            thread.join()
        self._homer.close()

    async def faults(self, file: Path) -> list[str]:
        """What has not come, though the calls of `file` are over; waits for it."""

        def settle() -> list[str]:
            with self._news:
                self._news.wait_for(lambda: not self._faults(file), PATIENCE)
                return self._faults(file)

        return await asyncio.to_thread(settle)

    def _faults(self, file: Path) -> list[str]:
        calls = [json.loads(line)["id"] for line in file.read_text().rpartition("\n")[0].splitlines()]
        wanted = {
            "records": (Counter(calls), self.records),
            "traces": (Counter(hashlib.sha256(call.encode()).hexdigest()[:32] for call in calls), self.traces),
        }
        found = [
            f"{(due - came).total()} {name} did not come, {(came - due).total()} more often than once"
            for name, (due, came) in wanted.items()
            if due != came
        ]
        return found + [f"Homer heard nothing of {kind}" for kind in (HEP_SIP, HEP_RTCP) if not self.copies[kind]]

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self._news:
            if request.path == _RECORDS:
                self.records[json.loads(body)["id"]] += 1
            elif request.path == _TRACES:
                self.traces.update(_calls(ExportTraceServiceRequest.FromString(body)))
            self._news.notify_all()
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _listen(self) -> None:
        while datagram := self._homer.recv(65_536):
            at = 6
            while at < len(datagram):
                _, number, size = struct.unpack_from("!HHH", datagram, at)
                if number == _PROTOCOL:
                    self.copies[datagram[at + 6]] += 1
                at += size
