"""The native plane as a process: where its program is, how it is started, how it and a gateway prove themselves.

The process has a session of its own, so that what kills the gateway and its group leaves it alone. The secret
goes through its standard input; nothing secret is in its arguments or its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.files import write_whole
from gateway.media.embedded.plane.native import wire
from gateway.media.embedded.plane.protocol import PlaneError

PROGRAM = "gateway-plane"
SOCKET = "plane.sock"
SECRET = "plane.secret"
LOG = "plane.log"
"""Files in the state folder."""
SECRET_OCTETS = 32
GATHER = 0.001
"""What the program does by itself, seconds."""
START_TIME = 10.0
PROOF_TIME = 5.0
"""Seconds for the program to listen, and for either side to prove itself."""
_LOOKS_EVERY = 0.05
"""Seconds between two looks for a plane that others start."""
_PEER = struct.Struct("3i")
"""struct ucred: process, user, group."""
_REPOSITORY = Path(__file__).resolve().parents[5]


def find_program() -> Path | None:
    """The program: installed beside this Python, built in the source tree, or on the path; None where it is not."""
    places = [
        Path(sysconfig.get_path("scripts")) / PROGRAM,
        Path(sys.executable).parent / PROGRAM,
        _REPOSITORY / "plane" / "target" / "release" / PROGRAM,
    ]
    found = shutil.which(PROGRAM)
    if found is not None:
        places.append(Path(found))
    return next((place for place in places if os.access(place, os.X_OK) and place.is_file()), None)


def check_program(program: Path) -> str | None:
    """Why the program cannot be used here, None where it can."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, timeout=START_TIME, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} does not run: {error}"
    words = result.stdout.decode(errors="replace").split()
    if result.returncode or words[:1] != [PROGRAM] or not words[-1].isdigit():
        return f"{program} does not run on this machine"
    if not wire.OLDEST <= int(words[-1]) <= wire.VERSION:
        return f"{program} speaks version {words[-1]} of the plane's messages, this gateway {wire.VERSION}"
    return None


