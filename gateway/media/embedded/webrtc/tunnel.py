"""What comes by another way than UDP to the browsers' port, brought to that port all the same.

A plane knows one way: datagrams of an address to its shared port. A TCP connection of a browser is given a UDP socket
of its own on this machine, and that is its address to the plane: two more system calls a packet each way, in this
process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address

from gateway.media.embedded.plane.stun import (
    BINDING_SUCCESS,
    StunError,
    is_stun,
    parse_binding_request,
    success_response,
)
from gateway.media.embedded.plane.values import Address, Host

READS = 32
"""Datagrams read before the loop looks at other sockets."""
MAX_CHECKS = 16
"""Checks whose answers may be outstanding."""
_SUCCESS = BINDING_SUCCESS.to_bytes(2)

KeyFor = Callable[[str], bytes | None]
"""The integrity key behind one of our ufrags, None when it is nobody's."""


def inside(bound: Address) -> Address:
    """Where a socket that is bound to this address is reached from this machine."""
    host = ip_address(bound[0])
    if not host.is_unspecified:
        return bound
    return Host("127.0.0.1" if host.version == 4 else "::1"), bound[1]


class Tunnel:
    """One far end: what it sends is `take`n to the plane, what the plane sends is given to `deliver`."""

    def __init__(self, port: Address, remote: Address, key_for: KeyFor, deliver: Callable[[bytes], None]) -> None:
        """`port`: where the plane hears; `remote`: the far end's own address. Raises OSError."""
        self.remote = remote
        self._key_for = key_for
        self._deliver = deliver
        self._checks: OrderedDict[bytes, bytes] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET6 if ":" in port[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(port)
            self.address: Address = self._socket.getsockname()[:2]
            """What the plane takes for the far end's address."""
            self._loop.add_reader(self._socket, self._read)
        except OSError:
            self._socket.close()
            raise

    def take(self, data: bytes) -> None:
        """One datagram of the far end; lost where the plane's socket is full, as on any network."""
        if is_stun(data):
            self._note_check(data)
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _note_check(self, data: bytes) -> None:
        try:
            request = parse_binding_request(data)
        except StunError:
            return
        key = self._key_for(request.local_ufrag or "")
        if key is not None:
            self._checks[request.transaction_id] = key
            if len(self._checks) > MAX_CHECKS:
                self._checks.popitem(last=False)

    def _read(self) -> None:
        for _ in range(READS):
            try:
                data = self._socket.recv(65_535)
            except OSError:
                # Nothing is left to read, or the plane has just gone.
                return
            self._deliver(self._named(data))

    def _named(self, data: bytes) -> bytes:
        """The plane tells the far end the address it sees; that must be its own (RFC 8445 section 7.3.1.1)."""
        if data[:2] != _SUCCESS or not is_stun(data):
            return data
        key = self._checks.pop(data[8:20], None)
        return data if key is None else success_response(data[8:20], self.remote, key)

    def close(self) -> None:
        """Idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
