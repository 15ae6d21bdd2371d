"""Where the far end of a section is, and how its packets are protected, read from its description."""

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
    """Where to send one section's packets, and what to expect of its sender."""

    address: str
    """IP address, canonically written, or name of its c= line; "" where it has no readable one."""
    port: int
    """RTP port."""
    rtcp_address: str
    rtcp_port: int
    """Equal to `port` with rtcp-mux, else a=rtcp (RFC 3605) or one above `port`; 0 where there is no port."""
    rtcp_mux: bool = False
    """Whether both sides agreed to it."""
    ice_ufrag: str | None = None
    ice_pwd: str | None = field(default=None, repr=False)
    ice_options: tuple[str, ...] = ()
    ice_lite: bool = False
    candidates: tuple[str, ...] = ()
    """As "candidate:..." (RFC 8839)."""
    end_of_candidates: bool = False
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: SetupRole | None = None
    tls_id: str | None = None
    crypto: Crypto | None = None
    """The SDES key its packets are protected with, once agreed."""
    private: bool = False
    """Its address cannot be sent to from elsewhere (private, unspecified, a name): latch to where packets come from."""
    held: bool = False
    """Its address is 0.0.0.0 or ::, which in a peer without ICE means: send nothing (RFC 3264 section 8.4)."""

    @property
    def ice(self) -> bool:
        """Whether the peer does ICE."""
        return self.ice_ufrag is not None

    @property
    def host(self) -> IpAddress | None:
        """IP address of RTP; None for a name, and without a c= line."""
        return ip_of(self.address)

    @property
    def rtcp_host(self) -> IpAddress | None:
        """IP address of RTCP: that of RTP where a=rtcp gives a name, or an address of the other IP version."""
        host, rtcp = self.host, ip_of(self.rtcp_address)
        return rtcp if rtcp is not None and host is not None and rtcp.version == host.version else host


@lru_cache(maxsize=1024)
def is_private(address: str) -> bool:
    """Whether packets sent to `address` from another network would not arrive.

    True for private, shared, loopback, link-local, unspecified, multicast and reserved addresses, and for
    names (a browser's mDNS name among them), which nothing here resolves.
    """
    parsed = ip_of(address)
    if parsed is None:
        return True
    usable: IpAddress = getattr(parsed, "ipv4_mapped", None) or parsed
    return not usable.is_global or usable.is_multicast


def address_of(description: SessionDescription, media: MediaDescription) -> str:
    """The address of its c= line, its own or the session's; "" where there is no readable one."""
    connection = description.connection_of(media)
    return _canonical(connection.address) if connection is not None else ""


def _canonical(address: str) -> str:
    """An IP address as sockets write it; a name as it is."""
    parsed = ip_of(address)
    return address if parsed is None else str(parsed)


def is_nowhere(connection: Connection | None) -> bool:
    """Tell a c= line of 0.0.0.0 or :: from others."""
    return connection is not None and (address := connection.ip) is not None and address.is_unspecified


def has_ice(description: SessionDescription, media: MediaDescription) -> bool:
    """Whether the section's writer does ICE."""
    return description.first_of(media, IceUfrag) is not None


def transport_section(description: SessionDescription, media: MediaDescription) -> MediaDescription:
    """The section that says where an offered `media` is received: for a bundle-only one the first of its group's
    that has a port (RFC 9143 section 7.2.1), else itself."""
    if media.port or not media.has("bundle-only"):
        return media
    mid = media.mid
    group = next((mids for mids in bundle_groups(description) if mid in mids), ())
    return next((other for other in description.media if other.port and other.mid in group), media)


def is_held(description: SessionDescription, media: MediaDescription) -> bool:
    """Whether the section is on hold the old way, by an address of 0.0.0.0 (RFC 3264 section 8.4)."""
    return is_nowhere(description.connection_of(media)) and not has_ice(description, media)


def setup_of(description: SessionDescription, media: MediaDescription) -> SetupRole | None:
    """The DTLS role it says, in the section or for the session."""
    setup = description.first_of(media, Setup)
    return setup.role if setup is not None else None


def read_transport(
    description: SessionDescription, media: MediaDescription, *, rtcp_mux: bool, crypto: Crypto | None = None
) -> RemoteTransport:
    """What `media` says of its own end; `rtcp_mux` and `crypto` are what both agreed."""
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
    """Whether the peer began a new ICE session, which new credentials say (RFC 8839 section 4.4.3.1.1)."""
    return after.ice and (before.ice_ufrag, before.ice_pwd) != (after.ice_ufrag, after.ice_pwd)


def bundle_groups(description: SessionDescription) -> tuple[tuple[str, ...], ...]:
    """The mids of each BUNDLE group (RFC 9143)."""
    found: tuple[tuple[str, ...], ...] | None = description._views.get(bundle_groups)
    if found is None:
        groups = [value.split() for value in description.values("group")]
        found = tuple([tuple(words[1:]) for words in groups if words and words[0] == "BUNDLE"])
        description._views[bundle_groups] = found
    return found
