"""Audio codecs as small synchronous objects: payload to PCM and back. The only file that knows PyAV."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.audio.pcm import AudioError, Pcm

LONGEST_MS = 120
"""More audio than this in one packet is refused (RFC 6716: 120 ms is the most Opus can hold)."""


class Decoder(Protocol):
    """Payloads of one stream, in order."""

    rate: int
    """Hz of the PCM it gives."""

    def decode(self, payload: bytes) -> Pcm:
        """One packet's payload; raises AudioError."""


class Encoder(Protocol):
    """Frames of one stream, in order."""

    rate: int
    """Hz of the PCM it takes."""
    frame: int
    """Samples it takes at a time."""

    def encode(self, pcm: Pcm) -> bytes:
        """One frame of exactly `frame` samples."""


def _ulaw_decode_table() -> Pcm:
    """G.711 mu-law, table 2a: every octet is sent inverted."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4 & 0x07).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32)
    magnitude = ((mantissa << 3) + 0x84 << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_decode_table() -> Pcm:
    """G.711 A-law, table 1a: every even bit is sent inverted."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = (code >> 4 & 0x07).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32)
    low = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, low, (low + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode_table(decoded: Pcm) -> NDArray[np.uint8]:
    """For every 16-bit sample (as unsigned index) the code whose value is nearest."""
    order = np.argsort(decoded, kind="stable")
    values = decoded[order].astype(np.int32)
    samples = np.arange(65536, dtype=np.int32)
    samples = np.where(samples < 32768, samples, samples - 65536)
    above = np.clip(np.searchsorted(values, samples), 1, 255)
    nearer_below = samples - values[above - 1] <= values[above] - samples
    found: NDArray[np.uint8] = order[np.where(nearer_below, above - 1, above)].astype(np.uint8)
    return found


_ULAW = _ulaw_decode_table()
_ALAW = _alaw_decode_table()
_ULAW_CODES = _encode_table(_ULAW)
_ALAW_CODES = _encode_table(_ALAW)


class G711Decoder:
    """PCMU or PCMA by a table."""

    rate = 8000

    def __init__(self, table: Pcm) -> None:
        self._table = table

    def decode(self, payload: bytes) -> Pcm:
        if not payload:
            raise AudioError("empty payload")
        return self._table[np.frombuffer(payload, dtype=np.uint8)]


class G711Encoder:
    """PCMU or PCMA by a table."""

    rate = 8000

    def __init__(self, table: NDArray[np.uint8], frame_ms: int) -> None:
        self.frame = self.rate * frame_ms // 1000
        self._table = table

    def encode(self, pcm: Pcm) -> bytes:
        return self._table[pcm.view(np.uint16)].tobytes()


class LibraryDecoder:
    """G.722 or Opus through PyAV."""

    def __init__(self, name: str, rate: int) -> None:
        self.rate = rate
        self._name = name
        self._longest = rate * LONGEST_MS // 1000
        context: Any = av.CodecContext.create(name, "r")
        context.sample_rate = rate
        context.layout = "mono"
        self._context = context

    def decode(self, payload: bytes) -> Pcm:
        # An empty packet is the library's end of stream: nothing could be decoded after it.
        if not payload:
            raise AudioError("empty payload")
        try:
            frames = self._context.decode(av.Packet(payload))
            parts = [frame.to_ndarray().reshape(-1) for frame in frames]
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise AudioError(f"{self._name}: {type(error).__name__}") from None
        pcm = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.int16)
        if pcm.dtype != np.int16 or len(pcm) > self._longest:
            raise AudioError(f"{self._name}: more audio than a packet holds")
        return pcm


class LibraryEncoder:
    """G.722 or Opus through PyAV."""

    def __init__(self, name: str, rate: int, frame_ms: int, options: dict[str, str], bit_rate: int = 0) -> None:
        self.rate = rate
        self.frame = rate * frame_ms // 1000
        self._name = name
        context: Any = av.CodecContext.create(name, "w")
        context.sample_rate = rate
        context.layout = "mono"
        context.format = "s16"
        context.time_base = Fraction(1, rate)
        context.options = options
        if bit_rate:
            context.bit_rate = bit_rate
        context.open()
        self._context = context
        self._pts = 0

    def encode(self, pcm: Pcm) -> bytes:
        frame: Any = av.AudioFrame(format="s16", layout="mono", samples=self.frame)
        frame.planes[0].update(pcm.tobytes())
        frame.sample_rate = self.rate
        frame.pts = self._pts
        self._pts += self.frame
        try:
            packets = self._context.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{self._name}: {type(error).__name__}") from None
        return b"".join(bytes(packet) for packet in packets)


