"""Phones with DTLS-SRTP and no ICE, and their associations with a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.resuming import values_of
from gateway.media.embedded.webrtc.certificate import DtlsCertificate
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, is_client_hello
from gateway.media.engine import Kind, Party
from sdp import SessionDescription
from sdp.attributes import Fingerprint
from tests.media.dtls_support import fragments
from tests.media.engine_support import Phone, frequency_of, until
from tests.media.srtp_pair import SrtpSession

CERTIFICATE = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=1), "phone")
ANOTHER = DtlsCertificate.generate(datetime.now(UTC), timedelta(days=1), "another")
PLAIN = Party("plain", Kind.RTP, private_source="127.0.0.1")
SECURE = Party("secure", Kind.DTLS, private_source="127.0.0.1")


class DtlsPhone(Phone):
    """A desk phone with DTLS-SRTP and no ICE."""

    def __init__(
        self, role: DtlsRole = DtlsRole.PASSIVE, *, mux: bool = True, certificate: DtlsCertificate = CERTIFICATE
    ) -> None:
        super().__init__()
        self.role, self.mux = role, mux
        self.shown = certificate
        self.certificate = CERTIFICATE
        self.sessions: dict[bool, SrtpSession] = {}
        """What protects RTP (False) and RTCP apart from it (True)."""
        self.associations: dict[bool, DtlsAssociation] = {}
        self._keyed_by: dict[bool, DtlsAssociation] = {}
        """Associations whose keys the sessions have."""
        self._former: SrtpSession | None = None
        """Session of the previous keys: packets that passed the last flight are opened by it (RFC 5764 section 5.2)."""
        self.reports: list[bytes] = []
        self._ticking: asyncio.Task[None] | None = None

    def sdp(self, *, setup: str = "", **others: Any) -> str:
        """UDP/TLS/RTP/SAVP with the fingerprint of `shown`."""
        extra = [
            f"a=fingerprint:sha-256 {self.shown.fingerprint()}",
            f"a=setup:{setup or self.role}",
            *(["a=rtcp-mux"] if self.mux else []),
        ]
        return super().sdp(extra=extra, **others).replace("RTP/AVP", "UDP/TLS/RTP/SAVP")

    def begin(self, sdp: str) -> None:
        """Speak DTLS with who is described."""
        self.take(sdp)
        description = SessionDescription.parse(sdp)
        prints = description.all_of(description.media[0], Fingerprint)
        context = DtlsContext(self.certificate, ("SRTP_AEAD_AES_128_GCM",))
        for rtcp in (False,) if self.mux else (False, True):
            association = DtlsAssociation(
                context, self.role, tuple((each.algorithm, each.digest) for each in prints), WebRtcConfig()
            )
            self.associations[rtcp] = association
            association.start(self._now())
            self._follow(rtcp)
        self._ticking = asyncio.ensure_future(self._tick())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for rtcp, association in self.associations.items():
                if association.deadline is not None and association.deadline <= self._now():
                    association.handle_timer(self._now())
                    self._follow(rtcp)

    def _follow(self, rtcp: bool) -> None:
        association = self.associations[rtcp]
        for datagram in association.datagrams_to_send():
            if rtcp:
                self.send_rtcp(datagram)
            else:
                self.send_raw(datagram)
        if association.send_key is None or association.receive_key is None or self._keyed_by.get(rtcp) is association:
            return
        self._keyed_by[rtcp] = association
        if not rtcp:
            self._former = self.sessions.get(False)
        self.sessions[rtcp] = SrtpSession(association.send_key, association.receive_key)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received(data, addr, rtcp=False)

    def _received(self, data: bytes, addr: Any, *, rtcp: bool) -> None:
        if 20 <= data[0] <= 63:
            if rtcp in self.associations:
                self.associations[rtcp].receive(data, self._now())
                self._follow(rtcp)
        elif rtcp or 192 <= data[1] <= 223:
            opened = self.sessions[not self.mux].unprotect_rtcp(data)
            self.reports += [opened] if opened is not None else []
        else:
            sessions = (self.sessions.get(False), self._former)
            opened = next((plain for each in sessions if each and (plain := each.unprotect(data))), None)
            if opened is not None:
                self.packets.append((opened, addr))

    async def open(self, host: str = "127.0.0.1") -> Phone:
        await super().open(host)
        self._rtcp.close()
        await asyncio.sleep(0)
        phone = self

        class Rtcp(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                phone._received(data, addr, rtcp=True)

        self._rtcp, _ = await asyncio.get_running_loop().create_datagram_endpoint(Rtcp, local_addr=(host, 0))
        self.rtcp_port = self._rtcp.get_extra_info("sockname")[1]
        return self

    def send(self, payload: bytes, payload_type: int, **others: Any) -> None:
        """Protected, once there are keys."""
        transport = self._transport
        if False not in self.sessions:
            return
        session = self.sessions[False]

        class Protecting:
            def sendto(self, data: bytes, to: Any) -> None:
                transport.sendto(session.protect(data), to)

        self._transport = Protecting()
        try:
            super().send(payload, payload_type, **others)
        finally:
            self._transport = transport

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        await super().close()


class Renewing(DtlsPhone):
    """A phone that begins a handshake after each exchange of descriptions; the old keys serve it until that is done."""

    def __init__(self, *, mux: bool = True, delay: float = 0.0) -> None:
        """`delay`: seconds that each datagram is under way, in either direction."""
        super().__init__(DtlsRole.ACTIVE, mux=mux)
        self.delay = delay
        self.takes: Callable[[bytes], bool] = everything
        """Filter of the DTLS datagrams that the phone reads."""
        self.answers: list[bytes] = []
        """Datagrams that `takes` refused."""
        self.cuts: tuple[int, ...] = ()
        """Octets at which its ClientHello is cut into fragments."""

    def send_raw(self, data: bytes, to: Any = None) -> None:
        parts = fragments(data, *self.cuts) if self.cuts and is_client_hello(data) else [data]
        for each in parts:
            super().send_raw(each, to)

    def begin(self, sdp: str) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        super().begin(sdp)

    async def open(self, host: str = "127.0.0.1") -> Phone:
        await super().open(host)
        if self.delay:
            self._transport, self._rtcp = Distant(self._transport, self.delay), Distant(self._rtcp, self.delay)
        return self

    def _received(self, data: bytes, addr: Any, *, rtcp: bool) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, lambda: self._arrived(data, addr, rtcp=rtcp))
        else:
            self._arrived(data, addr, rtcp=rtcp)

    def _arrived(self, data: bytes, addr: Any, *, rtcp: bool) -> None:
        if 20 <= data[0] <= 63 and not self.takes(data):
            self.answers.append(data)
        elif 20 <= data[0] <= 63 or (not self.mux if rtcp else False) in self.sessions:
            super()._received(data, addr, rtcp=rtcp)

    @property
    def is_keyed(self) -> bool:
        """Whether the keys in use are of the handshake begun last."""
        return self._keyed_by == self.associations


class Distant:
    """A socket whose datagrams leave after a delay."""

    def __init__(self, transport: Any, delay: float) -> None:
        self._transport, self._delay = transport, delay

    def sendto(self, data: bytes, to: Any) -> None:
        asyncio.get_running_loop().call_later(self._delay, self._leave, data, to)

    def _leave(self, data: bytes, to: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, to)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def is_verify_request(data: bytes) -> bool:
    """Whether a datagram is a HelloVerifyRequest (RFC 6347 section 4.2.1)."""
    return data[0] == 22 and data[13] == 3


def everything(data: bytes) -> bool:
    return True


def nothing(data: bytes) -> bool:
    return False


async def restarted(engine: EmbeddedEngine) -> None:
    """The call goes on in another process, whose certificate is another."""
    left = engine._sessions.pop("call")
    values = json.loads(json.dumps(values_of({each.party.tag: each for each in left.parties})))
    engine.port.renew()
    await engine.resume("call", values)


async def we_offer(engine: EmbeddedEngine, phone: Renewing, plain: Phone) -> None:
    """The other side has changed something: hold, resume, transfer."""
    offer = await engine.offer("call", PLAIN, SECURE, plain.sdp())
    plain.take(await engine.answer("call", SECURE, PLAIN, phone.sdp(setup="active")))
    phone.begin(offer)


async def it_offers(engine: EmbeddedEngine, phone: Renewing, plain: Phone) -> None:
    """The phone has changed something itself."""
    plain.take(await engine.offer("call", SECURE, PLAIN, phone.sdp(setup="active")))
    phone.begin(await engine.answer("call", PLAIN, SECURE, plain.sdp()))


async def both_heard(phone: Renewing, plain: Phone) -> None:
    """Each tone in what comes from now on, once the phone has the keys of its last handshake."""
    await until(lambda: phone.is_keyed)
    await tones_heard(phone, plain)


async def tones_heard(phone: Renewing, plain: Phone) -> None:
    """Each tone in what comes from now on."""
    phone.packets.clear()
    plain.packets.clear()
    await until(lambda: abs(frequency_of(*plain.heard("pcmu")) - 600) < 10)
    await until(lambda: abs(frequency_of(*phone.heard("pcmu")) - 900) < 10)
