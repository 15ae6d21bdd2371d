"""The `gateway` command: init, run, check-config, doctor, reload, calls, trace, bans, backup and others."""

from __future__ import annotations

import gateway.held_back
import gateway.interrupted  # noqa: F401

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gateway.commands.examples import examples_app
from gateway.commands.sdp import sdp_app
from gateway.config import Config, load, state_folder
from gateway.errors import ConfigError, GatewayError, may_pass
from gateway.reading import PATIENCE, by_thread

DEFAULT_CONFIG = Path("gateway.yaml")
USAGE_ERROR = 2
"""Exit status for a configuration or an argument that cannot be used."""
AWAY = 75
"""Status where to start again is worth a try (EX_TEMPFAIL): what is named does not answer, is taken, or has no room."""

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(examples_app, name="examples")
app.add_typer(sdp_app, name="sdp")
errors = Console(stderr=True, highlight=False)
output = Console(highlight=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file; default: gateway.yaml here if there is one, else the built-in defaults. "
        "Every key can also be set by environment: GATEWAY_SIP__USER_AGENT=... for sip.user_agent.",
        show_default=False,
    ),
]


def show_version(wanted: bool) -> None:
    """Print the version that is installed and stop."""
    if wanted:
        typer.echo(f"gateway {metadata.version('sip-webrtc-gateway')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A SIP-to-WebRTC gateway: browser softphones reach a PBX, desk phones call web users."""


def config_path(path: Path | None) -> Path | None:
    """The file that is meant; None: only the defaults."""
    return DEFAULT_CONFIG if path is None and DEFAULT_CONFIG.exists() else path


def read_config(path: Path | None) -> Config:
    """The configuration, or a clear word and status 2."""
    try:
        return load(config_path(path), os.environ)
    except ConfigError as error:
        raise fail(error) from None


def kept_in(path: Path | None) -> Path:
    """The folder of the gateway that is meant; raises ConfigError, also for a file that does not answer."""
    try:
        return by_thread(lambda: state_folder(config_path(path), os.environ)).result(PATIENCE)
    except TimeoutError:
        name = path or DEFAULT_CONFIG
        raise ConfigError("", f"{name} does not answer: it was not read within {PATIENCE:g} s") from None


def say(error: GatewayError) -> None:
    """Write what is wrong on standard error."""
    errors.print(f"[bold red]gateway:[/] {escape(str(error))}", soft_wrap=True)


def fail(error: GatewayError) -> typer.Exit:
    """Say what is wrong; the exit to raise: 2, or 75 where it may be well later."""
    say(error)
    return typer.Exit(AWAY if may_pass(error) else USAGE_ERROR)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Say what went wrong, with status 2."""
    try:
        yield
    except GatewayError as error:
        raise fail(error) from None


@app.command()
def run(config: ConfigOption = None) -> None:
    """Start the gateway; Ctrl-C or SIGTERM ends every call and stops it."""
    settings = read_config(config)  # before what takes a second to import
    gc.disable()  # until it is up: to look through what is imported, again and again, takes a fifth of a start
    from gateway.commands.run import run_gateway

    try:
        run_gateway(settings, output, partial(load, config_path(config), os.environ))
    except ConfigError as error:
        raise fail(error) from None


@app.command("check-config")
def check_config(config: ConfigOption = None) -> None:
    """Read the configuration, try its ports, ask its store and rtpengine, and name every mistake.

    Status 2: the configuration cannot be used; 75: a port is taken, or no answer came.
    """
    from gateway.commands.check import check, may_pass_by

    mistakes = check(config_path(config), output, os.environ)
    for mistake in mistakes:
        say(mistake)
    if len(mistakes) > 1:
        errors.print(f"{len(mistakes)} mistakes.")
    if mistakes:
        raise typer.Exit(AWAY if may_pass_by(mistakes) else USAGE_ERROR)


@app.command()
def doctor(
    config: ConfigOption = None,
    outside: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Have another gateway try this one's ports: the URL of its page, with an operator's id "
            "(https://op@gateway.example.com). Or stun:HOST:PORT, which sees the address alone.",
            show_default=False,
        ),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(help="Of that operator; else it is asked for.", envvar="DOCTOR_PASSWORD", show_default=False),
    ] = None,
) -> None:
    """Look for what would keep the gateway from working, and say what to do; status 1 when something is wrong.

    Ports, addresses, NAT, DNS, trunks, certificates, clock, store, packet plane. It may run beside the gateway.
    """
    from gateway.commands.doctor import run_doctor
    from gateway.doctor.outside import by_url

    with told():
        by = None if outside is None else by_url(outside, password)
    if by is not None and by.user and not by.password:
        by = replace(by, password=typer.prompt(f"Password of {by.user}", hide_input=True))
    raise typer.Exit(0 if run_doctor(config_path(config), output, os.environ, by) else 1)


@app.command()
def calls(config: ConfigOption = None) -> None:
    """List the calls of the gateway that runs on this configuration."""
    from gateway.commands.console import Operator, show_calls

    with told():
        show_calls(Operator(kept_in(config)), output)


@app.command()
def trace(
    call: Annotated[str, typer.Argument(help="Id of a call, or how it begins; of one that ended lately all of it.")],
    config: ConfigOption = None,
    whole: Annotated[bool, typer.Option("--whole", "-w", help="Show the messages' text too, without secrets.")] = False,
) -> None:
    """Draw the messages of one call, SIP and web on one time line, and how its media does."""
    from gateway.commands.console import Operator, show_trace

    with told():
        show_trace(Operator(kept_in(config)), output, call, whole=whole)


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Have the running gateway read its configuration again, as SIGHUP does, and say what waits for a restart.

    Calls stay up. Status 2 for a file that cannot be used: then nothing has changed; 1 where a certificate could
    not be read again, and is in use as it was.
    """
    from gateway.commands.console import Operator, reload_configuration

    with told():
        if not reload_configuration(Operator(kept_in(config)), output):
            raise typer.Exit(1)


@app.command()
def bans(
    config: ConfigOption = None,
    lift: Annotated[str | None, typer.Option(help="Answer this address again.", show_default=False)] = None,
) -> None:
    """List the SIP sources that get no answer (sip.bans)."""
    from gateway.commands.console import Operator, show_bans

    with told():
        show_bans(Operator(kept_in(config)), output, lift)


@app.command("backup")
def backup_(
    archive: Annotated[Path, typer.Argument(help="File to write, as in gateway-backup.tar.gz.", dir_okay=False)],
    config: ConfigOption = None,
) -> None:
    """Write the state folder and the configuration file into one archive; the gateway may run meanwhile.

    It holds passwords and keys: only you can read it, and whoever else can is the gateway.
    """
    from gateway.commands.backup import backup

    with told():
        count = backup(kept_in(config), config_path(config), archive)
    output.print(f"{escape(str(archive))}: {count} files, {archive.stat().st_size / 1024:.0f} KiB.")


@app.command("restore")
def restore_(
    archive: Annotated[Path, typer.Argument(help="What `gateway backup` wrote.", exists=True, dir_okay=False)],
    state_dir: Annotated[Path, typer.Option(help="Folder to fill: state_dir of the configuration.")] = Path(".gateway"),
    config: Annotated[Path, typer.Option("--config", "-c", help="Where the configuration goes.")] = DEFAULT_CONFIG,
    without_config: Annotated[bool, typer.Option(help="Leave the configuration out.")] = False,
) -> None:
    """Put a backup back where nothing is yet; nothing is overwritten. An older store is brought up to date at start."""
    from gateway.commands.backup import restore

    with told():
        written = restore(archive, state_dir, None if without_config else config)
        for path in written:
            output.print(escape(str(path)), soft_wrap=True)
        if config in written and (named := kept_in(config).absolute()) != state_dir.absolute():
            sentence = f"{config} names {named}: set its state_dir to {state_dir.absolute()}."
            output.print(f"[yellow]{escape(sentence)}[/]", soft_wrap=True)


@app.command()
def init(
    config: Annotated[Path, typer.Option("--config", "-c", help="File to write.", dir_okay=False)] = DEFAULT_CONFIG,
    domain: Annotated[str | None, typer.Option(help="Name of the page, and what is behind the @ of users.")] = None,
    address: Annotated[str | None, typer.Option(help="Address that peers reach this machine by.")] = None,
    user: Annotated[list[str] | None, typer.Option(help="Id of a user with a page; again for more.")] = None,
    pbx: Annotated[str | None, typer.Option(help="SIP URI of a PBX or provider; - for none.")] = None,
    pbx_user: Annotated[str | None, typer.Option(help="Account to register with there.")] = None,
    pbx_password: Annotated[str | None, typer.Option(help="Its password.", envvar="PBX_PASSWORD")] = None,
    emergency: Annotated[list[str] | None, typer.Option(help="Emergency number (again for more).")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Certificate chain; default: certbot's.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    proxied: Annotated[bool, typer.Option(help="A web server on this machine has the certificate.")] = False,
    sip_port: Annotated[int, typer.Option(min=1, max=65_535)] = 5060,
    web_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Default: 443, or 8080 without one.")] = None,
    media_port: Annotated[int, typer.Option(min=1, max=65_535, help="UDP, of all browsers.")] = 40_000,
    rtp_ports: Annotated[str, typer.Option(help="UDP, of phones.")] = "10000-19999",
    state_dir: Annotated[
        Path | None,
        typer.Option(help="What it keeps; default: .gateway beside the file, or /var/lib/gateway."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not said is as detected.")] = False,
    force: Annotated[bool, typer.Option(help="Write over a file that is there, and keep it as FILE.before.")] = False,
) -> None:
    """Ask for what a first real installation needs, and write a commented configuration of it.

    A file that is there stays, unless you say otherwise.
    """
    from gateway.commands.init import certificate_of, is_of_service, questions, run_init, state_dir_of

    def ask(question: str, default: str) -> str:
        if not yes:
            return str(typer.prompt(question, default=default or None))
        if not default:
            raise fail(ConfigError("", f"say it by an option, as nothing is asked with --yes: {question}"))
        return default

    overwrite = force or (config.exists() and not yes and typer.confirm(f"{config} is there. Write over it?"))
    answers = questions(ask, domain=domain, address=address, users=user or (), pbx=pbx)
    found = None if proxied else certificate_of(answers.domain)
    answers = replace(
        answers,
        certificate=certificate or (found[0] if found else None),
        key=key or (found[1] if found else None),
        proxied=proxied,
        pbx_user=pbx_user,
        pbx_password=pbx_password,
        emergency=tuple(emergency or ()),
        sip_port=sip_port,
        web_port=web_port,
        media_port=media_port,
        rtp_ports=rtp_ports,
        state_dir=(state_dir or state_dir_of(config)).absolute(),
        service=is_of_service(config),
    )
    with told():
        run_init(config, answers, output, overwrite=overwrite)


@app.command("example-config")
def example_config() -> None:
    """Print a configuration to start from: every key with its default, commented, and two accounts.

    gateway example-config > gateway.yaml
    """
    typer.echo((resources.files("gateway.config") / "gateway.yaml").read_text(encoding="utf-8"), nl=False)


@app.command()
def demo(
    browser: Annotated[str, typer.Option(help="auto, chromium or aiortc: what plays the browser.")] = "auto",
    rounds: Annotated[
        int, typer.Option(min=1, max=50, help="How often each call is made; the table shows medians.")
    ] = 3,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the gateway's log as well.")] = False,
) -> None:
    """Prove both directions with a real desk phone and a real browser: tones found by frequency, PASS or FAIL."""
    from gateway.commands.demo import run_demo

    try:
        passed = run_demo(browser, rounds, output, verbose=verbose)
    except GatewayError as error:
        raise fail(error) from None
    raise typer.Exit(0 if passed else 1)


def main() -> None:
    """Entry point of the `gateway` script."""
    try:
        app()
    except BrokenPipeError:
        # The reader of our output has gone; that is no fault worth a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
