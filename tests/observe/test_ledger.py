"""The ledger of call records and who is sent them: each exactly once, whatever dies in between."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.observe.delivery import Delivery, FileSink, Sink, WebhookSink
from gateway.observe.ledger import SqliteLedger, connect, mark, set_mark
from gateway.observe.records import Detail
from gateway.observe.waiting import Row, Waiting

DAY = 86_400.0


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is tried again soon."""
    monkeypatch.setattr("gateway.observe.ledger._BUSY_TIMEOUT", 0.1)
    monkeypatch.setattr("gateway.observe.ledger._RETRY", 0.05)
    monkeypatch.setattr("gateway.observe.delivery._FIRST_RETRY", 0.05)


def detail(call_id: str, **more: object) -> Detail:
    return {"id": call_id, "cause": None, "ended_at": None, **more}


def ledger_at(path: Path, now: float = 1000.0, readers: Sequence[str] = ("file",)) -> SqliteLedger:
    ledger = SqliteLedger(path, keep=DAY)
    ledger.open(now, readers)
    return ledger


def ended(path: Path) -> list[tuple[str, str | None]]:
    """Id and cause of every finished record, in order."""
    connection = connect(path)
    rows = connection.execute("SELECT detail FROM calls ORDER BY sequence").fetchall()
    connection.close()
    return [(one["id"], one["cause"]) for one in (json.loads(text) for (text,) in rows)]


