"""A whole gateway on loopback whose callees say on the wire what a test wants: a trunk, and a group of phones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.app import GatewayApp
from gateway.net.config import UserAgentConfig
from gateway.net.user_agent import UserAgent
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Request, Response
from tests.app.phones import SDP
from tests.app.ws_phone import UdpPhone
from tests.interop.gateway import PASSWORDS, Journal, check_log, config_on_free_ports
from tests.interop.stranger import stranger
from tests.net.peers import LOOPBACK, Application

TRUNK = "127.0.0.61"
PHONES = "127.0.0.62"
CALLER = "127.0.0.63"
GOOD = SDP.format(port=40002)
Fields = tuple[tuple[str, str], ...]


class Callee(UdpPhone):
    """A callee at a UDP socket of its own."""

    @property
    def contact(self) -> str:
        """A Contact that leads to its socket."""
        return "<sip:{}@{}:{}>".format(self.uri.user, *self.socket.place)

    def says(
        self, invite: Request, status: int, sdp: str | None = GOOD, fields: Fields | None = None, tag: str = "t"
    ) -> Response:
        """A response with a description and these header fields, by default its Contact."""
        host, port = self.socket.place
        made = build.response(invite, status, to_tag=tag)
        if sdp is not None:
            made = made.with_body(sdp.encode(), "application/sdp")
        headers = made.headers
        for name, value in fields if fields is not None else (("Contact", self.contact),):
            headers = headers.add(name, value.format(host=host, port=port))
        return made.with_headers(headers)

    async def accepts(self, method: str) -> Request:
        """The next request of this method, answered 200."""
        request = await self.request(method)
        await self.send(build.response(request, 200))
        return request

    async def hangs_up(self, invite: Request) -> None:
        """Send a BYE in the dialog that its answer to this INVITE made."""
        await self.send(self.in_dialog("BYE", invite))

    def in_dialog(self, method: str, invite: Request, sdp: str | None = None, *, number: int = 0) -> Request:
        """A request in that dialog, with the next number where none is given."""
        contact = invite.contact
        assert contact is not None
        return build.request(
            method,
            contact.uri,
            from_=invite.to.with_tag("t"),
            to=invite.from_,
            call_id=invite.call_id,
            cseq=number or self.next_number(),
            contact=NameAddr.parse(self.contact),
            body=(sdp or "").encode(),
            content_type="application/sdp" if sdp is not None else None,
        )


class House:
    """The gateway, where 04711 is behind a trunk, 8000 rings two phones as one group, and 1001 calls."""

    def __init__(self, app: GatewayApp, agent: UserAgent, callees: Sequence[Callee]) -> None:
        self.app = app
        self.agent = agent
        self.trunk, *self.phones, self.caller = callees


@contextlib.asynccontextmanager
async def house(
    folder: Path, *, same_user: bool = False, options_interval: float = 0, trunk_port: int = 0, **changes: str
) -> AsyncIterator[House]:
    """The house; its log has no traceback in the end. `same_user`: both phones are of 1002."""
    async with AsyncExitStack() as stack:
        stack.enter_context(clean_end(journal := Journal(folder / "log")))
        places = ((TRUNK, trunk_port), (PHONES, 0), (PHONES, 0), (CALLER, 0))
        sockets = [await stack.enter_async_context(stranger(*place)) for place in places]
        host, port = sockets[0].place
        trunk = {"name": "pbx", "uri": f"sip:{host}:{port}", "options_interval": options_interval}
        routes = [{"match": "04711", "to": "trunk:pbx"}, {"match": "8000", "to": "group:both"}]
        routes += [{"match": "600", "to": "service:echo"}]
        app = GatewayApp(
            config_on_free_ports(
                folder,
                TRUNKS=json.dumps([trunk]),
                ROUTES=json.dumps(routes),
                GROUPS=json.dumps([{"name": "both", "members": ["1002", "1003"]}]),
                **changes,
            )
        )
        stack.push_async_callback(app.stop)
        await app.start()
        host, _, number = app.sip_hostport.rpartition(":")
        place, domain = (host, int(number)), app.config.domain
        names = ("04711", "1002", "1002" if same_user else "1003", "1001")
        callees = [
            Callee(one, place, name, domain, PASSWORDS.get(name, "")) for one, name in zip(sockets, names, strict=True)
        ]
        for phone in callees[1:3]:
            assert (await phone.register(contact=phone.contact)).status == 200
        agent = UserAgent(UserAgentConfig(listen=LOOPBACK), Application())
        stack.push_async_callback(agent.close)
        await agent.start()
        yield House(app, agent, callees)
        check_log(await journal.text())


@contextlib.contextmanager
def clean_end(journal: Journal) -> Iterator[None]:
    """Have the log closed."""
    try:
        yield
    finally:
        journal.close()
