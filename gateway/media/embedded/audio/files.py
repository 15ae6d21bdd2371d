"""Files of recorded audio that are whole at any moment: what was written can be read, whatever ends the writer."""

from __future__ import annotations

import os
import struct
from typing import Protocol

from gateway.media.embedded.audio.codecs import OggOpusStream
from gateway.media.embedded.audio.pcm import AudioError, Pcm

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_LARGEST = 0xFFFFFFFF - _HEADER.size
"""Octets of audio that a WAV file can say it has."""


class AudioFile(Protocol):
    """A file that is being written; its methods raise OSError."""

    def write(self, pcm: Pcm) -> None:
        """Add samples, those of the channels one after the other, in turn."""

    def close(self) -> None:
        """Finish it; idempotent."""


class WavFile:
    """16 bits, linear. The header is true after each `write`."""

    def __init__(self, path: str, rate: int, channels: int) -> None:
        """Raises OSError."""
        self._rate, self._channels = rate, channels
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._octets = 0
        try:
            self._write_all(self._header(), 0)
        except OSError:
            self.close()
            raise

    def write(self, pcm: Pcm) -> None:
        data = pcm.astype("<i2", copy=False).tobytes()
        if self._octets + len(data) > _LARGEST:
            raise OSError("a WAV file cannot be longer")
        self._write_all(data, _HEADER.size + self._octets)
        self._octets += len(data)
        self._write_all(self._header(), 0)

    def close(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _header(self) -> bytes:
        block = 2 * self._channels
        about = 16, 1, self._channels, self._rate, self._rate * block, block, 16
        return _HEADER.pack(b"RIFF", _HEADER.size - 8 + self._octets, b"WAVE", b"fmt ", *about, b"data", self._octets)

    def _write_all(self, data: bytes, place: int) -> None:
        while data:
            written = os.pwrite(self._file, data, place)
            data, place = data[written:], place + written


class OggOpusFile:
    """Opus in Ogg (RFC 7845), a page each half second at the latest."""

    def __init__(self, path: str, rate: int, channels: int) -> None:
        """Raises OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = open(descriptor, "wb", buffering=0)  # noqa: SIM115  # closed by `close`
        self._stream = OggOpusStream(self._file, rate, channels)

    def write(self, pcm: Pcm) -> None:
        try:
            self._stream.write(pcm)
        except AudioError as error:
            raise OSError(str(error)) from None

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._stream.close()
        except AudioError as error:
            raise OSError(str(error)) from None
        finally:
            self._file.close()


FORMATS: dict[str, type[WavFile | OggOpusFile]] = {"wav": WavFile, "opus": OggOpusFile}
"""What a recording may be written as."""
