"""Figures for Prometheus, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.call.call import Call
from gateway.call.leg import Address
from gateway.call.load import LoadControl, LoadPolicy
from gateway.call.record import CallRecord
from gateway.call.registry import Calls
from gateway.call.state import State
from gateway.call.status import Cause
from gateway.media.engine import CallStatistics, PartyStatistics, StreamStatistics
from gateway.observe.metrics import Metrics
from tests.rows import by_row

DASHBOARD = Path(__file__).parents[2] / "deploy/grafana/dashboard.json"


class Few:
    """A registry with two calls, which refused one."""

    @property
    def refused(self) -> Counter[Cause]:
        return Counter({Cause.OVERLOADED: 1})

    def __len__(self) -> int:
        return 2


class Front:
    """One trunk, one ban, one condition."""

    def list_trunks(self) -> list[dict[str, Any]]:
        return [{"name": "office", "reachable": True, "registered": False}]

    def list_bans(self) -> list[dict[str, Any]]:
        return [{}]

    def health(self) -> dict[str, Any]:
        return {"status": "full", "conditions": ["Trunk office is not registered."]}


class Over:
    """A call that was answered after 1 s, lasted 60, and lost packets."""

    state = State.ENDED
    cause = Cause.NORMAL
    record = CallRecord(
        id="c",
        caller=Address("sip:a@test"),
        dialled="1",
        started_at=0.0,
        answered_after_ms=1000.0,
        media_after_ms=300.0,
        ended_after_ms=61_000.0,
        statistics=CallStatistics(
            {
                "a": PartyStatistics(
                    received=StreamStatistics(packets=90, lost=10, mos=3.1),
                    sent=StreamStatistics(packets=100, lost=1, mos=4.3),
                ),
                "b": PartyStatistics(),
            }
        ),
    )


class Going:
    """A call that goes on."""

    state = State.CONNECTED


def figures(*observed: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Each sample's values by its labels' values, after these calls and one measurement of the loop."""
    metrics = Metrics(cast(Calls, Few()), lambda: 3, lambda: {"malformed": 7}, Front())
    for one in observed:
        metrics.observe(cast(Call, one))
    control = LoadControl(LoadPolicy(plane=0.8), lambda: 0.25)
    metrics.watch(control)
    control.measured(0.2, 0.03)
    control.plane = 0.9
    metrics.count_spans(lambda: {"sent": 5, "lost": 3, "waiting": 2})
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_a_call_that_is_over_is_counted_and_measured_once() -> None:
    """Set-up, length, quality and loss of each direction; what was not measured is nowhere."""
    found = figures(Over(), Going())
    assert found["gateway_calls_total"] == {("normal",): 1}
    assert found["gateway_call_answer_seconds_sum"] == {(): 1.0}
    assert found["gateway_call_seconds_sum"] == {(): 60.0}
    assert found["gateway_call_mos_sum"] == {("received",): 3.1, ("sent",): 4.3}
    assert found["gateway_call_loss_ratio_sum"] == {("received",): 0.1, ("sent",): 0.01}
    assert found["gateway_call_loss_ratio_count"] == {("received",): 1, ("sent",): 1}
    assert found["gateway_loop_delay_seconds_bucket"][("0.025",)] == 0
    assert found["gateway_loop_delay_seconds_bucket"][("0.05",)] == 1


def test_what_is_now_is_read_when_it_is_asked_for() -> None:
    """Calls, pages, trunks, bans, and how the gateway is."""
    found = figures()
    assert found["gateway_calls_active"] == {(): 2}
    assert found["gateway_calls_refused_total"] == {("overloaded",): 1}
    assert found["gateway_load_share"][()] == pytest.approx(0.5)
    assert found["gateway_plane_busy"] == {(): 0.9}
    assert found["gateway_store_seconds"] == {(): 0.25}
    assert found["gateway_ready"] == {(): 0}
    assert found["gateway_spans_total"] == {("sent",): 5, ("lost",): 3}
    assert found["gateway_spans_waiting"] == {(): 2}
    assert found["gateway_conditions"] == {(): 1}
    assert found["gateway_trunk_reachable"] == {("office",): 1}


def test_every_measurement_of_the_loop_is_told() -> None:
    """Also where no call is refused for it."""
    control, told = LoadControl(LoadPolicy(busy=0.0)), []
    control.told.append(lambda busy, late: told.append((busy, late)))
    control.measured(0.5, 0.25)
    assert told == [(0.5, 0.25)]


def queries() -> list[tuple[str, str]]:
    """Title and query of everything that the dashboard shows."""
    return [
        (panel["title"], target["expr"])
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]


@by_row(("title", "query"), queries())
def test_the_dashboard_asks_for_what_there_is(title: str, query: str) -> None:
    """Each query's figures are served under that name; counters are taken as rates, histograms by their buckets."""
    found = figures(Over())
    names = re.findall(r"\bgateway_\w+", query)
    assert names, title
    for name in names:
        assert name in found, f"{title}: there is no {name}"
        assert name.endswith(("_total", "_bucket")) == (f"rate({name}" in query), query
    assert query.count("(") == query.count(")")


def test_the_dashboard_shows_every_figure() -> None:
    """What is measured and shown nowhere is measured for nobody."""
    shown = {name for _, query in queries() for name in re.findall(r"\bgateway_\w+", query)}
    parts = {name for name in figures(Over()) if not name.endswith(("_sum", "_count", "_created"))}
    assert parts == shown
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
