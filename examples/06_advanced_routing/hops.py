"""A table of the way that messages take: each hop, and what stands in the message there."""

from __future__ import annotations

from gateway.lesson import table

from gateway.sip import Request, Response, Via

COLUMNS = ("from", "to", "message", "Via, the top one first", "Route", "Max-Forwards")


class Hops:
    """Every message that went through a proxy, with names in place of ports."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        """Who is at which UDP port."""
        self.rows: list[tuple[str, tuple[str, ...]]] = []
        """Each with the method of its CSeq."""

    def saw(self, source: int, destination: int, message: Request | Response) -> None:
        """One message from port to port; both of its ends may tell of it."""
        row = (
            self._name(source),
            self._name(destination),
            message.method if isinstance(message, Request) else f"{message.status} {message.phrase}",
            ", ".join(map(self._via, message.via)),
            ", ".join(self._name(hop.uri.port or 0) for hop in message.route) if isinstance(message, Request) else "",
            str(message.max_forwards) if isinstance(message, Request) else "",
        )
        if (message.cseq.method, row) not in self.rows:
            self.rows.append((message.cseq.method, row))

    def show(self, method: str, *answers: str) -> None:
        """Print the way of the last such request, and of these answers to it ("200 OK")."""
        table(COLUMNS, *(row for of, row in self.rows if of == method and row[2] in (method, *answers)))
        self.rows = [one for one in self.rows if one[0] != method]

    def _name(self, port: int) -> str:
        return self.names.get(port, "phone")

    def _via(self, via: Via) -> str:
        """Its name, or what it says of itself and where it really is."""
        if via.host == "127.0.0.1":
            return self._name(via.port or 0)
        return f"{via.host} (really {via.received})" if via.received else via.host
