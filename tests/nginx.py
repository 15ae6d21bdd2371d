"""An nginx for tests, and whether somebody listens."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import peers


@contextlib.contextmanager
def nginx(folder: Path, server: str, words: Sequence[str] = ()) -> Iterator[None]:
    """One with that server, ended with the block; `words` begin the command, as those of another host do."""
    file, log = folder / "nginx.conf", folder / "nginx.log"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    own = f"daemon off;\npid {folder}/nginx.pid;\nerror_log {log};\nevents {{}}\n"
    file.write_text(f"{own}http {{\naccess_log off;\n{paths}{server}}}\n")
    program = peers.program("nginx", "nginx-light")
    with subprocess.Popen([*words, program, "-c", str(file), "-e", str(log)]) as running:
        try:
            yield
        finally:
            running.terminate()
    assert "[emerg]" not in log.read_text()


async def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionError:
        return False
    writer.close()
    return True
