"""Traces of calls through a whole gateway, read back by a collector; what is traced, and where that cannot be."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from typer.testing import CliRunner

from gateway.app.opening import Opening
from gateway.call.call import Call
from gateway.call.leg import Leg
from gateway.call.registry import Calls
from gateway.call.status import Cause
from gateway.cli import app
from gateway.config import Config, load
from gateway.errors import ConfigError
from gateway.observe import traces
from gateway.observe.traces import CallTraces, Side, is_sampled
from gateway.observe.tracing import check_traces, send_traces, traces_url
from gateway.testing.leg import FakeLeg
from gateway.testing.timers import ManualTimers
from tests.call.rig import Rig
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.observe.otlp_collector import OtlpCollector, attributes, events, eventually
from tests.rows import by_row

SECRET = "Bearer a-very-Secret-word"


def loaded(**changes: str) -> Config:
    return load(None, {f"GATEWAY_{key}": value for key, value in changes.items()})


def config_for(folder: Path, collector: OtlpCollector, **changes: str) -> Config:
    return config_on_free_ports(folder, OTEL__ENDPOINT=collector.url, **changes)


def protocols(legs: list[Span]) -> list[tuple[str, int]]:
    return [(attributes(leg)["network.protocol.name"], leg.kind) for leg in legs]


@pytest.mark.wall
async def test_a_call_is_a_trace_of_its_legs(tmp_path: Path) -> None:
    """One that was answered and ended, one that was declined, one that failed, one that was held and transferred."""
    headers = "authorization=" + SECRET.replace(" ", "%20")
    with OtlpCollector() as collector:
        config = config_for(tmp_path, collector, OTEL__HEADERS=headers, CDR__ENABLED="true", METRICS__ENABLED="true")
        async with gateway_with(config, tmp_path / "gateway.log", [SECRET, headers]) as gateway:
            browser, phone = await gateway.browser("alice"), await gateway.phone()
            await browser.dial("1001")
            await browser.status("talking")
            await phone.expect("tone")
            [call] = gateway.app.calls
            await browser.hang_up()
            await phone.expect("state", state="ended")
            phone.on_incoming(486)
            await browser.refused("1001")
            phone.on_incoming(503)
            await browser.refused("1001")
            second = await gateway.phone("1002")
            phone.dial(gateway.uri("1002"))
            await second.expect("tone")
            await phone.expect("tone")
            phone.hold()
            await _on_hold(gateway)
            phone.transfer(gateway.uri("601"))
            await phone.expect("transfer", code=200, final=True)
            second.hangup()
            await gateway.idle()
            await asyncio.to_thread(eventually, lambda: len(collector.traces) == 4)
            await asyncio.to_thread(eventually, lambda: gateway.app._span_counts()["sent"] == len(collector.spans))
            async with httpx.AsyncClient() as client:
                figures = (await client.get(f"{gateway.web}/metrics")).text
    assert f'gateway_spans_total{{fate="sent"}} {len(collector.spans)}.0' in figures
    assert 'gateway_spans_total{fate="lost"} 0.0' in figures
    assert {one["authorization"] for one in collector.headers} == {SECRET}
    talked, busy, failed, moved = collector.traces
    _talked(talked, gateway.uri("alice"), gateway.uri("1001"), call.id)
    assert attributes(busy[0])["gateway.call.cause"] == "busy"
    assert (busy[0].status.code, failed[0].status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)
    assert attributes(failed[0])["error.type"] == "unreachable"
    assert "answered" not in events(failed[0])
    _moved(moved)


async def _on_hold(gateway: Any) -> None:
    async with asyncio.timeout(30):
        # A phone that is held says nothing of it.
        while not any(call.bridge is not None and call.bridge.holding for call in gateway.app.calls):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _talked(trace: tuple[Span, list[Span]], caller: str, callee: str, call_id: str) -> None:
    root, legs = trace
    told = attributes(root)
    assert root.trace_id == traces.trace_id_of(call_id).to_bytes(16)
    assert (told["gateway.call.id"], told["gateway.call.cause"]) == (call_id, "normal")
    assert (told["gateway.call.caller"], told["gateway.call.dialled"]) == (caller, "1001")
    names = [name for name in events(root) if name in ("ringing", "answered", "media")]
    assert names[-2:] == ["answered", "media"]
    assert protocols(legs) == [("webrtc", Span.SPAN_KIND_SERVER), ("sip", Span.SPAN_KIND_CLIENT)]
    web, sip = map(attributes, legs)
    assert (web["gateway.leg.uri"], sip["gateway.leg.uri"]) == (caller, callee)
    assert sip["gateway.sip.call_ids"] == told["gateway.sip.call_ids"]
    assert len(sip["gateway.sip.call_ids"]) == 1
    assert sip["gateway.media.received.packets"] > 0
    assert "call.callee-answered" in events(legs[1])
    for leg in legs:
        assert root.start_time_unix_nano <= leg.start_time_unix_nano <= leg.end_time_unix_nano
        assert leg.end_time_unix_nano <= root.end_time_unix_nano
        assert all(root.start_time_unix_nano <= one.time_unix_nano <= root.end_time_unix_nano for one in leg.events)


def _moved(trace: tuple[Span, list[Span]]) -> None:
    root, (leaver, stayer, service) = trace
    assert [attributes(leg)["network.protocol.name"] for leg in (leaver, stayer, service)] == ["sip", "sip", "service"]
    assert leaver.end_time_unix_nano < root.end_time_unix_nano
    assert service.start_time_unix_nano > leaver.start_time_unix_nano
    assert "hold" in events(leaver)
    assert "hold" not in events(stayer)
    assert {"hold", "resume"} <= set(events(root))
    assert any(name in ("call.transfer", "call.replace") for name in events(root))


@pytest.mark.wall
async def test_spans_tell_no_numbers_where_no_call_records_are_kept(tmp_path: Path) -> None:
    """`cdr` is off: nobody's name, number or address is in what the collector is sent."""
    with OtlpCollector() as collector:
        config = config_for(tmp_path, collector)
        async with gateway_with(config, tmp_path / "gateway.log") as gateway:
            phone = await gateway.phone()
            phone.dial(gateway.uri("601"))
            await phone.expect("tone")
            phone.hangup()
            await phone.expect("state", state="ended")
            await gateway.idle()
            await asyncio.to_thread(eventually, lambda: len(collector.traces) == 1)
        [(root, legs)] = collector.traces
    assert protocols(legs) == [("sip", Span.SPAN_KIND_SERVER), ("service", Span.SPAN_KIND_CLIENT)]
    sent = b"".join(one.SerializeToString() for one in [root, *legs])
    assert not [word for word in (b"1001@", b"sip:", b"601", b"Desk phone") if word in sent.replace(_ids(root), b"")]


