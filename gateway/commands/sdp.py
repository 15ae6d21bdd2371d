"""`gateway sdp`: show a session description, lint it, translate it to the other side's kind."""

from __future__ import annotations

import json
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console
from rich.text import Text

import sdp
from gateway.commands.sdp_plan import example_plan
from gateway.commands.sdp_view import difference, findings_table, shown
from sdp.lint import Severity, lint

UNREADABLE = 2
"""Exit status for a file that is not there or is no description."""
_WIDE = 160
"""Columns where the output is no terminal."""

sdp_app = typer.Typer(
    name="sdp",
    help="Read session descriptions: show, lint and translate them. FILE is a path, or - for standard input.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Target(StrEnum):
    """What `translate` writes."""

    RTP = "rtp"
    WEBRTC = "webrtc"
    SDES = "sdes"


FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The description; - reads standard input.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]


@sdp_app.command()
def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show what a description says, section by section; --json gives sdp-transform's shape. Keys are not shown."""
    description = _parse(_read(file))
    if as_json:
        _write_json(description.to_dict())
        return
    console = _console()
    for part in shown(description):
        console.print(part)


@sdp_app.command("lint")
def lint_command(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say what a browser or a phone would refuse or stumble over, with line and RFC; status 1 on errors."""
    findings = lint(_read(file))
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    if as_json:
        _write_json(
            {
                "errors": errors,
                "warnings": len(findings) - errors,
                "findings": [finding.to_dict() for finding in findings],
            }
        )
    else:
        console = _console()
        if findings:
            console.print(findings_table(findings))
        console.print(f"{_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}")
    raise typer.Exit(1 if errors else 0)


@sdp_app.command()
def translate(
    file: FileArgument,
    to: Annotated[Target, typer.Option(help="What the other side of the call speaks.")],
    offer: Annotated[
        Path | None,
        typer.Option(
            help="What that other side had offered; then FILE is an answer, and the result answers the offer."
        ),
    ] = None,
    address: Annotated[str, typer.Option(help="IP address the gateway would receive at.")] = "192.0.2.1",
    port: Annotated[int, typer.Option(min=1, max=65000, help="Its first port.")] = 10000,
    codecs: Annotated[str, typer.Option(help="Codec names, best first, separated by commas.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Translate a description as the gateway does and show both side by side; keys are made up afresh."""
    try:
        ip_address(address)
    except ValueError:
        raise _failed("--address is not an IP address") from None
    source = _parse(_read(file))
    offered = _parse(_read(str(offer))) if offer is not None else None
    plan = example_plan(to.value, address, port, source, tuple(filter(None, codecs.lower().split(","))))
    try:
        translated = sdp.translate(source, plan, offer=offered)
    except sdp.SdpError as error:
        raise _failed(str(error), 1) from None
    if as_json:
        _write_json({"sdp": str(translated), "description": translated.to_dict()})
    else:
        _console().print(difference(source, translated, to.value))


def _read(file: str) -> bytes:
    """At most one byte more than a description may have, so that the parser refuses the rest unread."""
    try:
        with click.open_file(file, "rb") as stream:
            data: bytes = stream.read(sdp.Limits().size + 1)
    except OSError as error:
        raise _failed(f"{file}: {error.strerror}") from None
    return data


def _parse(data: bytes) -> sdp.SessionDescription:
    try:
        return sdp.SessionDescription.parse(data)
    except sdp.SdpSyntaxError as error:
        raise _failed(f"this is no session description: {error}") from None


def _failed(reason: str, status: int = UNREADABLE) -> typer.Exit:
    Console(stderr=True, highlight=False).print(Text.assemble(("gateway sdp: ", "bold red"), reason), soft_wrap=True)
    return typer.Exit(status)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _write_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