def eventually(true: Callable[[], bool]) -> None:
    """Wait, ten seconds at most, for another thread to get there."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_call_is_one_record_however_often_it_is_told(tmp_path: Path) -> None:
    """Answered, answered elsewhere after a transfer, ended, ended again."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    ledger.begin(detail("one"))
    ledger.begin(detail("one", parties=["sip:b@x"]))
    ledger.end(detail("one", cause="normal"), 1001.0)
    ledger.end(detail("one", cause="error"), 1002.0)
    ledger.end(detail("two", cause="busy"), 1003.0)
    ledger.close()
    assert ended(path) == [("one", "normal"), ("two", "busy")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_calls_of_a_gateway_that_died_are_closed_by_the_next_one_once(tmp_path: Path) -> None:
    """With a cause of their own; a call that had ended keeps its own."""
    path = tmp_path / "cdr.sqlite"
    dead = ledger_at(path)
    dead.begin(detail("cut", answered_at="2026-05-01T12:00:00.000Z"))
    dead.begin(detail("done"))
    dead.end(detail("done", cause="normal"), 1001.0)
    dead.close()  # what a kill leaves on the disk is the same: every batch is committed
    again = SqliteLedger(path, keep=DAY)
    assert again.open(2000.0) == 1
    again.close()
    assert ended(path) == [("done", "normal"), ("cut", "gateway-lost")]
    third = SqliteLedger(path, keep=DAY)
    assert third.open(3000.0) == 0
    third.close()


def test_the_record_of_a_call_that_goes_on_stays_open(tmp_path: Path) -> None:
    """It is not lost with the gateway before, and what its end says counts; told again after that, it is over."""
    path = tmp_path / "cdr.sqlite"
    dead = ledger_at(path)
    for name in ("goes on", "lost"):
        dead.begin(detail(name))
    dead.close()
    again = SqliteLedger(path, keep=DAY)
    assert again.open(2000.0, going_on={"goes on", "never answered"}) == 1
    again.end(detail("goes on", cause="normal"), 2001.0)
    again.begin(detail("goes on"))
    again.close()
    third = SqliteLedger(path, keep=DAY)
    assert third.open(3000.0) == 0
    third.close()
    assert ended(path) == [("lost", "gateway-lost"), ("goes on", "normal")]


def test_records_wait_for_a_disk_that_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another process holds the file; said once, and written when it lets go."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    holder = connect(path)
    holder.execute("PRAGMA busy_timeout = 0")
    holder.execute("BEGIN EXCLUSIVE")
    ledger.end(detail("one", cause="normal"), 1001.0)
    eventually(lambda: "cannot be written" in caplog.text)
    holder.execute("COMMIT")
    holder.close()
    eventually(lambda: ended(path) == [("one", "normal")])
    ledger.close()


_DIES = """
import os, signal, sys
from pathlib import Path
from gateway.observe import ledger
path = Path(sys.argv[1])
made = ledger.SqliteLedger(path, 1e6)
made.open(1000.0)
holder = ledger.connect(path)
holder.execute("BEGIN EXCLUSIVE")
made.begin({"id": "up", "dialled": "1"})
made.end({"id": "over", "cause": "normal"}, 1001.0)
made.begin({"id": "up", "dialled": "2"})
made.forget("elsewhere")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.wall
def test_a_process_that_is_killed_before_it_could_write_loses_no_record(tmp_path: Path) -> None:
    """The file was locked: the next one finds what waited, as it was told last, once, however often it looks."""
    path = tmp_path / "cdr.sqlite"
    first = ledger_at(path)
    first.begin(detail("elsewhere"))
    first.close()
    for _ in range(2):
        dead = subprocess.run([sys.executable, "-c", _DIES, path], check=False)
        assert dead.returncode == -signal.SIGKILL
    for _ in range(2):
        ledger_at(path).close()
    with closing(connect(path)) as connection:
        rows = connection.execute("SELECT id, detail FROM calls ORDER BY id").fetchall()
        assert connection.execute("SELECT count(*) FROM talking").fetchone() == (0,)
    assert [name for name, _ in rows] == ["elsewhere", "over", "up"]
    assert [json.loads(text).get("dialled") for _, text in rows] == [None, None, "2"]
    waiting = sorted(tmp_path.glob("cdr.waiting.*"))
    assert [(file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) for file in waiting] == [(0, 0o600)] * 2


def test_a_call_that_another_gateway_has_is_no_record_here(tmp_path: Path) -> None:
    """Neither that of one which lived on, nor of one that died and is told so by the cluster."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    for name in ("taken", "taken later", "lost"):
        ledger.begin(detail(name))
    ledger.forget("taken")
    ledger.close()
    again = SqliteLedger(path, keep=DAY)
    assert again.open(2000.0, elsewhere={"taken later"}) == 1
    again.close()
    assert ended(path) == [("lost", "gateway-lost")]


def test_records_that_wait_are_bounded_and_take_no_room_once_they_are_written(tmp_path: Path) -> None:
    """By turns in two files; what comes beyond the bound is refused, as is what comes after the end."""
    waiting = Waiting(tmp_path / "w", 2)
    assert waiting.open() == []
    waiting.begin()
    one, two, three = (Row(name, "{}", None) for name in "abc")
    assert [waiting.put(row) for row in (one, two, three)] == [True, True, False]
    assert waiting.take() == [one, two]
    assert waiting.put(three)
    other = Waiting(tmp_path / "w", 2)
    assert other.open() == [one, two, three]
    other.let_go()
    waiting.done()
    assert waiting.take() == [three]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 50
    waiting.done()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 0
    waiting.close()
    assert not waiting.put(one)
    assert waiting.take() == []
    waiting.let_go()


def test_a_full_disk_is_said_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite has taken back what it had begun; what waits is written once there is room."""
    opened: list[sqlite3.Connection] = []

    def small(path: Path) -> sqlite3.Connection:
        opened.append(connect(path))
        opened[0].execute("PRAGMA max_page_count = 10")
        return opened[0]

    monkeypatch.setattr("gateway.observe.ledger.connect", small)
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    ledger.end(detail("a", caller="x" * 100_000), 1000.0)
    eventually(lambda: "call records cannot be written, and wait: database or disk is full" in caplog.text)
    opened[0].execute("PRAGMA max_page_count = 1000")
    eventually(lambda: [name for name, _ in ended(path)] == ["a"])
    ledger.close()


def test_half_a_record_on_a_full_disk_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, what is in memory is written all the same, and what comes when there is room is found."""
    waiting = Waiting(tmp_path / "w", 9)
    waiting.open()
    waiting.begin()
    rows = [Row(name, "{}", 1.0) for name in "abcd"]
    write = os.write
    waiting.put(rows[0])
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:7]))
        assert [waiting.put(row) for row in rows[1:3]] == [True, True]
    waiting.put(rows[3])
    assert caplog.text.count("would be lost") == 1
    again = Waiting(tmp_path / "w", 9)
    assert again.open() == [rows[0], rows[3]]
    assert waiting.take() == rows
    again.let_go()
    waiting.let_go()