@dataclass(slots=True)
class PlaneProcess:
    """One state folder's plane."""

    program: Path
    state_dir: Path
    starts: bool = True
    """Whether it is started where none runs, or waited for."""
    threads: int = 0
    """Packet threads; 0: one for each core."""
    carrier: str = "auto"
    """"auto", "io_uring" or "epoll": `media.plane_carrier`."""
    gather: float = GATHER
    """Seconds that packets may be gathered for: `media.plane_gather`."""
    orphan_timeout: float = 60.0
    """Seconds that the plane goes on without a gateway."""
    child: int | None = field(default=None, init=False)
    """Its process id, where this gateway has started it."""
    version: int = field(default=wire.VERSION, init=False)
    """Of the messages that the one connected last speaks."""
    _listener: int = field(default=0, init=False)
    """The process id of that one; 0 where it is in a namespace that we do not see."""

    async def connect(self) -> tuple[socket.socket, bool]:
        """A proved connection, and whether the plane was running before; raises PlaneError."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = self._secret()
        found = await self._open()
        ran = found is not None or not self.starts
        if found is None:
            found = await (self._started(secret) if self.starts else self._awaited())
        try:
            self.version = await asyncio.wait_for(prove(found, secret), PROOF_TIME)
        except BaseException as error:
            found.close()
            if isinstance(error, TimeoutError | OSError):
                raise PlaneError("lost", "the packet plane does not answer") from None
            raise
        self._listener = _PEER.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        return found, ran

    async def look(self) -> None:
        """Ask what listens whether it speaks with us, and leave it as it is; raises PlaneError where it does not."""
        try:
            found = await self._open()
        except OSError:
            found = None  # there is not even the folder
        if found is None:
            raise self._nobody()
        try:
            await asyncio.wait_for(_greet(found), PROOF_TIME)
        except (TimeoutError, OSError):
            raise PlaneError("lost", "the packet plane does not answer") from None
        except PlaneError as error:
            if error.code != "busy":
                raise
        finally:
            found.close()

    def watched(self) -> AbstractContextManager[asyncio.Event]:
        """Set once the process connected last has ended and what it had bound is free; at once where it is not seen."""
        return _watched(self._listener)

    async def ended(self) -> str:
        """Wait for the process, where it is a child; how it ended."""
        if self.child is None:
            return "the packet plane ended"
        with _watched(self.child) as gone:
            await gone.wait()
        try:
            _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, self.child, 0)
        except ChildProcessError:
            return "the packet plane ended"
        finally:
            self.child = None
        if os.WIFSIGNALED(status):
            return f"the packet plane was ended by signal {os.WTERMSIG(status)}"
        return f"the packet plane ended with status {os.WEXITSTATUS(status)}"

    def kill(self) -> None:
        """End the process where it is a child and cannot be told to end."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)

    def _secret(self) -> bytes:
        """The state folder's secret, made where there is none."""
        path = self.state_dir / SECRET
        if not path.exists():
            write_whole(path, os.urandom(SECRET_OCTETS), first_wins=True)
        secret = path.read_bytes()
        if len(secret) < SECRET_OCTETS:
            raise PlaneError("refused", f"{path} is damaged; remove it to have another secret made")
        return secret

    async def _open(self) -> socket.socket | None:
        """Connect to what listens in the state folder, None where nothing does."""
        folder = os.open(self.state_dir, os.O_PATH | os.O_DIRECTORY)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            # The name of a Unix socket has about a hundred octets, a state folder's may have more.
            await asyncio.get_running_loop().sock_connect(made, f"/proc/self/fd/{folder}/{SOCKET}")
        except OSError:
            made.close()
            return None
        except BaseException:
            made.close()
            raise
        finally:
            os.close(folder)
        return made

    async def _started(self, secret: bytes) -> socket.socket:
        await self._spawn(secret)
        found = await self._open()
        if found is None:
            raise PlaneError("lost", f"the packet plane does not answer, see {self.state_dir / LOG}")
        return found

    async def _awaited(self) -> socket.socket:
        """Connect to what somebody else starts; raises PlaneError where nobody does."""
        try:
            async with asyncio.timeout(START_TIME):
                while (found := await self._open()) is None:  # noqa: ASYNC110  # nobody tells when it listens
                    await asyncio.sleep(_LOOKS_EVERY)
        except TimeoutError:
            raise self._nobody() from None
        return found

    def _nobody(self) -> PlaneError:
        where = self.state_dir / SOCKET
        return PlaneError("lost", f"no packet plane listens on {where}, and media.plane_start is false")

    async def _spawn(self, secret: bytes) -> None:
        """Start the program and wait until it listens; raises PlaneError."""
        ready = self._launch(secret)
        try:
            line = await asyncio.wait_for(_first_line(ready), START_TIME)
        except TimeoutError:
            line = b""
        if not line:
            reason = await self.ended()
            raise PlaneError("lost", f"{reason} as it was started, see {self.state_dir / LOG}")

    def arguments(self) -> list[str]:
        """The command line, without secrets. What is left as it is by itself is not said: older programs know less."""
        carrier = () if self.carrier == "auto" else ("--carrier", self.carrier)
        gather = () if self.gather == GATHER else ("--gather", f"{self.gather * 1e6:.0f}")
        socket = ("--socket", str((self.state_dir / SOCKET).resolve()))
        timeout = ("--orphan-timeout", f"{self.orphan_timeout:g}")
        return [str(self.program), *socket, "--threads", str(self.threads), *carrier, *gather, *timeout]

    def _launch(self, secret: bytes) -> int:
        """Start the program; the end of a pipe on which it says that it listens. Raises PlaneError."""
        if self.child is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.child, os.WNOHANG)  # the one before may have ended after nobody waited for it any more
        arguments = self.arguments()
        log = os.open(self.state_dir / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        secret_out, secret_in = os.pipe()
        ready_out, ready_in = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, each, number) for number, each in enumerate((secret_out, ready_in, log))]
        try:
            # Not subprocess: its objects want to outlive what they start, and this process outlives us.
            self.child = os.posix_spawn(self.program, arguments, {}, file_actions=actions, setsid=True)
            os.write(secret_in, secret)
        except OSError as error:
            os.close(ready_out)
            raise PlaneError("refused", f"{self.program} cannot be started: {error.strerror}") from None
        finally:
            for descriptor in (log, secret_out, secret_in, ready_in):
                os.close(descriptor)
        return ready_out


