"""DTLS-SRTP with a phone that does no ICE (RFC 5763, RFC 5764): on its RTP port, and that of RTCP where it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.alarm import Alarm, Timer
from gateway.media.embedded.webrtc.certificate import usable_fingerprints
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.embedded.webrtc.dtls import (
    DtlsAssociation,
    DtlsContext,
    DtlsRole,
    DtlsState,
    NextAssociation,
    is_client_hello,
)
from gateway.media.embedded.webrtc.renewals import Renewals
from gateway.media.engine import MediaError
from sdp import MediaAgreement
from sdp.attributes import Fingerprint


class DtlsHost(Protocol):
    """What an association needs of the engine: the browsers' port has it."""

    @property
    def config(self) -> WebRtcConfig: ...

    @property
    def dtls(self) -> DtlsContext: ...

    def clock(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class DtlsUser(Protocol):
    """Whose packets the keys are for: it knows the phone's addresses."""

    def takes_dtls_from(self, source: Address, now: float, *, rtcp: bool) -> bool:
        """Whether the phone may speak DTLS from there."""

    def dtls_destination(self, *, rtcp: bool) -> Address | None:
        """Where the phone is said to be; None: nowhere now."""

    def dtls_keyed(self, peer: Address) -> None:
        """The handshake of RTP is done, with who is at `peer`; the plane has the keys."""

    def dtls_failed(self, reason: str) -> None: ...


_MOST_TRIES = 4
"""Addresses, beside the described one, of which each may try a handshake of its own, until one has finished it."""


class Component:
    """RTP, with RTCP where they are multiplexed, or RTCP alone."""

    def __init__(self, path: int, *, rtcp: bool) -> None:
        """`path`: of the socket in the plane."""
        self.path = path
        self.rtcp = rtcp
        self.association: DtlsAssociation | None = None
        self.peer: Address | None = None
        """Who is spoken with, once something came."""
        self.others: dict[Address, DtlsAssociation] = {}
        """Further addresses that try until somebody is authenticated: who speaks first may be a neighbour."""
        self.refused: set[Address] = set()
        """Those of them that have failed."""
        self.trouble = ""
        """Why the last of these did."""
        self.early: list[tuple[Address, bytes]] = []
        """What came before the description that says whose it may be."""
        self.is_keyed = False
        self.renewals = Renewals()

    @property
    def tries(self) -> list[tuple[Address | None, DtlsAssociation]]:
        """Every handshake that is under way, or the one that is done, and with whom."""
        first = [] if self.association is None else [(self.peer, self.association)]
        return [*first, *self.others.items()]

    def end(self) -> list[tuple[Address | None, DtlsAssociation]]:
        """Forget every association; gives those that have to say so."""
        ended = self.tries
        self.association = self.peer = None
        self.others, self.refused, self.trouble, self.is_keyed = {}, set(), "", False
        self.renewals.drop()
        for _, association in ended:
            association.close()
        return ended

    def settle(
        self, source: Address | None, association: DtlsAssociation
    ) -> list[tuple[Address | None, DtlsAssociation]]:
        """Keep the association that has proved to be the phone's; gives the others, closed."""
        others = [each for each in self.tries if each[1] is not association]
        for _, other in others:
            other.close()
        self.association, self.peer, self.others = association, source, {}
        return others

    def is_final(self, role: DtlsRole, source: Address | None, described: Address | None) -> bool:
        """Tell whether a handshake that fails is the phone's own: a neighbour's ends no call."""
        return self.is_keyed or role is DtlsRole.ACTIVE or source in (None, described)


class PhoneDtls:
    """The associations of one phone. `agree` begins them; the rest comes from the network and by time."""

    def __init__(self, host: DtlsHost, plane: Plane, flow: int, user: DtlsUser) -> None:
        self._host = host
        self._plane = plane
        self._flow = flow
        self._user = user
        self._components: tuple[Component, ...] = ()
        self._agreed: tuple[tuple[tuple[str, str], ...], str | None] | None = None
        """Fingerprints and tls-id of the phone."""
        self._told: tuple[Fingerprint, ...] = ()
        """Our fingerprints, where the association is one of another process and goes on; (): those of now."""
        self._role = DtlsRole.PASSIVE
        self._is_muxed = True
        self._begins_again = False
        """True once the phone has begun a handshake of its own accord, though it had keys."""
        self._exchanged = float("-inf")
        """When descriptions were last exchanged that left the keys as they were."""
        self._has_turned = False
        """True from an exchange that has changed the roles until `start`."""
        self._deadline: float | None = None
        self._alarm = Alarm(host.call_at, self._on_timer)

    def open(self, paths: Sequence[int]) -> None:
        """`paths` of the RTP and the RTCP socket."""
        self._components = tuple([Component(path, rtcp=bool(place)) for place, path in enumerate(paths)])

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What our descriptions say."""
        return self._told or tuple([Fingerprint(*each) for each in self._host.dtls.fingerprints])

    def values(self) -> dict[str, Any]:
        """What `resume` needs, as JSON can hold it: no key."""
        return {
            "paths": [each.path for each in self._components],
            "agreed": self._agreed,
            "role": self._role.value,
            "muxed": self._is_muxed,
            "told": [[each.algorithm, each.digest] for each in self.fingerprints],
            "begins_again": self._begins_again,
        }

    def resume(self, values: dict[str, Any]) -> None:
        """The keys of another process are in the plane; its association is not spoken on any more."""
        self.open(values["paths"])
        fingerprints, tls_id = values["agreed"]
        self._agreed = tuple([(algorithm, digest) for algorithm, digest in fingerprints]), tls_id
        self._role, self._is_muxed = DtlsRole(values["role"]), values["muxed"]
        self._begins_again = values.get("begins_again", False)
        told = tuple([Fingerprint(*each) for each in values["told"]])
        # A peer that begins again after each exchange must be told whose certificate it will be shown.
        self._told = self._host.dtls.shown(told) if self._begins_again else told
        for each in self._components:
            each.is_keyed = not (each.rtcp and self._is_muxed)

    def agree(self, agreement: MediaAgreement) -> bool:
        """Take what was agreed; whether a new association begins, whose keys are to come (RFC 8842 section 5.1).

        With other roles alone the keys serve until it is done. Raises MediaError 488, and has changed nothing.
        """
        remote = agreement.remote
        usable = usable_fingerprints(tuple([(f.algorithm, f.digest) for f in remote.fingerprints]) if remote else ())
        if remote is None or not usable or agreement.dtls_role is None:
            raise MediaError("the description has no usable a=fingerprint", 488)
        before, tls_id = self._agreed, remote.tls_id
        if before is not None:
            tls_id = tls_id or before[1]
            if before == (usable, tls_id) or (before[0] == usable and before[1] is None):
                self._agreed = usable, tls_id
                self._stay(DtlsRole(agreement.dtls_role))
                return False
        self._forget()
        self._agreed, self._told = (usable, tls_id), ()
        self._role, self._is_muxed = DtlsRole(agreement.dtls_role), remote.rtcp_mux
        self._deadline = self._host.clock() + self._host.config.setup_timeout
        return True

    def _stay(self, role: DtlsRole) -> None:
        """Note an exchange of descriptions after which the keys serve on, in another role perhaps."""
        self._exchanged = self._host.clock()
        self._has_turned = role is not self._role
        self._role = role
        for each in self._components:
            each.renewals.exchanged()
            if self._has_turned:
                each.renewals.drop()

    def start(self) -> None:
        """Begin the handshakes that were agreed."""
        now = self._host.clock()
        turned, self._has_turned = self._has_turned, False
        for each in self._components:
            if each.is_keyed:
                if turned:
                    self._turn(each, now)
            elif each.association is None and self._agreed is not None and not (each.rtcp and self._is_muxed):
                each.association = self._associate(now)
                early, each.early = each.early, []
                for source, data in early:
                    self._take(each, source, data, now)
                self._follow(each, now)

    def _turn(self, component: Component, now: float) -> None:
        """Begin the association of another role; where the phone begins it, wait."""
        peer = self._user.dtls_destination(rtcp=component.rtcp)
        if peer is not None and self._role is DtlsRole.ACTIVE:
            component.renewals.begin(peer, self._associate(now), now + self._host.config.setup_timeout)
            self._follow(component, now)

    def _associate(self, now: float) -> DtlsAssociation:
        assert self._agreed is not None
        made = DtlsAssociation(self._host.dtls.of(self._told), self._role, self._agreed[0], self._host.config)
        made.start(now)
        return made

    def receive(self, path: int, source: Address, data: bytes, now: float) -> None:
        """One datagram, of anybody."""
        component = next((each for each in self._components if each.path == path), None)
        if component is None:
            return
        if component.is_keyed:
            self._receive_keyed(component, source, data, now)
            return
        if component.association is None:
            if self._agreed is None and len(component.early) < self._host.config.max_early_datagrams:
                component.early.append((source, data))
            return
        self._take(component, source, data, now)
        self._follow(component, now)

    def _receive_keyed(self, component: Component, source: Address, data: bytes, now: float) -> None:
        """A datagram beside keys: of the association that has made them, or of the next one of the same peer.

        Asterisk begins one after each exchange of descriptions, with the fingerprint of before and without a tls-id.
        """
        if source not in (component.peer, self._user.dtls_destination(rtcp=component.rtcp)):
            return
        is_hello, renewals = is_client_hello(data), component.renewals
        if is_hello and self._role is DtlsRole.PASSIVE and self._agreed is not None and renewals.may_begin(source):
            made = NextAssociation(self._host.dtls.of(self._told), self._agreed[0], self._host.config)
            renewals.begin(source, made, now + self._host.config.setup_timeout)
        renewals.receive(source, data, now)
        if component.association is not None and source == component.peer and not is_hello:
            component.association.receive(data, now)
        self._follow(component, now)

    def _take(self, component: Component, source: Address, data: bytes, now: float) -> None:
        association = self._association_with(component, source, now)
        if association is not None:
            association.receive(data, now)

    def _association_with(self, component: Component, source: Address, now: float) -> DtlsAssociation | None:
        """The one that a datagram of `source` is for; until one is connected each address has its own.

        Where we begin the handshake there is one, and who answers it first is spoken with.
        """
        if component.peer == source or component.association is None:
            return component.association
        if source in component.others:
            return component.others[source]
        if component.is_keyed or source in component.refused:
            return None
        tried = len(component.others) + len(component.refused) + (component.peer is not None)
        is_full = tried >= _MOST_TRIES and source != self._user.dtls_destination(rtcp=component.rtcp)
        if is_full or not self._user.takes_dtls_from(source, now, rtcp=component.rtcp):
            return None
        if component.peer is None:
            component.peer = source
            return component.association
        if self._role is DtlsRole.ACTIVE:
            return None
        made = component.others[source] = self._associate(now)
        return made

    def _follow(self, component: Component, now: float) -> None:
        """Send what the associations have to say, and take over what they have come to."""
        for source, association in component.tries:
            self._send(component, source, association)
            if association.state is DtlsState.CONNECTED and not component.is_keyed:
                self._keyed(component, source, association)
                break
            if association.state in (DtlsState.FAILED, DtlsState.CLOSED):
                closed = association.state is DtlsState.CLOSED
                trouble = "the peer closed its DTLS association" if closed else association.failure
                if closed and component.is_keyed and self._waits_for_next(component, now):
                    break
                if component.is_final(self._role, source, self._user.dtls_destination(rtcp=component.rtcp)):
                    self._fail(trouble)
                    break
                self._give_up(component, source, trouble, now)
        self._renew(component)
        self._rearm()

    def _renew(self, component: Component) -> None:
        for source, association in component.renewals.handshakes.items():
            self._send(component, source, association)
        done = component.renewals.settle()
        if done is not None:
            component.association, self._told = None, self._host.dtls.shown(self._told)
            self._begins_again = self._begins_again or self._role is DtlsRole.PASSIVE
            self._keyed(component, *done)

    def _waits_for_next(self, component: Component, now: float) -> bool:
        """Keep the keys of a phone that has closed its association, as it may before it begins the next one."""
        until = self._exchanged + self._host.config.setup_timeout
        if now >= until and not component.renewals.handshakes:
            return False
        component.association = None
        if not component.rtcp:
            self._deadline = now + self._host.config.setup_timeout
        return True

    def _give_up(self, component: Component, source: Address | None, trouble: str, now: float) -> None:
        """One address has failed; others may still be the phone's."""
        assert source is not None
        component.trouble = trouble
        component.refused.add(source)
        failed = component.others.pop(source, None)
        if failed is None:
            failed = component.association
            component.association, component.peer = self._associate(now), None
        if failed is not None:
            failed.close()
            self._send(component, source, failed)

    def _send(self, component: Component, source: Address | None, association: DtlsAssociation) -> None:
        to = source or self._user.dtls_destination(rtcp=component.rtcp)
        for datagram in association.datagrams_to_send():
            if to is not None:
                self._plane.send(component.path, to, datagram)

    def _keyed(self, component: Component, source: Address | None, association: DtlsAssociation) -> None:
        for other, its in component.settle(source, association):
            self._send(component, other, its)
        send, receive, peer = association.send_key, association.receive_key, component.peer
        if send is None or receive is None or peer is None:
            return
        component.is_keyed = True
        if component.rtcp:
            self._plane.set_rtcp_keys(self._flow, receive, send)
            return
        self._plane.set_receive_key(self._flow, receive)
        self._plane.set_send_key(self._flow, send)
        self._deadline = None
        self._user.dtls_keyed(peer)

    def _fail(self, reason: str) -> None:
        self._forget()
        self._user.dtls_failed(reason)

    def close(self) -> None:
        """Say close_notify, and nothing more; idempotent."""
        self._forget()
        self._components = ()

    def _forget(self) -> None:
        for each in self._components:
            for source, association in each.end():
                self._send(each, source, association)
        self._deadline = None
        self._rearm()

    # Time

    def _rearm(self) -> None:
        times = [association.deadline for each in self._components for _, association in each.tries]
        times += [when for each in self._components for when in each.renewals.deadlines()]
        self._alarm.set(min((when for when in (*times, self._deadline) if when is not None), default=None))

    def _on_timer(self) -> None:
        now, config = self._host.clock(), self._host.config
        if self._deadline is not None and now >= self._deadline:
            if self._user.dtls_destination(rtcp=False) is not None:
                troubles = [its.trouble for each in self._components for _, its in each.tries]
                troubles += [each.trouble for each in self._components]
                said = next((f": {trouble}" for trouble in troubles if trouble), "")
                self._fail(f"DTLS did not finish within {config.setup_timeout:g} s{said}")
                return
            self._deadline = now + config.setup_timeout  # on hold by an address of nobody
        for each in self._components:
            each.renewals.handle_timer(now)
            for _, association in each.tries:
                association.handle_timer(now)
            self._follow(each, now)
        self._rearm()
