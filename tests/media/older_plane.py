"""A packet plane by its messages alone: says a version, answers questions, and writes down what it is told.

`python -m tests.media.older_plane STATE_DIR VERSION FLOWS` says "listening", then the type of each message it gets, a
line each, and ends when it is told to.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import sys
from pathlib import Path

from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.native.process import SECRET, SECRET_OCTETS, SOCKET
from gateway.media.embedded.plane.native.wire import Down, Up

OWN = b"p" * wire.NONCE


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise SystemExit
        data += more
    return data


def _message(connection: socket.socket) -> tuple[int, bytes]:
    length, kind = wire.HEAD.unpack(_exactly(connection, wire.HEAD.size))
    return kind, _exactly(connection, length - 1)


def _inventory(request: bytes, flows: int) -> bytes:
    """No port, flows 1, 2, 3, … without one, no record."""
    listed = b"".join(struct.pack("!II", flow, 0) for flow in range(1, flows + 1))
    return request + b"\x01" + struct.pack("!I", 0) + struct.pack("!I", flows) + listed + struct.pack("!I", 0)


def main(state_dir: Path, version: int, flows: int) -> None:
    secret = bytes(range(SECRET_OCTETS))
    (state_dir / SECRET).write_bytes(secret)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state_dir / SOCKET))
        listening.listen()
        _say("listening")
        connection, _ = listening.accept()
    with connection:
        _, greeting = _message(connection)
        connection.sendall(wire.frame(Up.HELLO, struct.pack("!H", version) + OWN))
        _message(connection)
        proof = hmac.digest(secret, b"plane" + greeting[-wire.NONCE :] + OWN, hashlib.sha256)
        connection.sendall(wire.frame(Up.PROOF, proof))
        while True:
            kind, body = _message(connection)
            _say(Down(kind).name)
            if kind == Down.INVENTORY:
                connection.sendall(wire.frame(Up.REPLY, _inventory(body[:4], flows)))
            elif kind == Down.SHUTDOWN:
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
