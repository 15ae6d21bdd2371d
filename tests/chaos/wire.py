"""What is between a phone and the gateway: each takes it for the other, and it may keep a message for itself."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.ports import free_port

HOST = "127.0.0.1"
Side = Literal["caller", "callee", "page", "phone"]


@dataclass(frozen=True, slots=True)
class Message:
    """The `nth` of its kind that passes one way, copies not counted."""

    side: Side
    to_gateway: bool
    what: str
    """A method, or a status and the method that it answers."""
    nth: int = 1

    def __str__(self) -> str:
        way = ("to the gateway", "from the gateway")[not self.to_gateway]
        return f"{self.side}: {self.what}{f' ({self.nth})' if self.nth > 1 else ''} {way}"


class Wire:
    """A phone's way to the gateway and back, over UDP."""

    def __init__(
        self,
        side: Side,
        phone: int,
        gateway: int,
        passes: Callable[[Message], bool],
        for_gateway: int = 0,
        ignored: frozenset[str] = frozenset(),
        told: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """`phone` and `gateway` are ports of loopback; `passes` says of each message whether it goes on, copies do.

        `for_gateway` is the port that the gateway is to know as the phone's; 0: any. Requests with the methods in
        `ignored` and their responses always pass. `told` hears what the phone is sent.
        """
        self._side, self._passes, self._ignored, self._told = side, passes, ignored, told
        self._seen: set[bytes] = set()
        self._kinds: Counter[tuple[bool, str]] = Counter()
        self._to_phone, self._to_gateway = _bound(free_port()), _bound(for_gateway or free_port())
        self.for_phone, self.for_gateway = (each.getsockname()[1] for each in (self._to_phone, self._to_gateway))
        names = (phone, gateway, self.for_phone, self.for_gateway)
        assert len({len(str(port)) for port in names}) == 1, "or lengths of bodies change"
        as_text = {port: (f"{HOST}:{port}".encode(), f";rport={port}".encode()) for port in names}
        # Everybody is to find the other where the wire is.
        self._ways = (
            (self._to_phone, self._to_gateway, gateway, True, {phone: self.for_gateway, self.for_phone: gateway}),
            (self._to_gateway, self._to_phone, phone, False, {gateway: self.for_phone, self.for_gateway: phone}),
        )
        self._text = as_text
        loop = asyncio.get_running_loop()
        for number, (source, *_) in enumerate(self._ways):
            loop.add_reader(source, self._readable, number)

    def _readable(self, way: int) -> None:
        source, target, port, to_gateway, names = self._ways[way]
        while True:
            try:
                data = source.recv(65_535)
            except BlockingIOError:
                return
            if self._let_pass(data, to_gateway):
                for old, new in names.items():
                    for one, other in zip(self._text[old], self._text[new], strict=True):
                        data = data.replace(one, other)
                if not to_gateway:
                    self._told(data)
                target.sendto(data, (HOST, port))

    def rewind(self) -> None:
        """Count from here: another call begins."""
        self._kinds.clear()

    def _let_pass(self, data: bytes, to_gateway: bool) -> bool:
        start = data.partition(b"\r\n")[0]
        branch, number = (re.search(name, data) for name in (rb"branch=([^;\r]+)", rb"\r\nCSeq: (\d+ \w+)\r"))
        if branch is None or number is None:
            return True
        name = b" ".join((start, branch[1], number[1], bytes([to_gateway])))
        if name in self._seen:
            return True
        self._seen.add(name)
        method = number[1].decode().split()[1]
        if method in self._ignored:
            return True
        what = f"{start.split()[1].decode()} {method}" if start.startswith(b"SIP/") else method
        self._kinds[to_gateway, what] += 1
        return self._passes(Message(self._side, to_gateway, what, self._kinds[to_gateway, what]))

    def close(self) -> None:
        for each in (self._to_phone, self._to_gateway):
            asyncio.get_running_loop().remove_reader(each)
            each.close()


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((HOST, port))
    return made
