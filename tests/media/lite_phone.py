"""A far end that is an ICE-lite agent with DTLS-SRTP, as WhatsApp's servers are: one socket, no checks of its own."""

from __future__ import annotations

from typing import Any

from aioice import stun

from gateway.media.embedded.webrtc.dtls import DtlsRole
from tests.media.dtls_phone import DtlsPhone

UFRAG, PASSWORD = "lite", "a-password-of-the-lite-end"


class LitePhone(DtlsPhone):
    """Answers checks that are signed, and speaks DTLS and RTP with the address that was nominated, no other."""

    def __init__(self, role: DtlsRole = DtlsRole.ACTIVE) -> None:
        super().__init__(role)
        self.ufrag, self.password = UFRAG, PASSWORD
        self.checks: list[stun.Message] = []
        """Signed ones, in order."""
        self.nominated: Any = None
        self.is_mute = False
        """Whether it answers no check."""
        self._theirs = ""

    def sdp(self, *, setup: str = "", candidates: tuple[str, ...] = (), **others: Any) -> str:
        """UDP/TLS/RTP/SAVPF with a=ice-lite and one host candidate."""
        text = super().sdp(setup=setup, **others).replace("UDP/TLS/RTP/SAVP ", "UDP/TLS/RTP/SAVPF ")
        said = candidates or (f"1 1 udp 2130706431 {self.host} {self.port} typ host",)
        lines = [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}", *[f"a=candidate:{each}" for each in said]]
        return text.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n") + "".join(f"{each}\r\n" for each in lines)

    def begin(self, sdp: str) -> None:
        """Speak with the end described there on the pair that it nominates, also where that came first."""
        self._theirs = sdp
        self.take(sdp)
        self._speak()

    def restart_ice(self) -> None:
        """Have other credentials in the next description, and no pair."""
        self.ufrag, self.password, self.nominated = "other", "another-password-of-the-lite-end", None

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] > 3:
            super().datagram_received(data, addr)
            return
        request = stun.parse_message(data)
        request.check_message_integrity(self.password.encode())
        self.checks.append(request)
        if self.is_mute:
            return
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = addr
        response.add_message_integrity(self.password.encode())
        self._transport.sendto(bytes(response), addr)
        if "USE-CANDIDATE" in request.attributes and self.nominated is None:
            self.nominated = addr
            self._speak()

    def _speak(self) -> None:
        """Begin DTLS, or go on, once there is a description and a nominated pair."""
        if self._theirs and self.nominated is not None:
            if not self.sessions:
                super().begin(self._theirs)
            self.remote = self.nominated
