"""What turning one codec into another costs in Python, and what setting up a party does.

Run as `python -m bench.audio`. What whole calls cost, transcoded ones too, `bench.media` measures.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import uvloop

from bench.table import Result, medians, report
from gateway.media.embedded.audio.codecs import CODECS, make_encoder
from gateway.media.embedded.audio.pcm import tone
from gateway.media.embedded.audio.transcode import Transcoder
from gateway.media.embedded.engine import EmbeddedEngine
from gateway.media.embedded.plane.values import MediaPacket
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.webrtc.config import WebRtcConfig
from gateway.media.engine import Kind, Party

BROWSER, PHONE = Party("browser", Kind.WEBRTC), Party("phone", Kind.RTP)
CALLS = 50
_OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 41000 RTP/AVP 0\r\n"


def transcoded() -> list[Result]:
    """CPU for each frame of 20 ms, from every codec into every other."""
    results = []
    for source, target in itertools.permutations(sorted(CODECS), 2):
        encoder = make_encoder(source, 48000, 20)
        pcm = tone(440.0, -10.0, encoder.rate, 1.0)
        starts = range(0, len(pcm), encoder.frame)
        payloads = itertools.cycle([encoder.encode(pcm[start : start + encoder.frame]) for start in starts])
        transcoder = Transcoder(source, target, 96)

        numbers = itertools.count()

        def step(transcoder: Transcoder = transcoder, payloads: Any = payloads, numbers: Any = numbers) -> None:
            sequence = next(numbers)
            packet = MediaPacket(
                payload_type=0, marker=False, sequence_number=sequence & 0xFFFF, timestamp=0, payload=next(payloads),
                in_order=True, generation=1,
            )  # fmt: skip
            transcoder.handle(packet, sequence * 0.02)
            transcoder.tick(sequence * 0.02)

        taken = medians({"frame": step}, repeats=400)["frame"]
        results.append(Result(f"transcode 20 ms, {source} -> {target}", taken * 1e6, "µs", "value <= 400"))
    return results


async def set_up() -> Result:
    """An offer and its answer, descriptions and sockets together."""
    engine = EmbeddedEngine(EmbeddedConfig(webrtc=WebRtcConfig(listen=("127.0.0.1",)), rtp_ports=(0, 0)))
    await engine.start()
    began = time.process_time()
    for number in range(CALLS):
        await engine.offer(f"call{number}", PHONE, BROWSER, _OFFER)
        await engine.delete(f"call{number}")
    spent = (time.process_time() - began) / CALLS
    await engine.close()
    return Result("offer to a browser and delete", spent * 1e3, "ms of CPU", "value <= 10")


def main() -> bool:
    """Measure, print the table, write bench/results/audio.json; False when a goal is missed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        set_up_result = runner.run(set_up())
    return report("audio", [set_up_result, *transcoded()])


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
