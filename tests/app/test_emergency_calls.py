"""Calls for help by `emergency.numbers` alone, as the start, `gateway init`, README and security page urge it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from gateway.app import GatewayApp
from tests.app.signing import signed
from tests.interop.gateway import config_on_free_ports
from tests.interop.stranger import stranger

PBX, PHONE, OTHER = "127.0.0.77", "127.0.0.78", "127.0.0.79"
USERS: list[dict[str, Any]] = [{"id": user, "sip": True, "may_call": []} for user in ("1001", "1002")]
KEPT = rb"(?:Via|From|To|Call-ID|CSeq): [^\r]+\r\n"


async def test_a_number_that_is_set_alone_reaches_the_only_trunk(tmp_path: Path) -> None:
    """For a user who may call nobody; another number of the trunk stays closed to such a user."""
    async with stranger(PBX) as pbx, stranger(PHONE) as phone, stranger(OTHER) as other:
        host, port = pbx.place
        trunks = [{"name": "pbx", "uri": f"sip:{host}:{port}", "options_interval": 0}]
        changes = {"TRUNKS": json.dumps(trunks), "USERS": json.dumps(USERS), "EMERGENCY__NUMBERS": '["112"]'}
        app = GatewayApp(config_on_free_ports(tmp_path, **changes))
        await app.start()
        try:
            here, _, number = app.sip_hostport.rpartition(":")
            sip, domain = (here, int(number)), app.config.domain
            assert await signed(other, "INVITE", f"sip:110@{domain}", sip, domain, "1002") in (403, 404)
            assert pbx.received == []
            calling = asyncio.create_task(signed(phone, "INVITE", f"sip:112@{domain}", sip, domain, "1001"))
            await pbx.more_than(0)
            invite, back = pbx.received[0]
            assert invite.startswith(b"INVITE sip:112@")
            head = b"".join(re.findall(KEPT, invite))
            pbx.send(b"SIP/2.0 486 Busy Here\r\n" + head + b"Content-Length: 0\r\n\r\n", back)
            assert await calling == 486
        finally:
            await asyncio.wait_for(app.stop(), 30)
