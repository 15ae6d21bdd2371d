"""`gateway run`: start, say where everything is, wait for a signal, stop tidily."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import structlog
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway import held_back
from gateway.app import Account, GatewayApp
from gateway.config import Config, check_ports, notices
from gateway.errors import ConfigError
from gateway.identity.passwords import FILE_NAME
from gateway.log import configure as configure_log
from gateway.media.choice import is_running

log = structlog.get_logger(__name__)

GC_THRESHOLDS = (50_000, 20, 20)
"""New objects, and passes of each younger generation, before the next is looked through. Calls free nearly everything
by reference counts; Python's 700 would have a pass for every call."""

_LAST = 2.0
"""Seconds that a reload may still take in a gateway that ends."""


def run_gateway(config: Config, output: Console, reread: Callable[[], Config] | None = None) -> None:
    """Run until SIGINT or SIGTERM; at SIGHUP `reread` reads it again. Raises ConfigError for a port in use."""
    log = config.log
    close_log = configure_log(log.level, log.format, log.file, log.max_line_length)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop are ours to tell
    try:
        # The plane of a gateway that died may still hold the media ports; this one takes them over from it.
        check_ports(config, media=not is_running(config.state_dir))
        uvloop.run(_serve(config, output, close_log, reread))
    finally:
        close_log()


async def _serve(
    config: Config, output: Console, close_log: Callable[[], None], reread: Callable[[], Config] | None
) -> None:
    app = GatewayApp(config, reread=reread)
    terminated, stopped, hurried = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if hurried.is_set():
            _end_at_once(output, 130)
        if stopped.is_set():
            hurried.set()
            sys.exit(130)  # whoever asks again does not wait for anybody
        stopped.set()
        terminated.set()

    def terminate() -> None:
        (stop if terminated.is_set() else terminated.set)()

    reloads: set[asyncio.Task[None]] = set()
    early: list[None] = []

    def reload() -> None:
        task = loop.create_task(_reload(app))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    # Until there is something to be reloaded it waits.
    loop.add_signal_handler(signal.SIGHUP, early.append, None)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    held_back.release()
    try:
        await app.start()
        spare_collector()
        loop.add_signal_handler(signal.SIGHUP, reload)
        if early:
            reload()
        print_welcome(app, output, secrets=not _kept_by_the_journal(output, os.environ))
        await terminated.wait()
        if not stopped.is_set() and app.recovery.leaves_calls:
            output.print(f"Leaving {len(app.calls)} calls to the next gateway.")
            await app.recovery.leave()
            close_log()
            _end_at_once(output)
        await _drained(app, stopped, output)
        if len(app.calls):
            output.print(f"Ending {len(app.calls)} calls …")
    finally:
        try:
            await _stopped(app, reloads)
        finally:
            if hurried.is_set():
                close_log()
                _end_at_once(output, 130)
    output.print("Stopped.")


async def _stopped(app: GatewayApp, reloads: set[asyncio.Task[None]]) -> None:
    """Stop it, and let reloads come to their end before, for a moment."""
    try:
        await _given_up(reloads)
    finally:
        await app.stop()


async def _given_up(reloads: set[asyncio.Task[None]]) -> None:
    if reloads:
        await asyncio.wait(reloads, timeout=_LAST)
    late = tuple(reloads)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    if late:
        log.warning("the configuration was not reloaded: the gateway ends")


async def _reload(app: GatewayApp) -> None:
    """Whatever becomes of it, the gateway goes on; the log and /healthz say what became of it."""
    try:
        await app.reloader.reload()
    except ConfigError:
        pass  # the log says so
    except Exception:
        log.exception("the configuration was not reloaded")


def _end_at_once(output: Console, status: int = 0) -> NoReturn:
    """Without a word to anybody: whoever is told nothing notices nothing."""
    output.file.flush()
    os._exit(status)


async def _drained(app: GatewayApp, stopped: asyncio.Event, output: Console) -> None:
    """Let the calls that are up go on, new ones refused, until the last has ended or nobody wants to wait."""
    if stopped.is_set():
        return
    if len(app.calls):
        longest = app.config.limits.drain_timeout
        output.print(f"Waiting {longest:g} s at most for {len(app.calls)} calls to end; new ones are refused …")
    draining, impatient = asyncio.create_task(app.drain()), asyncio.create_task(stopped.wait())
    await asyncio.wait((draining, impatient), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, impatient):
        task.cancel()
    await asyncio.gather(draining, impatient, return_exceptions=True)


def spare_collector() -> None:
    """Have the garbage collector look at what calls leave, not at the whole program again and again."""
    gc.freeze()  # without a pass before it: a tenth of a second, for a thousand objects that importing left
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()


def _kept_by_the_journal(output: Console, environ: Mapping[str, str]) -> bool:
    """Whether systemd writes our output to its journal, where no password may stand (systemd.exec, JOURNAL_STREAM)."""
    try:
        status = os.fstat(output.file.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def print_welcome(app: GatewayApp, output: Console, *, secrets: bool = True) -> None:
    """Where the page and the SIP side are, and the accounts to use them with; passwords only with `secrets`."""
    output.print()
    output.print(f"[bold]Page[/]  {app.page_url}")
    for address in app.sip_addresses:
        output.print(f"[bold]SIP[/]   {address}   (domain {app.config.domain})")
    if app.accounts:
        output.print()
        made = None if secrets else f"in {app.config.state_dir / FILE_NAME}"
        output.print(_accounts(app.accounts, made))
    signed_in = next((account.link for account in app.accounts if account.link), None)
    if signed_in and secrets:
        output.print(f"\nSigned in with one click:\n{signed_in}", soft_wrap=True)
    if not app.accounts:
        output.print(
            "\nThere are no accounts yet. For two of them, and every key with its default, stop this and begin with\n"
            "    gateway example-config > gateway.yaml"
        )
    for notice in notices(app.config):
        output.print(f"\n[yellow]{escape(notice.text)}[/]")
    services = _services(app.config)
    output.print(f"\n{services}Ctrl-C stops the gateway.\n")


def _accounts(accounts: Sequence[Account], made: str | None) -> Table:
    """One line for each user; `made` stands for the passwords that the gateway made, None shows them."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for heading in ("Account", "Password", "Use it"):
        table.add_column(heading)
    for account in accounts:
        password = "as configured" if account.password is None else made or account.password
        table.add_row(account.user, password, account.use)
    return table


def _services(config: Config) -> str:
    """What can be dialled without anybody else at hand."""
    words = {"service:echo": "the echo", "service:tone": "a tone"}
    numbers = {route.to: route.match for route in reversed(config.routes) if "*" not in route.match}
    found = [f"[bold]{escape(numbers[to])}[/] for {word}" for to, word in words.items() if to in numbers]
    return f"Dial {', '.join(found)}. " if found else ""
