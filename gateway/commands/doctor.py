"""`gateway doctor`: every check, shown as a list with what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.markup import escape

from gateway.config import Config
from gateway.doctor import certificates, machine, media, names, network, rtpengine, stores
from gateway.doctor.findings import Finding, Verdict, notice

_MARKS = {Verdict.GOOD: "[green]good  [/]", Verdict.NOTICE: "[yellow]notice[/]", Verdict.WRONG: "[bold red]wrong [/]"}

_KEY = "Set the key that is named: `gateway example-config` shows it and those beside it."


def run_doctor(config: Config, output: Console) -> bool:
    """Look at everything and show it; whether nothing is wrong."""
    findings = asyncio.run(examined(config, output))
    wrong = sum(one.verdict is Verdict.WRONG for one in findings)
    notices = sum(one.verdict is Verdict.NOTICE for one in findings)
    output.print(f"\n{_count(wrong, 'fault')}, {_count(notices, 'notice')}.")
    return not wrong


async def examined(config: Config, output: Console) -> list[Finding]:
    """Every finding, each shown as it comes: names and trunks that do not answer take seconds."""
    findings: list[Finding] = []

    def show(found: Iterable[Finding]) -> None:
        for one in found:
            findings.append(one)
            output.print(f"{_MARKS[one.verdict]}  [bold]{escape(one.subject)}[/]  {escape(one.found)}", soft_wrap=True)
            if one.advice:
                output.print(f"        {escape(one.advice)}", soft_wrap=True)

    show(notice("configuration", one, _KEY) for one in config.notices)
    show(machine.ports(config, await asyncio.to_thread(machine.running, config)))
    show(await media.plane(config))
    show(_system(config))
    show(await rtpengine.rtpengines(config))
    show(await stores.stores(config))
    show(network.addresses(config))
    for found in await asyncio.gather(network.nat(config), names.names(config), network.trunks(config)):
        show(found)
    return findings


def _system(config: Config) -> Iterator[Finding]:
    yield from machine.clock()
    yield from machine.limits(config)
    yield from certificates.certificates(config, time.time())


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
