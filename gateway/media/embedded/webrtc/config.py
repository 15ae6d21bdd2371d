"""Settings of the WebRTC side of the embedded engine; every limit has a safe default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.media.embedded.webrtc.checks import Network
from gateway.media.embedded.webrtc.gathering import IceServerUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRtcConfig:
    """Where the one UDP port listens, what it advertises, how long and how much it bears."""

    listen: tuple[str, ...] = ("127.0.0.1",)
    """IP addresses to bind, IPv4 or IPv6, all on the same port number. On a host with several
    addresses name them one by one: from a wildcard the system picks the address that answers."""
    port: int = 0
    """UDP port; 0 lets the system choose."""
    advertised: tuple[str | tuple[str, int], ...] = ()
    """Addresses offered as host candidates, best first, each with the port of a mapping in front
    where that differs from the bound one; empty: the addresses listened on."""
    own_addresses: bool = True
    """Where only loopback is listened on and nothing is advertised: also bind this machine's own addresses and
    offer them, but take datagrams from this machine alone. Firefox refuses loopback candidates."""
    tcp: bool = False
    """Also take TCP connections on the same addresses and port, and offer them as passive candidates (RFC 6544)."""
    full_ice: bool = False
    """Gather server-reflexive and relayed candidates and send checks to the peer's; else a lite agent."""
    ice_servers: tuple[IceServerUrl, ...] = ()
    """STUN and TURN servers that a full agent asks."""
    ice_ca: Path | None = None
    """PEM file of who signs the certificates of TURN servers; None: the system's authorities."""
    ice_candidates: int = 20
    """Candidates of a peer that a full agent sends checks to, of those it may send to."""
    ice_peers_allowed: tuple[Network, ...] = ()
    """Private and other special networks that a full agent sends checks to, also by relays."""
    receive_buffer: int = 4 * 1024 * 1024
    """SO_RCVBUF in bytes; the kernel may grant less."""
    send_buffer: int = 4 * 1024 * 1024
    """SO_SNDBUF in bytes; the kernel may grant less."""
    dscp: int = 0
    """Marks everything toward browsers (RFC 2474): audio and video share the port."""
    certificate_file: Path | None = None
    """Where the DTLS certificates wait for the next process on the same packet plane; None: nowhere."""
    mtu: int = 1200
    """Largest DTLS datagram sent, bytes of UDP payload."""

    srtp_profiles: tuple[str, ...] = (
        "SRTP_AEAD_AES_128_GCM",
        "SRTP_AEAD_AES_256_GCM",
        "SRTP_AES128_CM_HMAC_SHA1_80",
    )
    """DTLS-SRTP protection profiles, best first, by their registered names (RFC 5764, RFC 7714)."""
    setup_timeout: float = 15.0
    """Seconds from the first remote description to `connected`, then the leg fails."""
    liveness_timeout: float = 30.0
    """Seconds without a valid check or an authenticated packet, then the leg fails."""
    dtls_retransmit: float = 0.15
    """Seconds before the first DTLS retransmission; doubles each time up to 2 s (RFC 6347 section 4.2.4.1)."""
    dtls_alert_grace: float = 3.0
    """Seconds a handshake may go on after an unauthenticated fatal alert before the alert is believed."""
    dtls_resets: int = 8
    """How often a handshake broken by a bad record starts afresh before the leg fails."""
    address_hold: float = 15.0
    """Seconds since its last check during which an address cannot be claimed by another leg."""
    certificate_days: int = 365
    """Validity of the DTLS certificate, days."""

    max_legs: int = 10_000
    """Legs open at a time."""
    max_pairs: int = 16
    """Addresses a leg may have proved at a time."""
    max_early_datagrams: int = 4
    """DTLS datagrams kept from a proved address until the remote description is known."""
    max_packets_per_second: int = 1000
    """Packets taken from one browser; the rest is dropped and counted."""
    error_responses_per_second: float = 5.0
    """STUN error responses a source IP address may draw, each second."""
    error_sources: int = 1024
    """Source IP addresses remembered for that rate."""
    max_stun_bytes: int = 1280
    """Longest STUN message read."""

    tcp_max_connections: int = 1000
    """TCP connections at once; those that have proved nothing make room for new ones."""
    tcp_max_connections_per_source: int = 64
    """TCP connections at once from one IPv4 address, or one /64 of IPv6."""
    tcp_first_check: float = 5.0
    """Seconds that a TCP connection may take to send an authentic check."""
    tcp_max_frames_per_second: int = 2500
    """Frames read from one TCP connection; who sends faster is read from more slowly."""
    tcp_max_frame: int = 2048
    """Longest frame taken from a TCP connection, octets."""
    tcp_max_queued: int = 32 * 1024
    """Octets that wait for a TCP connection that reads slowly, before packets for it are dropped."""