@contextlib.contextmanager
def _watched(process: int) -> Iterator[asyncio.Event]:
    gone, loop = asyncio.Event(), asyncio.get_running_loop()
    try:
        watched = os.pidfd_open(process)
    except OSError:
        gone.set()
        yield gone
        return
    try:
        loop.add_reader(watched, gone.set)
        yield gone
    finally:
        loop.remove_reader(watched)
        os.close(watched)


async def _first_line(descriptor: int) -> bytes:
    """The first octets of a pipe, which is closed then; empty where it ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if not done.done():
            done.set_result(os.read(descriptor, 100))

    loop.add_reader(descriptor, read)
    try:
        return await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def prove(connection: socket.socket, secret: bytes) -> int:
    """Prove to the plane that we know the secret, and have it prove the same; the version it speaks with us.

    Raises PlaneError.
    """
    version, ours, theirs = await _greet(connection)
    proof = _proof(secret, b"gateway", ours, theirs)
    await asyncio.get_running_loop().sock_sendall(connection, wire.frame(wire.Down.PROOF, proof))
    answer = await _expect(connection, wire.Up.PROOF)
    if not hmac.compare_digest(answer, _proof(secret, b"plane", ours, theirs)):
        raise PlaneError("refused", "what listens in the state folder does not know its secret")
    return version


async def _greet(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """The version that the plane speaks with us, our nonce and its; raises PlaneError."""
    ours = os.urandom(wire.NONCE)
    greeting = wire.MAGIC + struct.pack("!HH", wire.OLDEST, wire.VERSION) + ours
    await asyncio.get_running_loop().sock_sendall(connection, wire.frame(wire.Down.HELLO, greeting))
    hello = wire.Reader(await _expect(connection, wire.Up.HELLO))
    try:
        version, theirs = hello.number("H"), hello.rest()[: wire.NONCE]
    except wire.WireError:
        version, theirs = 0, b""
    if len(theirs) != wire.NONCE:
        raise PlaneError("refused", "what listens in the state folder is no packet plane")
    if not wire.OLDEST <= version <= wire.VERSION:
        raise PlaneError("version", f"the packet plane that runs speaks version {version}, this gateway {wire.VERSION}")
    return version, ours, theirs


def _proof(secret: bytes, role: bytes, gateway: bytes, plane: bytes) -> bytes:
    return hmac.digest(secret, role + gateway + plane, hashlib.sha256)


async def _expect(connection: socket.socket, kind: int) -> bytes:
    head = await _exactly(connection, wire.HEAD.size)
    length, found = wire.HEAD.unpack(head)
    if not 1 <= length <= 1024:
        raise PlaneError("refused", "what listens in the state folder is no packet plane")
    body = await _exactly(connection, length - 1)
    if found == wire.Up.REFUSED:
        reader = wire.Reader(body)
        reader.number("B")
        code = reader.text()
        texts = {
            "busy": "another gateway uses the packet plane of this state folder",
            "version": f"the packet plane that runs speaks no version of its messages that this gateway knows (up to "
            f"{wire.VERSION}); it ends by itself media.orphan_timeout after its gateway",
        }
        raise PlaneError(code, texts.get(code, "the packet plane refused the state folder's secret"))
    if found != kind:
        raise PlaneError("refused", "what listens in the state folder is no packet plane")
    return body


async def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = await asyncio.get_running_loop().sock_recv(connection, length - len(data))
        if not more:
            raise PlaneError("lost", "the packet plane closed the connection")
        data += more
    return data
