"""Tones sent in RTP and looked for at the far end, with the times at which the system got each packet."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import socket
import struct
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.process import plane_of
from gateway.media.embedded.audio.codecs import make_decoder, make_encoder
from gateway.media.embedded.plane.values import MediaPacket
from tests.media.plane_rig import rtp

SPACING = 0.02
"""Seconds from one packet to the next."""
SO_TIMESTAMPNS = 35


def frames(frequency: int) -> list[bytes]:
    """One second of a tone as PCMU, 20 ms each."""
    from gateway.media.embedded.audio.pcm import tone

    encoder = make_encoder("pcmu", 8000, 20)
    pcm = tone(frequency, -16.0, 8000, 1.0)
    return [encoder.encode(pcm[start : start + 160]) for start in range(0, 8000, 160)]


def strength(payloads: list[bytes], frequency: int) -> float:
    """Share of the power of decoded PCMU that is at the frequency."""
    import numpy as np

    decoder = make_decoder("pcmu")
    pcm = np.concatenate([decoder.decode(payload) for payload in payloads]).astype(float)
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)))) ** 2
    bins = np.fft.rfftfreq(len(pcm), 1 / 8000)
    return float(spectrum[np.abs(bins - frequency) < 20].sum() / spectrum.sum())


class Listening:
    """What one end has heard: the packets, and when the system got each."""

    def __init__(self, bound: socket.socket) -> None:
        self.times: list[float] = []
        """When each packet of `wire` came, seconds of the wall clock."""
        self.wire: list[bytes] = []
        self.reports: list[bytes] = []
        """RTCP."""
        self.others: list[bytes] = []
        """What is neither RTP nor RTCP."""
        self._socket = bound
        # The system's own time: how late this process reads it is not the plane's delay.
        bound.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        bound.setblocking(False)
        asyncio.get_running_loop().add_reader(bound, self._read)

    def _read(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, 256)
            except BlockingIOError:
                return
            if data[0] < 128:
                self.others.append(data)
            elif 192 <= data[1] <= 223:
                self.reports.append(data)
            else:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                self.times.append(seconds + nanoseconds / 1e9)
                self.wire.append(data)

    def stop(self) -> None:
        """Read no more."""
        asyncio.get_running_loop().remove_reader(self._socket)


async def speak(
    send_packet: Callable[[bytes], object],
    tone: list[bytes],
    packets: int,
    started: float,
    enough: Callable[[], bool] = lambda: False,
) -> list[float]:
    """Give a tone packet by packet, RTP in the clear, 50/s from now on until it is `enough`; when each was given."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    times: list[float] = []

    def send(number: int) -> None:
        if number >= packets or enough():
            done.set_result(None)
            return
        packet = rtp(number, payload=tone[number % 50])
        times.append(time.time())
        send_packet(packet)
        loop.call_at(started + (number + 1) * SPACING, send, number + 1)

    send(0)
    await done
    return times


def prefer_plane(state_dir: Path) -> None:
    """Have the system serve the plane of that folder before other work, where it may be asked."""
    plane = plane_of(str(state_dir))
    assert plane is not None
    with contextlib.suppress(OSError):
        Path(f"/proc/{plane}/autogroup").write_text("-20")


class Waits:
    """For how long each thread of a process could have run while others had the cores (schedstat), at each look."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._looks: list[tuple[float, dict[str, float]]] = []
        """When, seconds of the wall clock; of each thread, seconds since it began."""

    def look(self) -> None:
        """Ask."""
        waited = {}
        for thread in self._tasks.iterdir():
            with contextlib.suppress(OSError):  # it has ended
                waited[thread.name] = int((thread / "schedstat").read_text().split()[1]) / 1e9
        self._looks.append((time.time(), waited))

    def between(self, start: float, end: float) -> float:
        """What the thread that waited most did between two moments, and up to one look before and after, s."""
        times = [at for at, _ in self._looks]
        before = self._looks[max(bisect.bisect(times, start) - 1, 0)][1]
        after = self._looks[min(bisect.bisect(times, end), len(times) - 1)][1]
        return max((waited - before.get(thread, 0.0) for thread, waited in after.items()), default=0.0)


def longest_gap(sent: list[float], heard: list[float], waits: Waits | None = None) -> float:
    """Longest time without sound at the far end, had every packet been sent on time, s.

    With `waits` of who passes them on: and had it had a core whenever it could have used one.
    """
    delays = []
    for here, there in zip(sent, heard, strict=True):
        waited = 0.0 if waits is None else waits.between(here, there)
        delays.append(max(there - here - waited, 0.0))
    return SPACING + max(delays) - min(delays)


def sine(path: str, hertz: int, seconds: float = 2.0) -> None:
    """So much of it in a WAV file."""
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        samples = 8_000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16_000)) / 16_000)
        file.writeframes(samples.astype("<i2").tobytes())


def packet(number: int, payload: bytes, *, generation: int = 1, in_order: bool = True) -> MediaPacket:
    return MediaPacket(
        payload_type=0,
        marker=False,
        sequence_number=number,
        timestamp=number * 160,
        payload=payload,
        in_order=in_order,
        generation=generation,
    )
