"""`gateway check-config`: every mistake of a configuration, and what it names and does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway.app import settings
from gateway.commands.console import is_answering
from gateway.config import Config, examine, notices, taken_ports
from gateway.doctor import rtpengine, stores
from gateway.doctor.findings import Finding, Verdict
from gateway.errors import AwayError, ConfigError, may_pass
from gateway.log.setup import silenced
from gateway.media.choice import choose, is_running
from gateway.net.tls import Tls
from gateway.observe.tracing import check_traces


def check(path: Path | None, output: Console, environ: Mapping[str, str]) -> list[ConfigError]:
    """Say what is good of a configuration; the mistakes."""
    with silenced():
        return _checked(path, output, environ)


def _checked(path: Path | None, output: Console, environ: Mapping[str, str]) -> list[ConfigError]:
    found = examine(path, environ)
    if found.config is None or found.mistakes:
        away = [] if found.usable is None else asyncio.run(_of_others(found.usable, found.mistakes))
        return [*found.mistakes, *map(found.placed, away)]
    config = found.config
    said: list[str] = []
    ours = is_answering(config.state_dir)
    mistakes = [*_of_this_machine(config, said, is_ours=ours), *map(found.placed, asyncio.run(_of_others(config)))]
    if mistakes:
        return mistakes
    for notice in notices(config):
        output.print(f"[yellow]{escape(notice.text)}[/]")
    if ours:
        output.print("A gateway runs on it and has the ports: they were not tried.")
    for sentence in said:
        output.print(escape(sentence))
    output.print(f"[green]The configuration is good.[/] Domain {config.domain}, {len(config.users)} users.")
    return []


def _of_this_machine(config: Config, said: list[str], *, is_ours: bool) -> Iterator[ConfigError]:
    """Yield a mistake for each thing that this machine lacks; `is_ours`: a gateway runs on the configuration."""
    for files in (Tls(settings.web_certificates(config), "web.tls"), Tls(settings.sip_certificates(config))):
        try:
            files.load()
        except ConfigError as error:
            yield error
    try:
        check_traces(config)
    except ConfigError as error:
        yield error
    if not config.media.rtpengines:
        try:
            said.append(f"Packets are forwarded by the {choose(config)}.")
        except ConfigError as error:
            yield error
    if not is_ours:
        yield from taken_ports(config, media=not is_running(config.state_dir))


async def _of_others(config: Config, mistakes: Collection[ConfigError] = ()) -> list[ConfigError]:
    """Return a mistake for each store and rtpengine that does not answer, where no mistake is about it."""
    wrong = {mistake.key.partition(".")[0] for mistake in mistakes}
    looks = [] if wrong & {"", "identity", "cluster", "state_dir"} else [stores.stores(config)]
    looks += [] if wrong & {"", "media"} else [rtpengine.rtpengines(config)]
    asked = await asyncio.gather(*looks)
    return [_mistake(one) for found in asked for one in found if one.verdict is Verdict.WRONG]


def _mistake(finding: Finding) -> ConfigError:
    return AwayError(finding.subject, f"{finding.found} {finding.advice}")


def may_pass_by(mistakes: list[ConfigError]) -> bool:
    """Return whether another try later may succeed: the configuration itself has no mistake."""
    return all(may_pass(one) for one in mistakes)
