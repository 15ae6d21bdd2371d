"""Drafts that a process left as it died are removed in every folder with files of the gateway's own."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.app import GatewayApp
from tests.interop.gateway import config_on_free_ports
from tests.media.engine_support import until


async def test_drafts_of_a_process_that_died_are_removed(tmp_path: Path) -> None:
    """In the folders of state, recordings, voicemail and a mailbox; one that is being written stays."""
    folders = [tmp_path, tmp_path / "recordings", tmp_path / "voicemail", tmp_path / "voicemail" / "1001"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        (folder / "a.json.0123abcd.new").write_text("half")
        os.utime(folder / "a.json.0123abcd.new", (0, 0))
    written = tmp_path / "b.json.0123abcd.new"
    written.write_text("half")
    os.utime(written, (2**31, 2**31))
    app = GatewayApp(config_on_free_ports(tmp_path))
    await app.start()
    try:
        await until(lambda: list(tmp_path.rglob("*.new")) == [written], 90)
    finally:
        await app.stop()