def test_what_waits_is_found_in_the_order_in_which_it_was_told(tmp_path: Path) -> None:
    """Whichever of the two files it is in; half a record spoils nothing in a file that was emptied before it."""
    waiting = Waiting(tmp_path / "w", 9)
    waiting.open()
    waiting.begin()
    rows = [Row(name, "{}", 1.0) for name in "abcd"]
    waiting.put(rows[0])
    waiting.take()
    waiting.put(rows[1])
    waiting.done()
    waiting.take()
    for row in rows[2:]:
        waiting.put(row)
    again = Waiting(tmp_path / "w", 9)
    assert again.open() == rows[1:]
    again.let_go()
    waiting.let_go()


def test_half_a_record_in_a_file_that_was_emptied_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off where the file ends by now."""
    waiting = Waiting(tmp_path / "w", 9)
    waiting.open()
    waiting.begin()
    rows = [Row(name * 9, "{}", 1.0) for name in "abcd"]
    for row in rows[:2]:
        waiting.put(row)
        waiting.take()
        waiting.done()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:7]))
        waiting.put(rows[2])
    waiting.put(rows[3])
    again = Waiting(tmp_path / "w", 9)
    assert again.open() == [rows[3]]
    again.let_go()
    waiting.let_go()


def test_old_records_go_while_the_gateway_runs_once_both_readers_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of two has not been sent stays, however long the process lives."""
    monkeypatch.setattr("gateway.observe.ledger._PRUNED_EVERY", 2)
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path, readers=("file", "webhook"))
    for number in range(3):
        ledger.end(detail(f"call-{number}", cause="normal"), 1000.0 + number)
    eventually(lambda: len(ended(path)) == 3)
    with closing(connect(path)) as connection:
        set_mark(connection, "file", 3)
        set_mark(connection, "webhook", 1)
    for number in range(3, 5):
        ledger.end(detail(f"call-{number}", cause="normal"), 1000.0 + 10 * DAY)
    eventually(lambda: len(ended(path)) < 5)
    ledger.close()
    assert [name for name, _ in ended(path)] == ["call-1", "call-2", "call-3", "call-4"]