def _ids(root: Span) -> bytes:
    """What the phone calls the call, in which any digits may be."""
    [name] = attributes(root)["gateway.sip.call_ids"]
    return str(name).encode()


@by_row(("share", "few", "many"), [(0.0, 0, 0), (0.25, 2_200, 2_800), (1.0, 10_000, 10_000)])
def test_a_share_of_the_calls_is_traced(share: float, few: int, many: int) -> None:
    """The same calls on every gateway and after every restart; none of 0, all of 1."""
    chosen = {call for call in map(str, range(10_000)) if is_sampled(call, share)}
    assert few <= len(chosen) <= many
    assert chosen <= {call for call in map(str, range(10_000)) if is_sampled(call, max(share, 0.5))}


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_calls_leave_nothing_behind(share: float) -> None:
    """However a call ends, and whether it is traced or not."""
    sent: list[list[traces.Span]] = []
    clock = 0.0
    observer = CallTraces(sent.append, lambda: clock, lambda: 1000.0, lambda leg: Side("sip"), share=share)
    rigs = [await Rig().connected(), await Rig().started(), await Rig(callees=100).started()]
    for rig in rigs:
        rig.call._on_change = observer.call_changed
        observer.call_changed(rig.call)
        rig.call.stop(Cause.ERROR)
        await rig.settle()
        assert observer._seen == {}
    assert [len(spans) for spans in sent] == ([3, 3, 65] if share else [])
    assert all(spans[0].fault == Cause.ERROR.sentence for spans in sent)


class WithLegs:
    """A call in which these are at the moment."""

    def __init__(self, call: Call, *legs: Leg) -> None:
        self._call, self.legs = call, legs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


async def test_whoever_comes_back_into_a_call_is_in_it_to_its_end() -> None:
    """As one that a transfer which failed had left it to; who does not come back is in it until it left."""
    sent: list[list[traces.Span]] = []
    clock = ManualTimers()
    observer = CallTraces(sent.append, clock.time, clock.time, lambda leg: Side("sip"))
    rig, gone = await Rig().connected(), FakeLeg("gone")
    rig.call.record.started_at = clock.time()
    caller, callee = rig.caller, rig.callee
    for legs in ((caller, callee, gone), (caller,), (caller, callee)):
        clock.advance(1.0)
        observer.call_changed(cast(Call, WithLegs(rig.call, *legs)))
    rig.call.stop(Cause.ERROR)
    await rig.settle()
    clock.advance(1.0)
    observer.call_changed(cast(Call, WithLegs(rig.call, caller, callee)))
    [[_, *spans]] = sent
    assert [span.ended for span in spans] == [1004.0, 1004.0, 1002.0]


