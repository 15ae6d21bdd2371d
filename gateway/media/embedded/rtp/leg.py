"""A phone's transport: RTP and RTCP over UDP, plain or SRTP by SDES or DTLS, with the plane carrying the packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.media.embedded.addresses import canonical
from gateway.media.embedded.plane.packet import HEADER_SIZE
from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.srtp import SrtpKey, SrtpKeyError
from gateway.media.embedded.plane.values import Address, FlowConfig, FlowSnapshot, Host
from gateway.media.embedded.rtp.dtls import DtlsHost, PhoneDtls
from gateway.media.embedded.rtp.keys import key_identifier, srtp_key
from gateway.media.embedded.rtp.latching import Latch, LatchRules, may_send_to
from gateway.media.embedded.rtp.ports import PortPool
from gateway.media.engine import MediaError
from sdp import MediaAgreement, RemoteTransport, TransportPlan
from sdp.attributes import Crypto, CryptoKey
from sdp.hosts import IpAddress
from sdp.negotiation import Side

Endpoint = tuple[IpAddress, int]
"""Destination of media: an address, never a name."""


class RtpLeg:
    """One phone's transport; a `Transport`. Strict about sources, see `latching`."""

    def __init__(
        self,
        plane: Plane,
        pool: PortPool,
        *,
        ids: Callable[[], int],
        clock: Callable[[], float],
        rules: LatchRules | None = None,
        keys: tuple[SrtpKey, ...] = (),
        best_effort: bool = False,
        dtls: DtlsHost | None = None,
        failed: Callable[[str], None] = lambda reason: None,
        max_packets_per_second: int = 500,
        numbers: tuple[int, int] | None = None,
        dscp: int = 0,
    ) -> None:
        """`keys` are ours, one a suite: with any, nothing flows in the clear.

        `best_effort`: but where the phone answers with none (RFC 8643). With `dtls` the keys come by DTLS, and `failed`
        hears why none do.
        `numbers` are those of the flow and the port that the plane holds already; `resume` follows then, not `open`.
        """
        self.flow, self._id = numbers or (ids(), ids())
        self.port = 0
        """Our RTP port; RTCP is on the next."""
        self.keys = keys
        self.discarded: dict[str, int] = {}
        """RTCP that was dropped here, by reason."""
        self._plane = plane
        self._pool = pool
        self._dscp = dscp
        self._clock = clock
        self.family = pool.family
        """IP version."""
        self._latch = Latch(rules or LatchRules())
        self._is_secure = dtls is not None or (bool(keys) and not best_effort)
        """Whether nothing may flow in the clear."""
        self._dtls = PhoneDtls(dtls, plane, self.flow, self) if dtls is not None else None
        self._failed = failed
        self._config = FlowConfig(secure=self._is_secure, max_packets_per_second=max_packets_per_second)
        self._private_source: str | None = None
        self._rtcp_named: Address | None = None
        self._rtcp_learned: Address | None = None
        self._accepts: frozenset[int] = frozenset()
        self._keyed = False
        self._closed = False

    async def open(self) -> None:
        """Bind both ports; raises MediaError 503 when none is left."""
        rtp, rtcp = await self._pool.open(self._plane, self._id, self._dscp)
        self.port = rtp.address[1]
        if self._closed:
            # Closed while it was being opened.
            self._give_back()
            raise MediaError("the RTP leg is closed", 500)
        self._plane.open_flow(self.flow, self._id, self._config)
        if self._dtls is not None:
            self._dtls.open((rtp.path, rtcp.path))

    def values(self) -> dict[str, Any]:
        """What `resume` needs, as JSON can hold it."""
        return {
            "numbers": [self.flow, self._id],
            "port": self.port,
            "family": self.family,
            "named": self._latch.named,
            "description": self._latch.description,
            "rtcp": [self._rtcp_named, self._rtcp_learned],
            "private_source": self._private_source,
            "mux": self._config.mux,
            "keyed": self._keyed,
            "dtls": self._dtls.values() if self._dtls is not None else None,
        }

    def resume(self, values: Mapping[str, Any], accepts: frozenset[int], snapshot: FlowSnapshot) -> None:
        """Go on with what the plane holds; raises MediaError 481 where there is no key, though one is needed."""
        if self._is_secure and not values["keyed"]:
            raise MediaError("the phone's keys were not agreed yet", 481)
        if self._dtls is not None:
            self._dtls.resume(values["dtls"])
        self._is_secure = values["keyed"]
        self.port = values["port"]
        self._pool.take(self.port)
        self._private_source, self._accepts, self._keyed = values["private_source"], accepts, values["keyed"]
        self._rtcp_named, self._rtcp_learned = (_address(each) for each in values["rtcp"])
        self._config = replace(self._config, mux=values["mux"], secure=self._is_secure)
        # What the description lets it learn has been learned; where nothing came yet, it may be.
        since = self._clock() if snapshot.source is None else float("-inf")
        self._latch.expect(_address(values["named"]), self._private_source, since)
        # A journal of an older gateway has no number, and neither has its plane.
        self._latch.description = values.get("description", 0)
        if snapshot.source is not None:
            self._latch.learn(snapshot.source)

    # What signalling brings

    @property
    def ready(self) -> bool:
        """Whether media that is sent would go somewhere."""
        return not self._closed and self._latch.destination is not None and (self._keyed or not self._is_secure)

    @property
    def remote_address(self) -> Address | None:
        """Where media goes."""
        return self._latch.destination

    @property
    def learned(self) -> bool:
        """Whether media goes to another address than the description named."""
        return self._latch.learned

    def plan(self) -> TransportPlan:
        """Our ports and keys."""
        crypto = tuple(
            [Crypto(tag, key.profile.suite, (CryptoKey(key.material),)) for tag, key in enumerate(self.keys, start=1)]
        )
        plan = TransportPlan(address=self._pool.told, port=self.port, rtcp_port=self.port + 1, crypto=crypto, mki=True)
        if self._dtls is None:
            return plan
        return replace(plan, fingerprints=self._dtls.fingerprints, rtcp_mux=True)

    @property
    def local_secrets(self) -> object:
        """Our fingerprints, which change where the phone begins anew what another process began."""
        return self._dtls.fingerprints if self._dtls is not None else None

    def trickle(self, candidate: str) -> None:
        """Phones have one address."""

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None = None) -> None:
        """Take what was agreed with the phone; raises MediaError 488 where no media can come of it."""
        remote = agreement.remote
        if remote is None:
            raise MediaError("the description does not say where its media goes", 488)
        rtp, rtcp = self._endpoints(remote)
        begins = self._dtls is not None and self._dtls.agree(agreement)
        if begins:
            self._keyed = False
            self._plane.drop_keys(self.flow)
        elif self._dtls is None and self.keys and (agreement.crypto_local is not None or self._is_secure):
            self._agree_keys(agreement.crypto_local, remote.crypto)
        self.set_remote(
            rtp,
            rtcp,
            mux=remote.rtcp_mux,
            private_source=private_source,
            accepts=receivable(agreement),
        )
        if self._dtls is not None:
            self._dtls.start()

    def _endpoints(self, remote: RemoteTransport) -> tuple[Endpoint | None, Endpoint | None]:
        """Return where RTP and RTCP go, None where the phone is on hold; raises MediaError 488."""
        host, rtcp_host = remote.host, remote.rtcp_host
        if host is None or rtcp_host is None:
            raise MediaError("the description has no address that media could be sent to", 488)
        if remote.held:
            return None, None
        if host.version != self.family:
            raise MediaError(f"this side has no IPv{10 - self.family}", 488)
        return (host, remote.port), (rtcp_host, remote.rtcp_port) if remote.rtcp_port else None

    def _agree_keys(self, local: Crypto | None, remote: Crypto | None) -> None:
        if local is None or remote is None:
            raise MediaError("the description has no SRTP key", 488)
        try:
            send, receive, mki = srtp_key(local), srtp_key(remote), key_identifier(remote)
        except SrtpKeyError as error:
            raise MediaError(f"the SRTP key cannot be used: {error}", 488) from None
        self.set_keys(send, receive, mki)

    def set_keys(self, send: SrtpKey, receive: SrtpKey, mki: bytes = b"") -> None:
        """Protect everything from here on; the plane begins afresh only with a key that changed.

        `mki` is in the packets of the peer, whose key it names; ours has none.
        """
        if not self._is_secure:
            self._is_secure = True
            self._config = replace(self._config, secure=True)
            self._plane.configure_flow(self.flow, self._config)
        self._plane.set_send_key(self.flow, send)
        self._plane.set_receive_key(self.flow, receive, mki)
        self._keyed = True

    def set_remote(
        self,
        rtp: Endpoint | None,
        rtcp: Endpoint | None,
        *,
        mux: bool = False,
        private_source: str | None = None,
        accepts: frozenset[int] = frozenset(),
    ) -> None:
        """Take what a new description says of the peer.

        `rtp` and `rtcp` are where it receives, None where it is on hold by 0.0.0.0; `mux`: RTCP comes on the
        RTP port; `private_source`: the address its signalling came from; `accepts`: payload types that may
        arrive, no other can teach us an address.
        """
        source = canonical(private_source) if private_source is not None else None
        if rtp is not None:
            named = _written(rtp)
            self._latch.expect(named, source, self._clock())
            self._plane.expect(self.flow, named, self._latch.description)
        self._rtcp_named = _written(rtcp) if rtcp is not None else None
        self._rtcp_learned = None
        self._private_source = source
        self._accepts = accepts
        if mux != self._config.mux:
            self._config = replace(self._config, mux=mux)
            self._plane.configure_flow(self.flow, self._config)
        self._direct()

    def watch(self, seconds: float) -> None:
        """Have idleness told after so long without anything of the phone, counted from now; 0: never."""
        self._config = replace(self._config, idle_after=seconds)
        self._plane.configure_flow(self.flow, self._config)

    def close(self) -> None:
        """Close both sockets, forget the keys, let the ports rest; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._failed = _nobody
        if self._dtls is not None:
            self._dtls.close()
        if self.port:
            self._give_back()

    def _give_back(self) -> None:
        self._plane.close_port(self._id)
        self._pool.release(self.port)

    # What the plane asks

    def stranger(self, path: int, source: Address, data: bytes, heard: float, now: float) -> None:
        """RTP from an address that is neither the source nor named: it becomes the source where the rules let it."""
        latch = self._latch
        latch.heard = heard
        if self._is_secure:
            if self._keyed and (source == latch.source or latch.may_learn(source, now)):
                self._plane.admit_source(self.flow, source, data)
            return
        known = len(data) >= HEADER_SIZE and (not self._accepts or data[1] & 0x7F in self._accepts)
        if known and latch.may_admit(source, now):
            self._plane.admit_source(self.flow, source, data)

    def source_learned(self, source: Address, description: int | None, now: float) -> None:
        """The plane listens to `source` from now on, unless another description has crossed that."""
        if description in (None, self._latch.description):
            self._latch.learn(source)
            self._direct()

    # DTLS

    def receive_dtls(self, path: int, source: Address, data: bytes, now: float) -> None:
        """One DTLS datagram of anybody."""
        if self._dtls is not None:
            self._dtls.receive(path, source, data, now)

    def takes_dtls_from(self, source: Address, now: float, *, rtcp: bool) -> bool:
        """Where the description says, or where RTP might be learned from; RTCP from the host of RTP as well."""
        if rtcp:
            hosts = [each[0] for each in (self._latch.named, self._latch.source) if each is not None]
            return source == self._rtcp_named or source[0] in hosts
        return source == self._latch.source or self._latch.may_admit(source, now)

    def dtls_destination(self, *, rtcp: bool) -> Address | None:
        return self._rtcp_destination() if rtcp else self._latch.destination

    def dtls_keyed(self, peer: Address) -> None:
        if peer != self._latch.named:
            self._latch.learn(peer)
        self._keyed = True
        self._direct()

    def dtls_failed(self, reason: str) -> None:
        self._keyed = False
        self._plane.drop_keys(self.flow)
        self._failed(reason)

    def takes_rtcp_from(self, source: Address) -> bool:
        """Whether RTCP of that address counts: from where the description says, or from beside a learned source."""
        media = self._latch.source
        if self._config.mux:
            taken = source == media
        elif media is None or not self._latch.learned:
            taken = source == self._rtcp_named
        else:
            taken = source[0] == media[0] and self._rtcp_learned in (None, source)
        if not taken:
            self.discarded["wrong_source"] = self.discarded.get("wrong_source", 0) + 1
        elif self._latch.learned and self._rtcp_learned is None and not self._config.mux:
            self._rtcp_learned = source
            self._direct()
        return taken

    def _direct(self) -> None:
        """Tell the plane where to send."""
        self._plane.set_destination(self.flow, self._latch.destination, self._rtcp_destination())

    def _rtcp_destination(self) -> Address | None:
        source = self._latch.source
        if source is not None and self._latch.learned:
            return self._rtcp_learned or (source[0], source[1] + 1)
        named = self._rtcp_named
        return named if named is not None and may_send_to(named[0], self._private_source) else None


def receivable(agreement: MediaAgreement) -> frozenset[int]:
    """Payload types that may arrive, by our numbers and by the peer's."""
    codecs = (*agreement.arriving, *agreement.send)
    return frozenset([codec.payload_type for codec in codecs if codec.payload_type is not None])


def _written(endpoint: Endpoint) -> Address:
    """The address as the plane's sockets write it."""
    return Host(str(endpoint[0])), endpoint[1]


def _address(value: Sequence[Any] | None) -> Address | None:
    return None if value is None else (value[0], value[1])


def _nobody(reason: str) -> None:
    """A leg that is closed tells nobody, and holds nobody."""
