"""A phone's ear and mouth: one UDP socket, RTP with PCMU, a tone to say and a frequency to find."""

from __future__ import annotations

import asyncio
import random
import socket

import numpy as np
from numpy.typing import NDArray

from gateway.testing import Listener, RtpError, RtpPacket, sine

RATE = 8000
FRAME = 160
"""Samples in 20 ms; in PCMU each is one octet."""


def decode(payload: bytes) -> NDArray[np.int16]:
    """PCMU to samples (G.711, mu-law): octets are sent inverted; sign, three bits of exponent, four of mantissa."""
    code = ~np.frombuffer(payload, np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa * 8 + 132) << exponent) - 132
    return np.where(code & 128, -magnitude, magnitude).astype(np.int16)


def encode(samples: NDArray[np.int16]) -> bytes:
    """Samples to PCMU: for each one the octet that decodes nearest to it."""
    values = decode(bytes(range(256))).astype(np.int32)
    codes: NDArray[np.uint8] = np.abs(samples.astype(np.int32)[:, None] - values).argmin(axis=1).astype(np.uint8)
    return codes.tobytes()


WINDOW = 3200
"""Samples (0.4 s) in which `level` looks for a tone."""


class Sound:
    """Hears all that comes to its socket, and from `talk` on says a steady tone, or silence, to one address."""

    def __init__(self, owner: str, hz: float | None) -> None:
        self.say(hz)
        self._owner = owner
        self._packets = 0
        self._ear = Listener(RATE)
        self._recent = np.zeros(WINDOW, np.int16)
        self._heard = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._loop.add_reader(self._socket, self._read)
        self._talking: asyncio.Task[None] | None = None
        self._remote: tuple[str, int] | None = None

    @property
    def port(self) -> int:
        """Where this phone hears."""
        return int(self._socket.getsockname()[1])

    def say(self, hz: float | None) -> None:
        """Say another tone from now on; None is silence."""
        self._voice = bytes([0xFF]) * RATE if hz is None else encode(sine(hz, 1.0, RATE))

    def listen(self) -> None:
        """Forget what was heard: the next `tone` is one of now."""
        self._ear.forget()
        self._packets = 0

    def talk(self, host: str, port: int) -> None:
        """Say the tone to this address from now on."""
        self._remote = (host, port)
        if self._talking is None:
            self._talking = asyncio.create_task(self._talk())

    async def tone(self, speaker: str, hz: float | None = None, seconds: float = 8.0) -> float:
        """The frequency heard in Hz, once it is one clean tone (of about `hz`); TimeoutError with what came instead."""
        try:
            async with asyncio.timeout(seconds):
                while (heard := self._ear.tone()) is None or abs(heard - (hz or heard)) > 15:
                    await self.heard()
        except TimeoutError:
            raise TimeoutError(
                f"{self._owner} has not heard {speaker} within {seconds:g} s: {self._instead()}; "
                f"does {speaker} speak? --verbose shows the gateway's log"
            ) from None
        return heard

    def _instead(self) -> str:
        """What came where no clean tone did."""
        if not self._packets:
            return f"no packet of sound came to UDP port {self.port}"
        return (
            f"packets came ({self._packets}), but {'all silent' if self._ear.first_sound is None else 'no clean tone'}"
        )

    def level(self, hz: float) -> float:
        """How loud one tone is among all that was heard lately, 1 for the loudest there can be."""
        turning = np.exp(-2j * np.pi * hz * np.arange(WINDOW) / RATE)
        return float(2 * np.abs(np.mean(self._recent * turning)) / 32768)

    async def heard(self) -> None:
        """Wait for the next packet."""
        self._heard.clear()
        await self._heard.wait()

    def close(self) -> None:
        """Fall silent; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()
        if self._talking is not None:
            self._talking.cancel()

    def _read(self) -> None:
        try:
            packet = RtpPacket.parse(self._socket.recv(2048))
        except (OSError, RtpError):
            return
        if packet.payload_type == 0:
            samples = decode(packet.payload)
            self._packets += 1
            self._ear.hear(samples, self._loop.time())
            self._recent = np.concatenate((self._recent, samples))[-WINDOW:]
            self._heard.set()

    async def _talk(self) -> None:
        began, ssrc, first = self._loop.time(), random.getrandbits(32), random.getrandbits(15)
        for number in range(1 << 20):
            place = number * FRAME % RATE
            payload = self._voice[place : place + FRAME]
            packet = RtpPacket(0, (first + number) & 0xFFFF, number * FRAME, ssrc, payload, marker=number == 0)
            assert self._remote is not None
            try:
                self._socket.sendto(bytes(packet), self._remote)
            except OSError:
                pass  # A full buffer costs a packet, as anywhere on the way.
            await asyncio.sleep(max(0.0, began + (number + 1) * FRAME / RATE - self._loop.time()))
