"""Transport of a section's far end and protection of its packets, parsed from its description."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from sdp.attributes import Crypto, Fingerprint, IcePwd, IceUfrag, Rtcp, Setup, SetupRole
from sdp.description import MediaDescription, SessionDescription
from sdp.fields import Connection
from sdp.frozen import filled_at_once
from sdp.hosts import IpAddress, ip_of


@filled_at_once
@dataclass(frozen=True, slots=True)
class RemoteTransport:
    """Destination of one section's packets, and parameters of their sender."""

    address: str
    """IP address in canonical text, or name from the c= line; "" without a readable c= line."""
    port: int
    """RTP port."""
    rtcp_address: str
    rtcp_port: int
    """Equal to `port` with rtcp-mux, else a=rtcp (RFC 3605) or `port` + 1; 0 without a port."""
    rtcp_mux: bool = False
    """True if agreed by both sides."""
    ice_ufrag: str | None = None
    ice_pwd: str | None = field(default=None, repr=False)
    ice_options: tuple[str, ...] = ()
    ice_lite: bool = False
    candidates: tuple[str, ...] = ()
    """Candidates as "candidate:..." (RFC 8839)."""
    end_of_candidates: bool = False
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: SetupRole | None = None
    tls_id: str | None = None
    crypto: Crypto | None = None
    """SDES key of the peer's packets, once agreed."""
    private: bool = False
    """True for an address unreachable from elsewhere (private, unspecified, a name): send to the source of received
    packets."""
    held: bool = False
    """True for an address of 0.0.0.0 or :: without ICE: send nothing (RFC 3264 section 8.4)."""

    @property
    def ice(self) -> bool:
        """Return True if the peer supports ICE."""
        return self.ice_ufrag is not None

    @property
    def host(self) -> IpAddress | None:
        """Return the IP address of RTP; None for a name, and without a c= line."""
        return ip_of(self.address)

    @property
    def rtcp_host(self) -> IpAddress | None:
        """Return the IP address of RTCP; that of RTP if a=rtcp has a name, or another IP version."""
        host, rtcp = self.host, ip_of(self.rtcp_address)
        return rtcp if rtcp is not None and host is not None and rtcp.version == host.version else host


@lru_cache(maxsize=1024)
def is_private(address: str) -> bool:
    """Return True if packets to `address` from another network would not arrive.

    True for private, shared, loopback, link-local, unspecified, multicast and reserved addresses, and for names
    (including browsers' mDNS names), which are never resolved here.
    """
    parsed = ip_of(address)
    if parsed is None:
        return True
    usable: IpAddress = getattr(parsed, "ipv4_mapped", None) or parsed
    return not usable.is_global or usable.is_multicast


def address_of(description: SessionDescription, media: MediaDescription) -> str:
    """Return the address of the section's or session's c= line; "" without a readable line."""
    connection = description.connection_of(media)
    return _canonical(connection.address) if connection is not None else ""


def _canonical(address: str) -> str:
    """Return an IP address in the canonical text of sockets; a name unchanged."""
    parsed = ip_of(address)
    return address if parsed is None else str(parsed)


def is_nowhere(connection: Connection | None) -> bool:
    """Return True for a c= line with 0.0.0.0 or ::."""
    return connection is not None and (address := connection.ip) is not None and address.is_unspecified


def has_ice(description: SessionDescription, media: MediaDescription) -> bool:
    """Return True if the section's writer supports ICE."""
    return description.first_of(media, IceUfrag) is not None


def transport_section(description: SessionDescription, media: MediaDescription) -> MediaDescription:
    """Return the section with the transport of an offered `media`.

    For a bundle-only section the first of its group with a port (RFC 9143 section 7.2.1), else `media` itself.
    """
    if media.port or not media.has("bundle-only"):
        return media
    mid = media.mid
    group = next((mids for mids in bundle_groups(description) if mid in mids), ())
    return next((other for other in description.media if other.port and other.mid in group), media)


def is_held(description: SessionDescription, media: MediaDescription) -> bool:
    """Return True if the section is on hold by an address of 0.0.0.0, the old notation (RFC 3264 section 8.4)."""
    return is_nowhere(description.connection_of(media)) and not has_ice(description, media)


def setup_of(description: SessionDescription, media: MediaDescription) -> SetupRole | None:
    """Return the DTLS role of the section, or of the session."""
    setup = description.first_of(media, Setup)
    return setup.role if setup is not None else None


def read_transport(
    description: SessionDescription, media: MediaDescription, *, rtcp_mux: bool, crypto: Crypto | None = None
) -> RemoteTransport:
    """Return the transport of the writer of `media`; `rtcp_mux` and `crypto` as agreed by both sides."""
    address = address_of(description, media)
    port = media.port
    rtcp = media.first(Rtcp)
    if rtcp_mux or not port:
        rtcp_address, rtcp_port = address, port
    elif rtcp is not None:
        rtcp_address, rtcp_port = _canonical(rtcp.address or address), rtcp.port
    else:
        rtcp_address, rtcp_port = address, port + 1 if port < 65535 else 0
    options = description.value_of(media, "ice-options")
    ufrag, password = description.first_of(media, IceUfrag), description.first_of(media, IcePwd)
    return RemoteTransport(
        address=address,
        port=port,
        rtcp_address=rtcp_address,
        rtcp_port=rtcp_port,
        rtcp_mux=rtcp_mux,
        ice_ufrag=ufrag.value if ufrag is not None else None,
        ice_pwd=password.value if password is not None else None,
        ice_options=tuple(options.split()) if options else (),
        ice_lite=description.has("ice-lite"),
        candidates=tuple(["candidate:" + value for value in media.values("candidate")]),
        end_of_candidates=description.value_of(media, "end-of-candidates") is not None,
        fingerprints=description.all_of(media, Fingerprint),
        setup=setup_of(description, media),
        crypto=crypto,
        tls_id=description.value_of(media, "tls-id") or None,
        private=is_private(address),
        held=ufrag is None and is_nowhere(description.connection_of(media)),
    )


def restarts_ice(before: RemoteTransport, after: RemoteTransport) -> bool:
    """Return True if the peer started a new ICE session, shown by new credentials (RFC 8839 section 4.4.3.1.1)."""
    return after.ice and (before.ice_ufrag, before.ice_pwd) != (after.ice_ufrag, after.ice_pwd)


def bundle_groups(description: SessionDescription) -> tuple[tuple[str, ...], ...]:
    """Return the mids of each BUNDLE group (RFC 9143)."""
    found: tuple[tuple[str, ...], ...] | None = description._views.get(bundle_groups)
    if found is None:
        groups = [value.split() for value in description.values("group")]
        found = tuple([tuple(words[1:]) for words in groups if words and words[0] == "BUNDLE"])
        description._views[bundle_groups] = found
    return found
