"""Two calls that pjsua2's conference bridge joins, in a process of its own, until its standard input ends.

`python -m bench.pjsip_bridge sip:LEFT sip:RIGHT`. pjsua2 is GPL: it is only ever spoken to through SIP and this pipe.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Any

import pjsua2 as pj


class _Call(pj.Call):  # type: ignore[misc]  # pjsua2 ships no types
    """One side."""

    def __init__(self, account: Any) -> None:
        super().__init__(account)
        self.other: _Call | None = None
        self.sound: Any = None

    def onCallMediaState(self, prm: Any) -> None:
        self.sound = self.getAudioMedia(-1)
        if self.other is not None and self.other.sound is not None:
            self.sound.startTransmit(self.other.sound)
            self.other.sound.startTransmit(self.sound)


def main() -> None:
    """Call both, and join them once both have answered."""
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.medConfig.noVad = True
    config.medConfig.ecTailLen = 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    account, said = pj.Account(), pj.AccountConfig()
    said.idUri = "sip:bridge@127.0.0.1"
    said.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    said.mediaConfig.transportConfig.port = 0
    account.create(said)
    one, other = _Call(account), _Call(account)
    one.other, other.other = other, one
    for call, uri in zip((one, other), sys.argv[1:], strict=True):
        call.makeCall(uri, pj.CallOpParam(True))
    while not select.select([sys.stdin], [], [], 0)[0]:
        endpoint.libHandleEvents(5)
    endpoint.hangupAllCalls()
    os._exit(0)  # its calls cannot be let go of once its library is


if __name__ == "__main__":
    main()
