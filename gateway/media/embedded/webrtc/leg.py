"""One browser's transport: ICE-lite and DTLS put together, with the plane carrying the packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gateway.media.embedded.plane.stun import BindingRequest
from gateway.media.embedded.plane.values import NOWHERE, Address, FlowConfig, FlowSnapshot
from gateway.media.embedded.webrtc.alarm import Alarm
from gateway.media.embedded.webrtc.certificate import usable_fingerprints
from gateway.media.embedded.webrtc.checks import Checklist, networks_of_lite, require_candidate
from gateway.media.embedded.webrtc.controlling import Control
from gateway.media.embedded.webrtc.dtls import (
    DtlsAssociation,
    DtlsContext,
    DtlsRole,
    DtlsState,
    NextAssociation,
    is_client_hello,
)
from gateway.media.embedded.webrtc.host import LegHost
from gateway.media.embedded.webrtc.ice import IceAgent, Left, Pair
from gateway.media.embedded.webrtc.renewals import Renewals
from gateway.media.embedded.webrtc.states import TRANSITIONS, LegInput, LegState, StateHandler
from gateway.media.embedded.webrtc.stun import Check, Message
from gateway.media.engine import MediaError
from sdp import MediaAgreement, RemoteTransport, TransportPlan
from sdp.attributes import Fingerprint
from sdp.negotiation import Side


class WebRtcLeg:
    """One peer connection's transport (BUNDLE and rtcp-mux, so one of each); a `Transport`.

    Made by `WebRtcPort.open_leg`. `agree` brings what signalling said of the peer; the rest comes in from the
    network. Its packets are the plane's: the leg tells it whom to hear, where to send, and the keys.
    """

    kind = "webrtc"

    def __init__(self, host: LegHost[WebRtcLeg], on_state: StateHandler, left: Left | None = None) -> None:
        """`left`: the plane holds it already, and `resume` follows."""
        self.state = LegState.NEW
        self.connected_after_ms: float | None = None
        """From the first `set_remote` to `connected`; None before."""
        self.tls_id: str | None = None  # a=tls-id of our descriptions (RFC 8842 section 4)
        self.discarded: dict[str, int] = {}
        """Datagrams that the leg itself dropped, by reason."""
        self.associations = 0
        """DTLS associations that were begun."""
        self.on_data: Callable[[bytes], None] = lambda data: None
        """Gets what comes by DTLS beside the handshake."""
        self._host = host
        self._on_state = on_state
        self._config = FlowConfig(secure=True, mux=True, max_packets_per_second=host.config.max_packets_per_second)
        self.flow = left.flow if left is not None else host.open_flow(self, self._config)
        credentials = left.credentials if left is not None else (host.new_credentials(self),)
        for each in credentials:
            host.take_credentials(self, each)
        self._ice = IceAgent(credentials[0], host.config.max_pairs)
        self._ufrags = {each.ufrag for each in credentials}
        self._remote_ufrag: str | None = None
        self._remote_password = ""
        config = host.config
        self._checks = Checklist(config.ice_peers_allowed, config.ice_candidates) if config.full_ice else None
        self._control: Control | None = None
        """Our part toward a lite peer, None toward any other."""
        self._tls_id: str | None = None
        self._fingerprints: tuple[tuple[str, str], ...] = ()
        self._told_fingerprints: tuple[Fingerprint, ...] = ()
        """Those of the process whose DTLS association goes on; (): the port's."""
        self._role = DtlsRole.PASSIVE
        self._dtls: DtlsAssociation | None = None
        self._renewals = Renewals()
        self._early: list[bytes] = []
        self._keyed = False
        self._path: int | None = None
        self._address = NOWHERE
        self._admitted: set[tuple[int, Address]] = set()
        self._remote_since: float | None = None
        self._setup_deadline: float | None = None
        self._alarm = Alarm(host.call_at, self._on_timer)
        if left is None:
            host.plane.set_credentials(self.flow, self._ice.settled())

    def values(self) -> dict[str, Any] | None:
        """What `resume` needs, as JSON can hold it; None where nothing flows yet."""
        if self.state is not LegState.CONNECTED or not self._keyed:
            return None
        told = self._told_fingerprints or self.plan().fingerprints
        return {
            "flow": self.flow,
            "ice": [[each.ufrag, each.password] for each in self._ice.in_force()],
            "remote_ufrag": self._remote_ufrag,
            "tls_id": self._tls_id,
            "our_tls_id": self.tls_id,
            "fingerprints": self._fingerprints,
            "role": self._role.value,
            "told": [[each.algorithm, each.digest] for each in told],
            "controls": self._remote_password if self._control is not None else None,
        }

    def resume(self, values: Mapping[str, Any], snapshot: FlowSnapshot) -> None:
        """Go on with what the plane holds; its DTLS association has ended with the process, its keys have not.

        Descriptions go on naming that association until the peer asks for another one (RFC 8842 section 5.1).
        Raises MediaError 481 where no pair is there.
        """
        now = self._host.clock()
        self._remote_ufrag = values["remote_ufrag"]
        self._tls_id, self.tls_id = values["tls_id"], values.get("our_tls_id")
        self._fingerprints = tuple((algorithm, digest) for algorithm, digest in values["fingerprints"])
        self._role = DtlsRole(values["role"])
        self._told_fingerprints = tuple(Fingerprint(algorithm, digest) for algorithm, digest in values["told"])
        self.state, self._keyed, self._remote_since, self.connected_after_ms = LegState.CONNECTED, True, now, 0.0
        for (path, address), when in snapshot.pairs.items():
            if self._host.claim_address(self, path, address, now):
                self._ice.resume(path, address, when, self._remote_ufrag or "", selected=address == snapshot.source)
                self._admitted.add((path, address))
        for credentials in Left.of(values).credentials[1:]:
            self._ice.restart(credentials)
        if values.get("controls"):
            self._remote_password = values["controls"]
            self._control, self._checks = Control(), Checklist()
            self._ice.control(True)
            self._control.begin(now)
        self._follow_pairs()
        if self._path is None:
            raise MediaError("no address of the peer is proved", 481)
        self._host.plane.set_credentials(self.flow, self._ice.settled())
        self._config = replace(self._config, idle_after=self._host.config.liveness_timeout)
        self._host.plane.configure_flow(self.flow, self._config)

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
    def ready(self) -> bool:
        """Whether media that is sent would reach the peer now."""
        return self._keyed and self._path is not None

    async def open(self) -> None:
        """Nothing to do: the port is open."""

    def plan(self) -> TransportPlan:
        """Our ICE agent, our certificate and where they can be reached."""
        plan = replace(self._host.transport_plan(self._ice.credentials), tls_id=self.tls_id)
        if self._control is not None and plan.ice is not None:
            plan = replace(plan, ice=replace(plan.ice, lite=False))
        return replace(plan, fingerprints=self._told_fingerprints) if self._told_fingerprints else plan

    @property
    def local_secrets(self) -> tuple[str, tuple[Fingerprint, ...], bool]:
        """Parts of `plan` that change where the peer asks for a new connection, or turns out to be a lite agent."""
        return self._ice.credentials.password, self._told_fingerprints, self._control is not None

    def allow(self, packets_per_second: int) -> None:
        """Take so many packets a second from the peer: of all the streams that share this transport."""
        self._config = replace(self._config, max_packets_per_second=packets_per_second)
        self._host.plane.configure_flow(self.flow, self._config)

    def agree(self, agreement: MediaAgreement, side: Side, private_source: str | None = None) -> None:
        """Take what was agreed with the peer; raises MediaError 488 where no connection can come of it."""
        remote = agreement.remote
        if remote is None or not remote.ice_ufrag or not remote.ice_pwd or agreement.dtls_role is None:
            raise MediaError("the description has no ICE credentials or no fingerprint", 488)
        self._take_role(remote, private_source)
        fingerprints = tuple([(each.algorithm, each.digest) for each in remote.fingerprints])
        self.set_remote(
            remote.ice_ufrag, remote.ice_pwd, fingerprints, agreement.dtls_role, side=side, tls_id=remote.tls_id
        )
        for candidate in remote.candidates:
            self.trickle(candidate)

    def _take_role(self, remote: RemoteTransport, private_source: str | None) -> None:
        """Control ICE toward a lite peer, else be controlled; raises MediaError 488 where no check may be sent."""
        config = self._host.config
        if not remote.ice_lite:
            if self._control is not None:
                self._host.forget_checks(self._control.restart())
                self._control = None
                self._ice.control(False)
                self._checks = Checklist(config.ice_peers_allowed, config.ice_candidates) if config.full_ice else None
            return
        allowed = networks_of_lite(config.ice_peers_allowed, private_source)
        require_candidate(remote.candidates, allowed)
        if self._control is None:
            self._control = Control()
            self._ice.control(True)
            self._checks = Checklist(allowed, config.ice_candidates)

    def set_remote(
        self,
        ufrag: str,
        password: str,
        fingerprints: tuple[tuple[str, str], ...],
        dtls_role: str | DtlsRole,
        *,
        side: Side = "answerer",
        tls_id: str | None = None,
    ) -> None:
        """Take what the peer's description says; the leg may connect from here on.

        `fingerprints` are (algorithm, value) pairs; `dtls_role` is *our* role, the
        `a=setup` of our own description: "active" or "passive". Said again with nothing new
        it does nothing. A new ufrag in an offer (we are the `side` that answers) is the peer's half of an ICE
        restart: our credentials change too, and the answer must carry them. In
        an answer to our offer it is another peer's, and ours stay. A new fingerprint or `tls_id` is a new DTLS
        association (RFC 8842 section 5.1). Raises MediaError 488 when no fingerprint can be checked, 400 for
        another role. `password` signs checks of our own, which a lite agent does not send.
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
        self._renewals.exchanged()
        first = self._remote_ufrag is None
        self._remote_since = now if first else self._remote_since
        restarted = not first and ufrag != self._remote_ufrag
        renamed = tls_id is not None and self._tls_id is not None and tls_id != self._tls_id
        rekeyed = not first and (usable != self._fingerprints or renamed)
        if restarted:
            self._restart_checks()
        self._remote_ufrag, self._remote_password, self._tls_id = ufrag, password, tls_id or self._tls_id
        if restarted and side == "answerer":
            self._new_generation()
        if first or rekeyed:
            self._fingerprints, self._role = usable, role
        if rekeyed:
            self._rekey(restarted, ufrag, now)
        elif restarted:
            self._enter(LegInput.RESTART, now)
        if first:
            self._enter(LegInput.REMOTE, now)
        self._proceed(now)

    def _restart_checks(self) -> None:
        if self._checks is not None:
            self._checks.clear()
        if self._control is not None:
            self._host.forget_checks(self._control.restart())

    def trickle(self, candidate: str) -> None:
        """A candidate of the peer ("candidate:…"); a lite agent learns addresses from the checks themselves."""
        is_settled = self._control is not None and self._control.is_nominated
        if self._checks is None or is_settled or self.state is LegState.CLOSED:
            return
        address = self._checks.add(candidate, self._host.clock())
        if address is not None:
            self._host.permit(address[0])
            self._rearm()

    def _send_checks(self, now: float) -> None:
        if self._checks is None or self._remote_ufrag is None:
            return
        address = self._checks.due(now)
        if address is not None:
            self._check(address)
        if self._control is not None and self._path is not None and now >= self._control.deadline():
            self._check_selected(self._control, self._path, self._address, now)

    def _check(self, address: Address, path: int | None = None, *, nominates: bool = False) -> bytes:
        """Send a check; one random octet."""
        username = f"{self._remote_ufrag}:{self.local_ufrag}"
        control = self._control
        check = Check(
            username=username, password=self._remote_password, controls=control is not None, nominates=nominates
        )
        sent = self._host.send_check(self, address, check, path)
        if control is not None:
            self._host.forget_checks(control.sent(sent, address, nominates=nominates))
        return sent[0][0][:1] if sent else b"\0"

    def _check_selected(self, control: Control, path: int, address: Address, now: float) -> None:
        """Nominate the pair, or ask whether the peer still consents."""
        random = self._check(address, path, nominates=not control.is_nominated)
        control.again(now, random[0])

    def _rekey(self, restarted: bool, ufrag: str, now: float) -> None:
        self._drop_keys()
        self._told_fingerprints, self.tls_id = (), None
        if restarted:
            # Another end altogether: nothing of the new handshake may reach the old one.
            self._ice.retire_older_generations()
            self._ice.forget_other_peers(ufrag)
            self._follow_pairs()
        self._enter(LegInput.REKEY, now)

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
        self._restart_checks()
        self._host.forget_leg(self)
        self._enter(LegInput.CLOSE, now)
        self._rearm()

    # What the plane brings, from proved addresses only but for checks

    def receive_dtls(self, data: bytes, now: float) -> None:
        """One DTLS datagram from a proved address."""
        if self._keyed and self._renews(data, now):
            return
        if self._dtls is None:
            # A ClientHello, in two datagrams where its key share is post-quantum, may overtake its description.
            if len(self._early) < self._host.config.max_early_datagrams:
                self._early.append(data)
            else:
                self.count("early")
            return
        self._dtls.receive(data, now)
        self._follow_dtls(now)

    def _renews(self, data: bytes, now: float) -> bool:
        """Take a datagram for a handshake that the peer begins beside its keys; False where the association has it too.

        Asterisk begins one after each exchange of descriptions, with the same fingerprint and without a tls-id.
        """
        renewals, peer, config = self._renewals, self._address, self._host.config
        is_hello = is_client_hello(data)
        if is_hello and self._role is DtlsRole.PASSIVE and renewals.may_begin(peer):
            renewals.begin(peer, NextAssociation(self._context, self._fingerprints, config), now + config.setup_timeout)
        renewals.receive(peer, data, now)
        return self._follow_renewals(now) or is_hello

    def _follow_renewals(self, now: float) -> bool:
        """Send for the handshakes beside the keys, and take over the keys of one that is done; whether one is."""
        for address, association in self._renewals.handshakes.items():
            for datagram in association.datagrams_to_send():
                if self._path is not None:
                    self._host.plane.send(self._path, address, datagram)
        done = self._renewals.settle()
        if done is not None:
            self._dtls, self._keyed = done[1], False
            self._told_fingerprints = self._host.dtls.shown(self._told_fingerprints)
            self.associations += 1
            self._follow_dtls(now)
        self._rearm()
        return done is not None

    def send_data(self, data: bytes) -> None:
        """Have it sent by DTLS; without an association it is dropped."""
        if self._dtls is not None:
            self._dtls.send(data)
            self._send_dtls()

    def key_for(self, ufrag: str) -> bytes | None:
        """The integrity key behind one of this leg's ufrags."""
        return self._ice.key_for(ufrag)

    def receive_check(self, request: BindingRequest, key: bytes, path: int, source: Address, now: float) -> None:
        """Take and answer an authentic check; a failed leg, or an address in use elsewhere, gets silence."""
        if self.state is LegState.FAILED:
            return
        if not request.controlled and not request.unknown and not self._host.claim_address(self, path, source, now):
            self.count("address_in_use")
            return
        response = self._ice.receive_check(request, key, path, source, now)
        # The response goes first: a browser has no use for a ClientHello on a pair not yet proved to it.
        self._host.plane.send(path, source, response)
        self._follow_pairs()
        self._proceed(now)

    def receive_response(self, response: Message, path: int, source: Address, now: float) -> None:
        """Take the response to a check of ours, which proves a pair where it is authentic."""
        control, ufrag = self._control, self._remote_ufrag
        if control is None or ufrag is None or self.state in (LegState.FAILED, LegState.CLOSED):
            return
        sent = control.response(response, self._remote_password.encode(), path, source, now)
        if sent is None or not self._host.claim_address(self, path, source, now):
            self.count("stun_response")
            return
        self._ice.prove(path, source, now, ufrag, nominated=sent.nominates)
        self._follow_pairs()
        if control.is_nominated and self._checks is not None:
            self._checks.clear()
        elif not sent.nominates:
            self._check_selected(control, path, source, now)
        self._proceed(now)

    def idle(self, silent: float) -> None:
        """Nothing authentic came for as long as a connected leg may be silent."""
        control = self._control
        if control is not None and self._host.clock() - control.heard < self._host.config.liveness_timeout:
            # The peer, which sends no checks, answers ours: count from now.
            self._host.plane.configure_flow(self.flow, self._config)
        elif self.state is LegState.CONNECTED:
            self._enter(LegInput.SILENCE, self._host.clock(), f"nothing was heard from the peer for {silent:.0f} s")
            self._rearm()

    def note_checks(self, pairs: Mapping[tuple[int, Address], float]) -> None:
        """When the plane answered checks, by pair."""
        for (path, address), when in pairs.items():
            self._ice.note_check(path, address, when)

    def last_heard_from(self, path: int, address: Address) -> float | None:
        """When the last check came from that address, None when it is not one of ours."""
        pair = self._ice.pairs.get((path, address))
        return None if pair is None else pair.last_check

    def lose_address(self, path: int, address: Address) -> None:
        """Another leg has proved that the address is its own now."""
        self._ice.forget_pair(path, address)
        self._follow_pairs()

    def count(self, reason: str) -> None:
        """Count one dropped datagram."""
        self.discarded[reason] = self.discarded.get(reason, 0) + 1

    # What follows from it

    def _proceed(self, now: float) -> None:
        """Go as far as what is known allows."""
        if self._path is not None and self._remote_ufrag is not None and self.state is LegState.CHECKING:
            self._enter(LegInput.PAIR_KEYED if self._keyed else LegInput.PAIR, now)
        if self.state is LegState.CONNECTING and self._dtls is None:
            self._start_dtls(now)
        self._rearm()

    @property
    def _context(self) -> DtlsContext:
        return self._host.dtls.of(self._told_fingerprints)

    def _start_dtls(self, now: float) -> None:
        self._dtls = DtlsAssociation(self._context, self._role, self._fingerprints, self._host.config)
        self.associations += 1
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
        for data in dtls.data_received():
            self.on_data(data)
        if dtls.state is DtlsState.CONNECTED and not self._keyed:
            if dtls.send_key is not None and dtls.receive_key is not None:
                self._host.plane.set_receive_key(self.flow, dtls.receive_key)
                self._host.plane.set_send_key(self.flow, dtls.send_key)
                self._keyed = True
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
            if self._path is not None:
                self._host.plane.send(self._path, self._address, datagram)

    def _follow_pairs(self) -> None:
        """Have the plane take over the agent's choice of pair, and forget the addresses it gave up."""
        plane = self._host.plane
        dropped, self._ice.dropped = self._ice.dropped, []
        for pair in dropped:
            self._admitted.discard((pair.path, pair.address))
            plane.remove_pair(self.flow, pair.path, pair.address)
            self._host.release_address(self, pair.path, pair.address)
        for path, address in self._ice.pairs.keys() - self._admitted:
            self._admitted.add((path, address))
            plane.admit_pair(self.flow, path, address)
        selected: Pair | None = self._ice.selected
        if selected is None:
            self._path = None
        elif (selected.path, selected.address) != (self._path, self._address):
            self._path, self._address = selected.path, selected.address
            plane.select(self.flow, selected.path, selected.address)
        if len(self._ufrags) > 1 and self._ice.previous is None:
            self._forget_ufrags_but(self._ice.ufrags())

    def _new_generation(self) -> None:
        credentials = self._host.new_credentials(self)
        self._ufrags.add(credentials.ufrag)
        self._ice.restart(credentials)
        self._forget_ufrags_but(self._ice.ufrags())

    def _forget_ufrags_but(self, kept: set[str]) -> None:
        for ufrag in self._ufrags - kept:
            self._host.forget_ufrag(ufrag)
        self._ufrags = kept
        self._host.plane.set_credentials(self.flow, self._ice.settled() if kept else ())

    def _drop_keys(self) -> None:
        self._host.plane.drop_keys(self.flow)
        self._keyed = False
        self._early = []
        self._drop_dtls()

    def _drop_dtls(self) -> None:
        self._renewals.drop()
        if self._dtls is not None:
            self._dtls.close()
            self._dtls = None

    def _enter(self, event: LegInput, now: float, reason: str = "") -> None:
        """Apply one row of the table, and tell the engine."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return
        self.state = state
        idle_after = self._host.config.liveness_timeout if state is LegState.CONNECTED else 0.0
        if idle_after != self._config.idle_after and state is not LegState.CLOSED:
            self._config = replace(self._config, idle_after=idle_after)
            self._host.plane.configure_flow(self.flow, self._config)
        if state is LegState.CHECKING:
            self._setup_deadline = now + self._host.config.setup_timeout
        elif state is LegState.CONNECTED:
            self._setup_deadline = None
            if self.connected_after_ms is None and self._remote_since is not None:
                self.connected_after_ms = (now - self._remote_since) * 1000
        elif state is LegState.FAILED:
            self._setup_deadline = None
            if not self._keyed:
                self._drop_dtls()
            self._ice.forget_pairs()
            self._follow_pairs()
        self._on_state(state, reason)

    # Timers

    def _deadline(self) -> float | None:
        if self.state in (LegState.NEW, LegState.FAILED, LegState.CLOSED):
            return None
        times = [self._setup_deadline, self._dtls.deadline if self._dtls is not None else None]
        times += self._renewals.deadlines()
        if self._checks is not None:
            times.append(self._checks.deadline())
        if self._control is not None and self._path is not None:
            times.append(self._control.deadline())
        return min((time for time in times if time is not None), default=None)

    def _rearm(self) -> None:
        self._alarm.set(self._deadline())

    def _on_timer(self) -> None:
        self.handle_timer(self._host.clock())
        self._rearm()

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        config = self._host.config
        self._send_checks(now)
        self._renewals.handle_timer(now)
        self._follow_renewals(now)
        if self._setup_deadline is not None and now >= self._setup_deadline:
            missing = "no valid ICE check came" if self.state is LegState.CHECKING else "DTLS did not finish"
            trouble = f": {self._dtls.trouble}" if self._dtls is not None and self._dtls.trouble else ""
            self._enter(LegInput.TIMEOUT, now, f"{missing} within {config.setup_timeout:g} s{trouble}")
        elif self._dtls is not None:
            self._dtls.handle_timer(now)
            self._follow_dtls(now)
