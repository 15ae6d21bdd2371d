"""`gateway doctor`: every check, shown as a list with what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway.config import Config, examine, notices
from gateway.doctor import certificates, hardening, machine, media, names, network, outside, rtpengine, stores
from gateway.doctor.findings import Finding, Verdict, notice, wrong
from gateway.doctor.outside import Outside
from gateway.errors import ConfigError
from gateway.log.setup import silenced

_MARKS = {Verdict.GOOD: "[green]good  [/]", Verdict.NOTICE: "[yellow]notice[/]", Verdict.WRONG: "[bold red]wrong [/]"}

_KEY = "Set the key that is named: `gateway example-config` shows it and those beside it."


def run_doctor(path: Path | None, output: Console, environ: Mapping[str, str], by: Outside | None = None) -> bool:
    """Look at everything and show it; whether nothing is wrong."""
    with silenced():
        findings = _everything(path, output, environ, by)
    wrong = sum(one.verdict is Verdict.WRONG for one in findings)
    notices = sum(one.verdict is Verdict.NOTICE for one in findings)
    output.print(f"\n{_count(wrong, 'fault')}, {_count(notices, 'notice')}.")
    return not wrong


def _everything(path: Path | None, output: Console, environ: Mapping[str, str], by: Outside | None) -> list[Finding]:
    found = examine(path, environ)
    findings = [_of_mistake(one) for one in found.mistakes]
    for one in findings:
        show(one, output)
    if found.config is None:
        output.print("The rest is looked at once these are mended.")
        return findings
    return [*findings, *asyncio.run(examined(found.config, output, by))]


async def examined(config: Config, output: Console, by: Outside | None = None) -> list[Finding]:
    """Every finding, each shown as it comes: names and trunks that do not answer take seconds."""
    findings: list[Finding] = []

    def add(found: Iterable[Finding]) -> None:
        for one in found:
            findings.append(one)
            show(one, output)

    add(notice(one.key, one.text, _KEY) for one in notices(config))
    add(hardening.hardening(config))
    status = await asyncio.to_thread(machine.running, config)
    add(machine.ports(config, status))
    add(machine.network(config))
    add(await media.plane(config))
    add(_system(config))
    add(await rtpengine.rtpengines(config))
    add(await stores.stores(config))
    add(network.addresses(config))
    for found in await asyncio.gather(
        network.nat(config),
        names.names(config),
        network.trunks(config),
        outside.outside(config, by, runs=status is not None),
    ):
        add(found)
    return findings


def show(finding: Finding, output: Console) -> None:
    """Write one finding, and what to do."""
    subject, found = escape(finding.subject), escape(finding.found)
    output.print(f"{_MARKS[finding.verdict]}  [bold]{subject}[/]  {found}", soft_wrap=True)
    if finding.advice:
        output.print(f"        {escape(finding.advice)}", soft_wrap=True)


def _of_mistake(mistake: ConfigError) -> Finding:
    return wrong(mistake.key or "configuration", f"{mistake.reason[0].upper()}{mistake.reason[1:]}.", "")


def _system(config: Config) -> Iterator[Finding]:
    yield from machine.clock()
    yield from machine.limits(config)
    yield from certificates.certificates(config, time.time())


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