def test_old_records_go_once_everybody_has_them(tmp_path: Path) -> None:
    """Never before, however old they are."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    for number in range(3):
        ledger.end(detail(f"call-{number}", cause="normal"), 1000.0 + number)
    ledger.close()
    ledger_at(path, 1000.0 + 10 * DAY).close()
    assert len(ended(path)) == 3
    with sqlite3.connect(path) as connection:
        set_mark(connection, "file", 2)
    connection.close()
    ledger_at(path, 1000.0 + 10 * DAY).close()
    assert ended(path) == [("call-2", "normal")]


def delivered(path: Path, ledger: SqliteLedger, sink: Sink) -> None:
    """Run a delivery until there is nothing left."""
    delivery = Delivery(path, ledger, sink)
    delivery.start()
    delivery.close()


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_the_file_has_each_record_once_though_the_process_died_before_it_said_so(tmp_path: Path) -> None:
    """Written but not marked; half written; and whole again by the next process."""
    path, file = tmp_path / "cdr.sqlite", tmp_path / "cdr.jsonl"
    ledger = ledger_at(path)
    for name in ("a", "b", "c"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    file.write_text(json.dumps(detail("a")) + "\n" + json.dumps(detail("b")) + "\n" + '{"id": "c", "cau')
    delivered(path, ledger, FileSink(file))
    assert lines(file) == ["a", "b", "c"]
    delivered(path, ledger, FileSink(file))
    assert lines(file) == ["a", "b", "c"]


def test_each_record_is_given_to_a_reader_once(tmp_path: Path) -> None:
    """Several at a time, as many as it takes; what it has does not come again."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    taken: list[list[str]] = []

    class Reader:
        name, at_once = "file", 2

        def take(self, records: Sequence[tuple[str, str]]) -> None:
            taken.append([call_id for call_id, _ in records])

    for name in ("a", "b", "c"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    delivered(path, ledger, Reader())
    assert taken == [["a", "b"], ["c"]]


def test_a_reader_that_fails_is_tried_less_and_less_until_it_takes_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause doubles up to a bound, and begins anew after what was taken."""
    monkeypatch.setattr("gateway.observe.delivery._LAST_RETRY", 0.2)
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    fails = [True, True, True, True, False, True, False]

    class Reader:
        name, at_once = "file", 1

        def take(self, records: Sequence[tuple[str, str]]) -> None:
            if fails.pop(0):
                raise OSError("away")

    for name in ("a", "b"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    delivery = Delivery(path, ledger, Reader())
    pauses: list[float] = []

    def wait(seconds: float | None = None) -> bool:
        pauses.append(seconds or 0.0)
        return False

    monkeypatch.setattr(delivery._closing, "wait", wait)
    delivery._closing.set()
    delivery.start()
    delivery._thread.join(20)
    assert pauses == [0.05, 0.1, 0.2, 0.2, 0.05]


def test_records_that_cannot_be_marked_as_sent_are_not_written_twice(tmp_path: Path) -> None:
    """Somebody holds the ledger between the file and the mark; the try after it finds them written."""
    path, file = tmp_path / "cdr.sqlite", tmp_path / "cdr.jsonl"
    ledger = ledger_at(path)
    for name in ("a", "b"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    holder = connect(path)

    class Held(FileSink):
        def take(self, records: Sequence[tuple[str, str]]) -> None:
            super().take(records)
            self.taken = getattr(self, "taken", 0) + 1
            if self.taken == 1:
                holder.execute("BEGIN IMMEDIATE")
            elif self.taken == 3:
                holder.execute("COMMIT")

    sink = Held(file)
    delivery = Delivery(path, ledger, sink)
    delivery.start()
    eventually(lambda: marked(path) == 2)
    delivery.close()
    holder.close()
    assert sink.taken >= 3
    assert lines(file) == ["a", "b"]


def marked(path: Path) -> int:
    connection = connect(path)
    found = mark(connection, "file")
    connection.close()
    return found


def test_a_second_gateway_leaves_the_calls_of_the_first_alone(tmp_path: Path) -> None:
    """It is told so; the first one's record is its own."""
    path = tmp_path / "cdr.sqlite"
    first = ledger_at(path)
    first.begin(detail("one"))
    with pytest.raises(OSError, match="another gateway"):
        ledger_at(path)
    first.end(detail("one", cause="normal"), 1001.0)
    first.close()
    assert ended(path) == [("one", "normal")]
    ledger_at(path).close()


def test_whatever_goes_wrong_with_a_record_it_is_tried_again(tmp_path: Path) -> None:
    """A mistake of the sink's own does not end its thread."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    taken: list[str] = []

    class Clumsy:
        name, at_once = "file", 10

        def take(self, records: Sequence[tuple[str, str]]) -> None:
            taken.extend(call_id for call_id, _ in records)
            if len(taken) == 1:
                raise ValueError("a mistake")

    delivery = Delivery(path, ledger, Clumsy())
    delivery.start()
    ledger.end(detail("a", cause="normal"), 1001.0)
    eventually(lambda: marked(path) == 1)
    ledger.close()
    delivery.close()
    assert taken == ["a", "a"]


def test_a_file_that_cannot_be_written_gets_everything_later(tmp_path: Path) -> None:
    """The folder is missing, and then it is there."""
    path, file = tmp_path / "cdr.sqlite", tmp_path / "later" / "cdr.jsonl"
    ledger = ledger_at(path)
    delivery = Delivery(path, ledger, FileSink(file))
    delivery.start()
    ledger.end(detail("a", cause="normal"), 1001.0)
    eventually(lambda: ended(path) == [("a", "normal")])
    file.parent.mkdir()
    eventually(lambda: file.exists() and lines(file) == ["a"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ledger.close()
    delivery.close()


class Receiver:
    """An HTTP server that answers what it is told to, in turn, the last for ever."""

    def __init__(self, statuses: Sequence[int], port: int = 0) -> None:
        self.statuses = list(statuses)
        self.taken: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append(({key.lower(): value for key, value in self.headers.items()}, body))
                status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/calls"

    def keys(self) -> list[str]:
        return [headers["idempotency-key"] for headers, _ in self.taken]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    server = Receiver(getattr(request, "param", [200]))
    yield server
    server.close()


def test_a_webhook_gets_each_record_signed_and_in_order(tmp_path: Path, receiver: Receiver) -> None:
    """The key of its body, and the call's id by which a repeated one is known."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    for name in ("a", "b"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    delivered(path, ledger, WebhookSink(receiver.url, "secret"))
    assert receiver.keys() == ["a", "b"]
    headers, body = receiver.taken[0]
    assert json.loads(body)["id"] == "a"
    assert headers["x-signature-256"] == "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("receiver", [[503, 429, 408, 425, 200]], indirect=True)
def test_a_webhook_that_is_down_gets_the_record_again_and_the_next_after_it(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing overtakes, nothing is lost."""
    monkeypatch.setattr("gateway.observe.delivery._LAST_RETRY", 0.1)
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    delivery = Delivery(path, ledger, WebhookSink(receiver.url))
    ledger.end(detail("a", cause="normal"), 1001.0)
    ledger.end(detail("b", cause="normal"), 1002.0)
    delivery.start()
    eventually(lambda: len(receiver.taken) == 6)
    assert receiver.keys() == ["a", "a", "a", "a", "a", "b"]
    assert "x-signature-256" not in receiver.taken[0][0]
    ledger.close()
    delivery.close()


def test_a_webhook_that_fails_works_and_goes_takes_each_record_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is back when the next process is, which sends what the one before could not, and nothing twice."""
    path = tmp_path / "cdr.sqlite"
    first = Receiver([500, 200])
    ledger = ledger_at(path)
    delivery = Delivery(path, ledger, WebhookSink(first.url))
    ledger.end(detail("a", cause="normal"), 1001.0)
    delivery.start()
    eventually(lambda: len(first.taken) == 2)
    first.close()
    ledger.end(detail("b", cause="normal"), 1002.0)
    eventually(lambda: caplog.text.count("call records wait for webhook") == 2)
    ledger.close()
    delivery.close()
    again = Receiver([200], first.server.server_port)
    try:
        ledger = ledger_at(path)
        ledger.end(detail("c", cause="normal"), 1003.0)
        ledger.close()
        delivered(path, ledger, WebhookSink(again.url))
    finally:
        again.close()
    assert (first.keys(), again.keys()) == (["a", "a"], ["b", "c"])


@pytest.mark.parametrize("receiver", [[400, 302, 200]], indirect=True)
def test_a_record_that_is_refused_or_sent_elsewhere_holds_up_no_other(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """400 and a redirection: said in the log, and never sent anywhere else."""
    path = tmp_path / "cdr.sqlite"
    ledger = ledger_at(path)
    for name in ("a", "b", "c"):
        ledger.end(detail(name, cause="normal"), 1001.0)
    ledger.close()
    delivered(path, ledger, WebhookSink(receiver.url))
    assert receiver.keys() == ["a", "b", "c"]
    assert [word in caplog.text for word in ("call a: 400", "call b: 302", "call c")] == [True, True, False]