class Listeners:
    """Calls that nobody has placed yet."""

    def __init__(self) -> None:
        self.told: list[Callable[[Call], None]] = []

    def observe(self, observer: Callable[[Call], None]) -> None:
        self.told.append(observer)

    async def one_fails(self) -> None:
        """A call is placed, and ends at once."""
        rig = await Rig().started()
        for observer in self.told:
            rig.call._on_change = observer
        rig.call.stop(Cause.ERROR)
        await rig.settle()


@pytest.mark.parametrize(("share", "spans"), [("0", 0), ("1", 3)])
async def test_only_the_configured_share_of_calls_reaches_the_collector(share: str, spans: int) -> None:
    """None, or all."""
    with OtlpCollector() as collector:
        opening = Opening(loaded(OTEL__ENDPOINT=collector.url, OTEL__SAMPLE=share), os.urandom, time.time)
        async with opening.stack:
            calls = Listeners()
            send_traces(opening, cast(Calls, calls))
            await calls.one_fails()
        assert len(collector.spans) == spans


@pytest.mark.parametrize(("most", "lost"), [("100", 21), ("120", 0)])
async def test_no_more_spans_wait_than_configured(most: str, lost: int) -> None:
    """The spans of 40 calls, three each, while the collector hangs; what it was sent before is not counted."""
    with OtlpCollector() as collector:
        collector.hangs = True
        opening = Opening(loaded(OTEL__ENDPOINT=collector.url, OTEL__QUEUE=most), os.urandom, time.time)
        calls = Listeners()
        counts = send_traces(opening, cast(Calls, calls))
        await calls.one_fails()
        assert await asyncio.to_thread(collector.asked.wait, 10)
        for _ in range(40):
            await calls.one_fails()
        assert dict(counts()) == {"sent": 0, "lost": lost, "waiting": 120 - lost}
        closing = asyncio.create_task(opening.stack.aclose())
        await asyncio.sleep(0)
        collector.let_go()
        await closing


def test_a_missing_extra_is_said_before_the_start() -> None:
    """With a sentence that says what to install; without an endpoint nothing is asked for."""
    wanted = loaded(OTEL__ENDPOINT="http://127.0.0.1:4318")
    with pytest.raises(ConfigError, match=r"extra otel: pip install 'sip-webrtc-gateway\[otel\]'") as failed:
        check_traces(wanted, lambda name: None)
    assert failed.value.key == "otel.endpoint"
    check_traces(loaded(), lambda name: None)
    check_traces(wanted)


def test_check_config_names_the_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, and no traceback."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    file = tmp_path / "gateway.yaml"
    file.write_text("otel: {endpoint: http://127.0.0.1:4318}\n")
    result = CliRunner().invoke(app, ["check-config", "--config", str(file)])
    assert result.exit_code == 2
    assert "needs the extra otel" in " ".join(result.output.split())


@by_row("endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"])
def test_traces_go_to_the_path_of_the_protocol(endpoint: str) -> None:
    """Whether the configuration names the collector or the whole URL."""
    assert traces_url(endpoint) == "http://c:4318/v1/traces"


@by_row(
    ("key", "value"),
    [
        ("OTEL__ENDPOINT", "collector:4318"),
        ("OTEL__ENDPOINT", "http://me:s3cret@collector"),
        ("OTEL__ENDPOINT", "http://collector/?key=s3cret"),
        ("OTEL__HEADERS", "s3cret"),
        ("OTEL__HEADERS", "a b=s3cret"),
        ("OTEL__HEADERS", "x-key=s3cret%0d%0aevil"),
        ("OTEL__SAMPLE", "1.5"),
        ("OTEL__QUEUE", "0"),
    ],
)
def test_what_cannot_be_sent_to_is_refused(key: str, value: str) -> None:
    """With the key, and without what is secret in it."""
    with pytest.raises(ConfigError) as failed:
        loaded(**{key: value})
    assert failed.value.key == key.lower().replace("__", ".")
    assert "s3cret" not in str(failed.value)


def test_several_header_fields_are_read() -> None:
    """As the specification's OTEL_EXPORTER_OTLP_HEADERS has them."""
    config = loaded(OTEL__HEADERS="authorization=Bearer%20a%2Cb, x-tenant = one")
    assert config.otel.header_fields == {"authorization": "Bearer a,b", "x-tenant": "one"}
