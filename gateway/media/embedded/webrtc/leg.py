"""One browser's media: ICE-lite, DTLS and SRTP put together behind `MediaTransport`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.media.embedded.plane.srtp import SrtpSession
from gateway.media.embedded.transport import PacketSink
from gateway.media.embedded.webrtc.certificate import usable_fingerprints
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import DtlsAssociation, DtlsContext, DtlsRole, DtlsState
from gateway.media.embedded.webrtc.ice import Address, BindingRequest, IceAgent, IceCredentials, Pair, Path
from gateway.media.embedded.webrtc.states import TRANSITIONS, LegInput, LegState, LegStatistics, StateHandler
from gateway.media.engine import MediaError

__all__ = ["LegHost", "LegState", "LegStatistics", "StateHandler", "Timer", "WebRtcLeg", "is_well_formed_rtp"]


class Timer(Protocol):
    """Something scheduled that can be called off."""

    def cancel(self) -> None: ...


class LegHost(Protocol):
    """What a leg needs of the port it lives on."""

    @property
    def config(self) -> WebRtcConfig: ...

    @property
    def dtls(self) -> DtlsContext: ...

    def clock(self) -> float: ...

    def new_credentials(self, leg: WebRtcLeg) -> IceCredentials:
        """Draw credentials with an unused ufrag and route its checks to `leg`."""

    def forget_ufrag(self, ufrag: str) -> None: ...

    def claim_address(self, leg: WebRtcLeg, path: Path, address: Address, now: float) -> bool:
        """Route packets from `address` to `leg`, unless another leg is using it."""

    def release_address(self, leg: WebRtcLeg, path: Path, address: Address) -> None: ...

    def forget_leg(self, leg: WebRtcLeg) -> None: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


def is_well_formed_rtp(packet: bytes) -> bool:
    """Whether version, CSRC list, extension and padding fit in the packet (RFC 3550 section 5.1)."""
    size = len(packet)
    if size < 12 or packet[0] >> 6 != 2:
        return False
    end = 12 + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if size < end + 4:
            return False
        end += 4 + 4 * int.from_bytes(packet[end + 2 : end + 4])
    if packet[0] & 0x20:
        padding = packet[-1]
        return 0 < padding <= size - end
    return end <= size


class WebRtcLeg:
    """One peer connection's transport (BUNDLE and rtcp-mux, so one of each); a `MediaTransport`.

    Made by `WebRtcPort.open_leg`. `set_remote` brings what signalling said of the peer; the
    rest comes in from the network.
    """

    def __init__(self, host: LegHost, on_state: StateHandler) -> None:
        self.sink: PacketSink | None = None
        self.state = LegState.NEW
        self.connected_after_ms: float | None = None
        """From the first `set_remote` to `connected`; None before."""
        self._host = host
        self._on_state = on_state
        self._ice = IceAgent(host.new_credentials(self), host.config.max_pairs)
        self._ufrags = self._ice.ufrags()
        self._restart_pending = False
        self._remote_ufrag: str | None = None
        self._fingerprints: tuple[tuple[str, str], ...] = ()
        self._role = DtlsRole.PASSIVE
        self._dtls: DtlsAssociation | None = None
        self._early: list[bytes] = []
        self._srtp: SrtpSession | None = None
        self._path: Path | None = None
        self._address: Address = ("", 0)
        self._remote_since: float | None = None
        self._setup_deadline: float | None = None
        self._last_heard = host.clock()
        self._timer: Timer | None = None
        self._timer_at: float | None = None
        self._packets_received = self._bytes_received = 0
        self._packets_sent = self._bytes_sent = 0
        self._discarded: dict[str, int] = {}
        self._old_srtp_discarded: dict[str, int] = {}

    # What signalling sees

    @property
    def local_ufrag(self) -> str:
        """Value of our `a=ice-ufrag`; changes with an ICE restart."""
        return self._ice.credentials.ufrag

    @property
    def local_password(self) -> str:
        """Value of our `a=ice-pwd`; a secret between the two ends."""
        return self._ice.credentials.password

    @property
    def remote_address(self) -> Address | None:
        """The proved address media goes to, None before there is one."""
        return self._address if self._path is not None else None

    @property
    def statistics(self) -> LegStatistics:
        """The counters as they stand."""
        discarded = dict(self._discarded)
        for counts in (self._old_srtp_discarded, self._srtp.discarded if self._srtp else {}):
            for reason, count in counts.items():
                discarded[reason] = discarded.get(reason, 0) + count
        return LegStatistics(
            self._packets_received, self._bytes_received, self._packets_sent, self._bytes_sent, discarded
        )

    def set_remote(
        self, ufrag: str, password: str, fingerprints: tuple[tuple[str, str], ...], dtls_role: str | DtlsRole
    ) -> None:
        """Take what the peer's description says; the leg may connect from here on.

        `fingerprints` are (algorithm, value) pairs; `dtls_role` is *our* role, the
        `a=setup` of our own description: "active" or "passive". Said again with nothing new
        it does nothing. A new ufrag is the peer's half of an ICE restart: unless
        `restart_ice` began it, our credentials change too, and the answer must carry them.
        A new fingerprint is a new DTLS association. Raises MediaError 488 when no
        fingerprint can be checked, 400 for another role. `password` is what we would sign
        checks of our own with, and a lite agent sends none.
        """
        usable = usable_fingerprints(fingerprints)
        if not usable:
            raise MediaError("the description has no usable a=fingerprint", 488)
        try:
            role = DtlsRole(dtls_role)
        except ValueError:
            raise MediaError("the DTLS role is neither active nor passive", 400) from None
        if self.state is LegState.CLOSED:
            return
        now = self._host.clock()
        first = self._remote_ufrag is None
        if first:
            self._remote_since = now
        restarted = not first and ufrag != self._remote_ufrag
        rekeyed = not first and usable != self._fingerprints
        self._remote_ufrag = ufrag
        if restarted:
            self._remote_restarted()
        if first or rekeyed:
            self._fingerprints, self._role = usable, role
        if rekeyed:
            self._drop_keys()
            if restarted:
                # Another end altogether: nothing of the new handshake may reach the old one.
                self._ice.retire_older_generations()
                self._follow_pairs()
            self._enter(LegInput.REKEY, now)
        elif restarted:
            self._enter(LegInput.RESTART, now)
        if first:
            self._enter(LegInput.REMOTE, now)
        self._proceed(now)

    def restart_ice(self) -> None:
        """Change our credentials, to be put in the next offer; the old pair goes on carrying media."""
        if self.state is LegState.CLOSED:
            return
        self._restart_pending = True
        self._new_generation()

    def close(self) -> None:
        """Say close_notify, forget keys, addresses and ufrags; idempotent."""
        if self.state is LegState.CLOSED:
            return
        now = self._host.clock()
        if self._dtls is not None:
            self._dtls.close()
            self._send_dtls()
        self._drop_keys()
        self._ice.forget_pairs()
        self._follow_pairs()
        self._forget_ufrags_but(set())
        self._host.forget_leg(self)
        self._enter(LegInput.CLOSE, now)
        self._rearm()

    # What the relay sees

    @property
    def ready(self) -> bool:
        """Whether `send_rtp` would reach the peer now."""
        return self._srtp is not None and self._path is not None

    def send_rtp(self, packet: bytes) -> None:
        """Protect and send one RTP packet at once; dropped and counted when it cannot be."""
        srtp, path = self._srtp, self._path
        if srtp is None or path is None:
            self.count("not_ready")
            return
        data = srtp.protect(packet)
        if data is None:
            return
        if path.send(data, self._address):
            self._packets_sent += 1
            self._bytes_sent += len(packet)
        else:
            self.count("socket")

    def send_rtcp(self, packet: bytes) -> None:
        """Protect and send one compound RTCP packet at once; dropped and counted when it cannot be."""
        srtp, path = self._srtp, self._path
        if srtp is None or path is None:
            self.count("not_ready")
            return
        data = srtp.protect_rtcp(packet)
        if data is not None and not path.send(data, self._address):
            self.count("socket")

    # What the port brings in, from proved addresses only but for checks

    def receive_media(self, data: bytes, now: float) -> None:
        """One SRTP or SRTCP datagram of at least 12 bytes from a proved address."""
        srtp = self._srtp
        if srtp is None:
            self.count("not_ready")
            return
        if 192 <= data[1] <= 223:
            self._receive_rtcp(srtp, data, now)
            return
        packet = srtp.unprotect(data)
        if packet is None:
            return
        if packet[0] != 0x80 and not is_well_formed_rtp(packet):
            self.count("malformed")
            return
        self._last_heard = now
        self._packets_received += 1
        self._bytes_received += len(packet)
        sink = self.sink
        if sink is None:
            self.count("no_sink")
            return
        sink.receive_rtp(packet, now)

    def _receive_rtcp(self, srtp: SrtpSession, data: bytes, now: float) -> None:
        packet = srtp.unprotect_rtcp(data)
        if packet is None:
            return
        if len(packet) < 8 or packet[0] >> 6 != 2:
            self.count("malformed")
            return
        self._last_heard = now
        if self.sink is None:
            self.count("no_sink")
            return
        self.sink.receive_rtcp(packet, now)

    def receive_dtls(self, data: bytes, now: float) -> None:
        """One DTLS datagram from a proved address."""
        if self._dtls is None:
            # A ClientHello may overtake the description it belongs to, in two datagrams where its key share
            # is post-quantum; keeping the first few saves the peer's back-off.
            if len(self._early) < self._host.config.max_early_datagrams:
                self._early.append(data)
            else:
                self.count("early")
            return
        self._dtls.receive(data, now)
        self._follow_dtls(now)

    def key_for(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of this leg's ufrags."""
        return self._ice.key_for(ufrag)

    def receive_check(self, request: BindingRequest, key: bytes, path: Path, source: Address, now: float) -> None:
        """Take and answer an authentic check; a failed leg, or an address in use elsewhere, gets silence."""
        if self.state is LegState.FAILED:
            return
        if not request.controlled and not request.unknown and not self._host.claim_address(self, path, source, now):
            self.count("address_in_use")
            return
        response = self._ice.receive_check(request, key, path, source, now)
        # The response goes first: a browser has no use for a ClientHello on a pair not yet proved to it.
        if not path.send(response, source):
            self.count("socket")
        self._last_heard = now
        self._follow_pairs()
        self._proceed(now)

    def last_heard_from(self, path: Path, address: Address) -> float | None:
        """When the last check came from that address, None when it is not one of ours."""
        pair = self._ice.pairs.get((path, address))
        return None if pair is None else pair.last_check

    def lose_address(self, path: Path, address: Address) -> None:
        """Another leg has proved that the address is its own now."""
        self._ice.forget_pair(path, address)
        self._follow_pairs()

    def count(self, reason: str) -> None:
        """Count one dropped packet."""
        self._discarded[reason] = self._discarded.get(reason, 0) + 1

    # What follows from it

    def _proceed(self, now: float) -> None:
        """Go as far as what is known allows."""
        if self._path is not None and self._remote_ufrag is not None and self.state is LegState.CHECKING:
            self._enter(LegInput.PAIR if self._srtp is None else LegInput.PAIR_KEYED, now)
        if self.state is LegState.CONNECTING and self._dtls is None:
            self._start_dtls(now)
        self._rearm()

    def _start_dtls(self, now: float) -> None:
        self._dtls = DtlsAssociation(self._host.dtls, self._role, self._fingerprints, self._host.config)
        self._dtls.start(now)
        early, self._early = self._early, []
        for datagram in early:
            self._dtls.receive(datagram, now)
        self._follow_dtls(now)

    def _follow_dtls(self, now: float) -> None:
        """Send what DTLS has to say and take over what it has come to."""
        dtls = self._dtls
        if dtls is None:
            return
        self._send_dtls()
        if dtls.state is DtlsState.CONNECTED and self._srtp is None:
            if dtls.send_key is not None and dtls.receive_key is not None:
                self._srtp = SrtpSession(dtls.send_key, dtls.receive_key, self._host.config.max_ssrcs)
                self._enter(LegInput.KEYS, now)
        elif dtls.state is DtlsState.FAILED:
            self._drop_keys()
            self._enter(LegInput.DTLS_FAILED, now, dtls.failure)
        elif dtls.state is DtlsState.CLOSED:
            self._drop_keys()
            self._enter(LegInput.DTLS_FAILED, now, "the peer closed its DTLS association")
        self._rearm()

    def _send_dtls(self) -> None:
        if self._dtls is None:
            return
        for datagram in self._dtls.datagrams_to_send():
            if self._path is not None and not self._path.send(datagram, self._address):
                self.count("socket")

    def _follow_pairs(self) -> None:
        """Take over the agent's choice of pair, and forget the addresses it gave up."""
        dropped, self._ice.dropped = self._ice.dropped, []
        for pair in dropped:
            self._host.release_address(self, pair.path, pair.address)
        selected: Pair | None = self._ice.selected
        self._path = None if selected is None else selected.path
        if selected is not None:
            self._address = selected.address
        if len(self._ufrags) > 1 and self._ice.previous is None:
            self._forget_ufrags_but(self._ice.ufrags())

    def _remote_restarted(self) -> None:
        if not self._restart_pending:
            self._new_generation()
        self._restart_pending = False

    def _new_generation(self) -> None:
        credentials = self._host.new_credentials(self)
        self._ufrags.add(credentials.ufrag)
        self._ice.restart(credentials)
        self._forget_ufrags_but(self._ice.ufrags())

    def _forget_ufrags_but(self, kept: set[str]) -> None:
        for ufrag in self._ufrags - kept:
            self._host.forget_ufrag(ufrag)
        self._ufrags = kept

    def _drop_keys(self) -> None:
        if self._srtp is not None:
            for reason, count in self._srtp.discarded.items():
                self._old_srtp_discarded[reason] = self._old_srtp_discarded.get(reason, 0) + count
        self._srtp = None
        self._early = []
        self._drop_dtls()

    def _drop_dtls(self) -> None:
        if self._dtls is not None:
            self._dtls.close()
            self._dtls = None

    def _enter(self, event: LegInput, now: float, reason: str = "") -> None:
        """Apply one row of the table, and tell the engine."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return
        self.state = state
        if state is LegState.CHECKING:
            self._last_heard = now
            self._setup_deadline = now + self._host.config.setup_timeout
        elif state is LegState.CONNECTED:
            self._setup_deadline = None
            if self.connected_after_ms is None and self._remote_since is not None:
                self.connected_after_ms = (now - self._remote_since) * 1000
        elif state is LegState.FAILED:
            self._setup_deadline = None
            if self._srtp is None:
                self._drop_dtls()
            self._ice.forget_pairs()
            self._follow_pairs()
        self._on_state(state, reason)

    # Timers

    def _deadline(self) -> float | None:
        if self.state in (LegState.NEW, LegState.FAILED, LegState.CLOSED):
            return None
        times = [self._setup_deadline, self._dtls.deadline if self._dtls is not None else None]
        if self.state is LegState.CONNECTED:
            times.append(self._last_heard + self._host.config.liveness_timeout)
        return min((time for time in times if time is not None), default=None)

    def _rearm(self) -> None:
        """Have a timer at the deadline; one that would fire early is left to find out by itself."""
        deadline = self._deadline()
        if deadline is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._timer_at = None
            return
        if self._timer is not None and self._timer_at is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._host.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._timer_at = None
        self.handle_timer(self._host.clock())
        self._rearm()

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        config = self._host.config
        if self._setup_deadline is not None and now >= self._setup_deadline:
            missing = "no valid ICE check came" if self.state is LegState.CHECKING else "DTLS did not finish"
            trouble = f": {self._dtls.trouble}" if self._dtls is not None and self._dtls.trouble else ""
            self._enter(LegInput.TIMEOUT, now, f"{missing} within {config.setup_timeout:g} s{trouble}")
        elif self.state is LegState.CONNECTED and now >= self._last_heard + config.liveness_timeout:
            self._enter(LegInput.SILENCE, now, f"nothing was heard from the peer for {config.liveness_timeout:g} s")
        elif self._dtls is not None:
            self._dtls.handle_timer(now)
            self._follow_dtls(now)
