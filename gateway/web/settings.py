"""Every limit of the web front ends, with its safe default."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Sizes are bytes, times are seconds."""

    allowed_origins: tuple[str, ...] = ()
    """Web origins ("https://app.example.com") that may use the API besides the page's own; "*" is any."""
    strict_transport: int = 0
    """Seconds for which browsers come by HTTPS alone (RFC 6797), where TLS is the gateway's own; 0: nothing is said."""
    public_url: str = ""
    """The page's URL where a proxy stands in front, "" when it is the listening address."""
    proxies: tuple[str, ...] = ()
    """Addresses of those proxies: X-Forwarded-For and X-Forwarded-Proto are believed from them only."""
    require_origin: bool = False
    """Refuse clients that send no Origin header at all, that is everything but browsers."""
    default_callee: str = "600"
    """Who is called when an offer names nobody: the built-in echo."""
    max_body: int = 65_536
    request_timeout: float = 10.0
    """For the head of an HTTP request, and again for its body."""
    max_message: int = 65_536
    max_batch: int = 20
    max_depth: int = 16
    """JSON arrays and objects within each other."""
    max_connections: int = 1_000
    """WebSockets at once, all front ends together."""
    max_connections_per_address: int = 200
    messages_per_second: float = 50.0
    message_burst: int = 200
    messages_per_peer: int = 40
    """Added to `message_burst` and `send_queue_messages` of a room's peer for each other peer of the room."""
    send_queue_messages: int = 512
    send_queue_bytes: int = 1_048_576
    """What may wait for a slow reader before its socket is dropped."""
    announce_timeout: float = 30.0
    """After which a JSON-RPC connection that is neither announced nor in a call is closed."""
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    longest_backlog: float = 60.0
    """A connection whose messages wait unread for so long is closed with 1008."""
    max_calls_per_connection: int = 8
    max_watches: int = 200
    """Whose presence one JSON-RPC connection may be told of."""
    leave_grace: float = 5.0
    """How long the calls of a page that said it goes wait for it: it may be a reload."""
    max_candidates: int = 64
    """Trickled ICE candidates of one call."""
    setup_timeout: float = 25.0
    """From an offer over HTTP to its answer; below the 30 s of the usual client."""
    digit_timeout: float = 10.0
    """How long a digit may take to be got by the other side."""
    max_sessions: int = 500
    """Live sessions of the HTTP front end."""
    session_lifetime: float = 14_400.0
    offers_per_second: float = 10.0
    """HTTP offers, for each source."""
    offer_burst: int = 50
    failures_per_second: float = 0.2
    """Wrong passwords, for each source."""
    failure_burst: int = 10
    user_failures: int = 10
    """Wrong passwords for one user before sources that never signed in as that user have to wait; 0: no number."""
    longest_login_delay: float = 300.0
    link_lifetime: float = 30 * 86_400.0
    """The longest that a link for guests may be good for; 0: there are none."""
    open_rooms: bool = False
    """Whether rooms are for everybody who knows a name; else for those who signed in."""
    rooms_from_here: bool = False
    """`open_rooms` for this machine's own requests alone: none that a proxy has passed on."""
    staff_names: tuple[str, ...] = ()
    """Words that no guest's name may have, or look like."""
    guests_from_here: bool = False
    """Guests are this machine's own requests alone."""
    max_rooms: int = 1_000
    max_room_peers: int = 50
    ice_service: str = ""
    """URL of a service that gives ICE servers, asked when there is a token for it."""
    ice_service_token: str = ""
    ice_service_timeout: float = 5.0
    ice_service_kept: float = 30.0
    """Seconds that its answer for one caller holds."""
    push_services: tuple[str, ...] = ()
    """Origins of push services a browser may be woken by, * for labels of a host."""
    issuer: str = "gateway"
    """`iss` of access tokens: another gateway's are refused."""
    token_key: bytes | None = field(default=None, repr=False)
    """What the keys of access tokens are derived from, where several gateways read them; None: keys of its own."""
    token_lifetime: float = 300.0
    sign_in_lifetime: float = 30 * 86_400.0
    """Of a browser that is not used, until its password is asked for again."""
    console_token: str = ""
    """A bearer token that makes commands on the gateway's own machine an operator; "": there is none."""
    sign_in_file: Path | None = None
    """Where sign-ins outlive a restart (hashes only); None: they do not."""
    guesses_file: Path | None = None
    """File of the counts of wrong passwords, over a restart; None: in memory alone."""

    @property
    def public_origin(self) -> str:
        """The origin of `public_url`."""
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}" if self.public_url else ""
