"""A gateway that joins a browser to a phone on the native plane, says so, and waits to be killed.

`python -m tests.media.orphaned_gateway STATE_DIR PHONE_PORT` prints JSON: the addresses of the browsers' port and
of the phone's, once packets may flow.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.media.embedded.plane.srtp import SrtpProfile
from gateway.media.embedded.plane.values import Address, FlowConfig
from tests.media.hosts import at
from tests.media.plane_rig import HOST, PASSWORD, PCMU, UFRAG, Told, key_of, native_plane

BROWSER, PHONE = 2, 3


async def main(state_dir: Path, phone_port: int) -> None:
    plane, told = native_plane(state_dir, orphan_timeout=20.0), Told()
    await plane.start(told)
    (bound,) = await plane.open_shared(1, [HOST], 0, receive_buffer=1 << 22, send_buffer=1 << 22)
    rtp_bound, _ = await plane.open_pair(PHONE, HOST, 0)
    profile = SrtpProfile.AEAD_AES_128_GCM

    def admit(path: int, source: Address, data: bytes) -> None:
        plane.admit_pair(BROWSER, path, source)
        plane.select(BROWSER, path, source)

    told.on_check = admit
    plane.open_flow(BROWSER, 1, FlowConfig(secure=True))
    plane.set_credentials(BROWSER, [(f"{UFRAG}{BROWSER}", PASSWORD)])
    plane.set_receive_key(BROWSER, key_of(profile, BROWSER))
    plane.set_send_key(BROWSER, key_of(profile, BROWSER + 100))
    plane.open_flow(PHONE, PHONE, FlowConfig())
    plane.expect(PHONE, at(HOST, phone_port))
    plane.set_destination(PHONE, at(HOST, phone_port), None)
    for flow, other in ((BROWSER, PHONE), (PHONE, BROWSER)):
        plane.start_stream(flow, 0xABC0 + flow, 1000, 5000, 8000)
        plane.set_open(flow, True)
        plane.route(flow, other, {0: PCMU})
    await plane.snapshot([])
    said = {"shared": bound.address, "phone": rtp_bound.address}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