class OggOpusStream:
    """Opus in Ogg (RFC 7845), written page by page."""

    def __init__(self, file: BinaryIO, rate: int, channels: int, bit_rate: int = 32_000) -> None:
        """`rate` 8000, 16000 or 48000 Hz; `bit_rate` of each channel."""
        self._rate = rate
        self._layout = "stereo" if channels == 2 else "mono"
        self._container: Any = av.open(file, "w", format="ogg", options={"page_duration": "500000"})
        self._stream: Any = self._container.add_stream("libopus", rate=rate, layout=self._layout)
        self._stream.bit_rate = bit_rate * channels
        self._stream.time_base = Fraction(1, rate)
        self._pts = 0

    def write(self, pcm: Pcm) -> None:
        """Samples of the channels in turn; raises AudioError, also where the file cannot be written."""
        frame: Any = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._pts, Fraction(1, self._rate)
        self._pts += frame.samples
        self._mux(frame)

    def close(self) -> None:
        """Write what is left; raises AudioError."""
        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except (OSError, av.FFmpegError) as error:
                raise AudioError(f"cannot be finished: {error}") from None

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (OSError, av.FFmpegError, ValueError) as error:
            raise AudioError(f"cannot be written: {error}") from None


def read_audio(path: str, rate: int, longest: float) -> Pcm:
    """The sound of a file of any kind the library reads, mono, at most `longest` seconds. Raises AudioError."""
    try:
        with av.open(path, "r") as container:
            if not container.streams.audio:
                raise AudioError(f"{path} has no audio")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            parts: list[Any] = []
            samples = 0
            for frame in container.decode(audio=0):
                parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(frame)]
                samples += len(parts[-1]) if parts else 0
                if samples >= rate * longest:
                    break
            parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(None)]
    except (OSError, av.FFmpegError, ValueError) as error:
        raise AudioError(f"{path} cannot be read: {error}") from None
    pcm: Pcm = np.concatenate(parts).astype(np.int16) if parts else np.zeros(0, np.int16)
    return pcm[: int(rate * longest)]


def make_decoder(name: str) -> Decoder:
    """A decoder for "opus", "g722", "pcmu" or "pcma"; raises AudioError for others."""
    if name == "pcmu":
        return G711Decoder(_ULAW)
    if name == "pcma":
        return G711Decoder(_ALAW)
    if name == "g722":
        return LibraryDecoder("g722", 16000)
    if name == "opus":
        return LibraryDecoder("libopus", 48000)
    raise AudioError("no such codec")


SPOKEN = OpusSettings(bit_rate=24_000)
"""How Opus is encoded that is made here."""
_CUTOFFS = {8_000: "4000", 12_000: "6000", 16_000: "8000", 24_000: "12000", 48_000: "20000"}
"""Hz of the highest sound by samples a second, as libopus takes it from libavcodec."""


def make_encoder(name: str, rate: int, frame_ms: int, opus: OpusSettings = SPOKEN) -> Encoder:
    """An encoder; `rate` in Hz matters to Opus only (8000, 16000 or 48000). Raises AudioError for other names.

    It sends all the time: libavcodec does not have the discontinuous transmission of libopus.
    """
    if name == "pcmu":
        return G711Encoder(_ULAW_CODES, frame_ms)
    if name == "pcma":
        return G711Encoder(_ALAW_CODES, frame_ms)
    if name == "g722":
        return LibraryEncoder("g722", 16000, frame_ms, {})
    if name == "opus":
        options = {
            "application": "voip",
            "compression_level": str(opus.complexity),
            "frame_duration": str(frame_ms),
            "vbr": "off" if opus.constant else "on",
            "fec": "1" if opus.forward_error_correction else "0",
            "packet_loss": "5" if opus.forward_error_correction else "0",
            "cutoff": _CUTOFFS[opus.playback_rate],
        }
        return LibraryEncoder("libopus", rate, frame_ms, options, opus.bit_rate)
    raise AudioError("no such codec")


def narrowest_rate(decoder_name: str, encoder_name: str) -> int:
    """Hz at which audio between these codecs is coded: no more than the poorer of both can carry."""
    return min(_BANDWIDTH[decoder_name], _BANDWIDTH[encoder_name])


_BANDWIDTH = {"pcmu": 8000, "pcma": 8000, "g722": 16000, "opus": 48000}
CODECS = frozenset(_BANDWIDTH)
"""Names of the codecs that can be turned into each other."""
