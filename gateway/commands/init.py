"""`gateway init`: asks for what a first real installation needs, and writes a commented configuration of it."""

from __future__ import annotations

import ipaddress
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway.config import load
from gateway.config.ports import default_route_address
from gateway.config.settings import VERSION
from gateway.config.values import ip_version
from gateway.errors import ConfigError
from gateway.files import write_whole

_CERTBOT = Path("/etc/letsencrypt/live")
_STATE = Path("/var/lib/gateway")
_HOOK = Path("/etc/gateway/renewed")
"""Copies what certbot has renewed to where the service reads it (docs/deployment.md)."""
_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""Behind a provider's own NAT (RFC 6598)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a first installation is; texts as they were given."""

    domain: str
    """What stands behind the @ of users, and the name of the page."""
    address: str
    """What peers are told to send to."""
    certificate: Path | None = None
    key: Path | None = None
    proxied: bool = False
    """A web server on this machine has the certificate."""
    pbx: str | None = None
    """SIP URI."""
    pbx_user: str | None = None
    """Account to register with there; None: the PBX knows us by our address."""
    pbx_password: str | None = None
    users: tuple[str, ...] = ("alice",)
    emergency: tuple[str, ...] = ()
    state_dir: Path | None = None
    """Where the gateway keeps what it keeps; None: `.gateway` of wherever it is started."""
    service: bool = False
    """It is run by deploy/gateway.service: as a user who reads neither root's files nor certbot's."""
    sip_port: int = 5060
    web_port: int | None = None
    """None: 443 with a certificate, else 8080."""
    media_port: int = 40_000
    rtp_ports: str = "10000-19999"

    @property
    def everywhere(self) -> str:
        """Every address of the IP version of `address`, as it stands before a port."""
        return "[::]" if ip_version(self.address) == 6 else "0.0.0.0"

    @property
    def tls(self) -> tuple[Path | None, Path | None]:
        """The chain and the key as the gateway reads them."""
        if not self.service or self.certificate is None or not self.certificate.is_relative_to(_CERTBOT):
            return self.certificate, self.key
        copied = (self.state_dir or _STATE) / "tls"
        return copied / "fullchain.pem", copied / "privkey.pem"

    @property
    def page(self) -> int:
        """Port of the page."""
        return self.web_port or (443 if self.certificate is not None else 8080)


def behind_nat(address: str) -> bool:
    """Whether peers outside cannot reach an address of ours."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_private or found in _SHARED


def certificate_of(domain: str, live: Path = _CERTBOT) -> tuple[Path, Path] | None:
    """The chain and the key that certbot keeps for a name, where they are there."""
    cert, key = live / domain / "fullchain.pem", live / domain / "privkey.pem"
    return (cert, key) if os.access(cert, os.R_OK) and os.access(key, os.R_OK) else None


def _text(value: object) -> str:
    """A YAML scalar of any text: JSON's string is one."""
    return json.dumps(str(value))


def is_of_service(path: Path) -> bool:
    """Whether a file is one for deploy/gateway.service: it is below /etc."""
    return path.absolute().is_relative_to("/etc")


def state_dir_of(path: Path) -> Path:
    """Where a gateway of that file keeps what it keeps."""
    return _STATE if is_of_service(path) else path.absolute().with_name(".gateway")


def configuration(answers: Answers) -> str:
    """The file, with a comment at each section that says what it is for."""
    sections = [*_head(answers), *_web(answers), *_media(answers), *_users(answers), *_pbx(answers)]
    return "\n".join(sections) + "\n"


def _head(answers: Answers) -> Iterator[str]:
    yield "# Written by `gateway init`. `gateway example-config` shows every key with its default;"
    yield "# `gateway check-config` says what is wrong with a file; `gateway reload` has it read again."
    yield ""
    yield f"version: {VERSION}"
    if answers.state_dir is not None:
        yield "# What the gateway keeps, and where `gateway reload`, `calls` and `backup` find it from any folder."
        yield f"state_dir: {_text(answers.state_dir)}"
    yield "# What stands behind the @ of users: phones register with this domain."
    yield f"domain: {_text(answers.domain)}"
    yield ""
    yield "# Phones, PBX and trunks. Let only those networks through your firewall that have phones."
    yield "sip:"
    yield f'  listen: ["udp:{answers.everywhere}:{answers.sip_port}", "tcp:{answers.everywhere}:{answers.sip_port}"]'
    yield f"  advertised: {_text(answers.address)}"
    yield ""


def _web(answers: Answers) -> Iterator[str]:
    yield "# The page. Browsers give their microphone to https:// pages only, and to localhost."
    yield "web:"
    if answers.certificate is not None:
        yield from _public_page(answers)
    elif answers.proxied:
        yield "  # A web server on this machine has the certificate and passes WebSockets on (docs/deployment.md)."
        yield f"  listen: 127.0.0.1:{answers.page}"
        yield "  proxies: [127.0.0.1]"
        yield f"  public_url: {_text(f'https://{answers.domain}')}"
    else:
        yield "  # There is no certificate yet: only this machine reaches the page. Once there is one, take the # off"
        yield "  # the next lines, and the `listen` after them away:"
        kept = _CERTBOT / answers.domain
        later = replace(answers, certificate=kept / "fullchain.pem", key=kept / "privkey.pem")
        yield from (f"#{line}" for line in _public_page(later))
        yield f"  listen: 127.0.0.1:{answers.page}"
    yield "  # Only people with an account call from the page."
    yield '  guests: "off"'
    yield ""


def _public_page(answers: Answers) -> Iterator[str]:
    """What the page of a domain with a certificate takes."""
    yield "  # Renewed files are taken up within a minute, without a call noticing."
    cert, key = answers.tls
    yield f"  tls: {{cert: {_text(cert)}, key: {_text(key)}}}"
    port = "" if answers.page == 443 else f":{answers.page}"
    yield f"  public_url: {_text(f'https://{answers.domain}{port}')}"
    yield f'  listen: "{answers.everywhere}:{answers.page}"'


def _media(answers: Answers) -> Iterator[str]:
    yield "# Media of all browsers on one UDP port, of phones on a range of them: both open in the firewall."
    yield "webrtc:"
    yield f'  listen: "{answers.everywhere}:{answers.media_port}"'
    yield f"  advertised: [{_text(answers.address)}]"
    yield "rtp:"
    yield '  # For phones of both IP versions name an address of each, here and in advertised: [0.0.0.0, "::"].'
    yield f'  listen: "{answers.everywhere.strip("[]")}"'
    yield f"  advertised: {_text(answers.address)}"
    yield f"  ports: {answers.rtp_ports}"
    yield ""


def _users(answers: Answers) -> Iterator[str]:
    yield "# People with a page. Their passwords are made at the first start and printed, and kept in state_dir."
    yield "users:" if answers.users else "users: []"
    outside = ', "trunk:pbx"' if answers.pbx else ""
    for user in answers.users:
        yield f'  - {{id: {_text(user)}, web: true, password: auto, may_call: ["*"{outside}]}}'
    yield ""


def _pbx(answers: Answers) -> Iterator[str]:
    yield "routes:"
    yield "  # Hear yourself, and hear a tone."
    yield '  - {match: "600", to: "service:echo"}'
    yield '  - {match: "601", to: "service:tone"}'
    if answers.pbx is None:
        return
    yield "  # 0 and a number goes out through the PBX."
    yield '  - {match: "0*", to: "trunk:pbx", strip: 1}'
    yield ""
    yield "trunks:"
    yield "  - name: pbx"
    yield f"    uri: {_text(answers.pbx)}"
    if answers.pbx_user is not None:
        yield "    # Registered there, so that it calls us; better set the password by GATEWAY_TRUNKS__PBX__PASSWORD."
        yield f"    username: {_text(answers.pbx_user)}"
        if answers.pbx_password and not answers.service:
            yield f"    password: {_text(answers.pbx_password)}"
        yield "    register: true"
    else:
        yield "    # Name the addresses that it calls from, for calls of it to be let in."
        yield "    # sources: [192.0.2.10]"
    if answers.emergency:
        yield ""
        yield "# Everybody may dial these, whatever else is refused."
        yield "emergency:"
        yield f"  numbers: {json.dumps(answers.emergency)}"
        yield "  trunk: pbx"


def write(path: Path, answers: Answers, *, overwrite: bool) -> Path | None:
    """Write the file whole or not at all; for its owner alone, but that of the service, in which no password is.

    Returns under which name the one before is kept, if there was one. Raises ConfigError for answers that make no good
    configuration, and where there is a file already.
    """
    text, kept = configuration(answers), None
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            tried = Path(folder) / path.name
            tried.touch(0o600)
            tried.write_text(text, encoding="utf-8")
            load(tried, {})
        if overwrite:
            kept = _keep(path)
        is_ours = write_whole(path, text, first_wins=not overwrite, mode=0o644 if answers.service else 0o600)
    except OSError as error:
        raise ConfigError("", f"{path} cannot be written: {error.strerror}") from None
    if not is_ours:
        raise ConfigError("", f"{path} is there already; --force writes it anew")
    return kept


def _keep(path: Path) -> Path | None:
    """Give the file that is there another name beside its own, which no other has; None where there is none."""
    for number in count(1):
        name = path.with_name(f"{path.name}.before{f'-{number}' if number > 1 else ''}")
        try:
            os.link(path, name)
        except FileNotFoundError:
            return None
        except FileExistsError:
            continue
        return name
    raise AssertionError


def next_steps(path: Path, answers: Answers) -> Iterator[str]:
    """What is left to do, one sentence each."""
    hook = f" --deploy-hook {_HOOK}" if answers.service else ""
    if answers.service and not answers.proxied:
        yield f"Make {_HOOK}, which copies certificates to where the service reads them (docs/deployment.md has it)."
    if answers.certificate is None and not answers.proxied:
        get = f"certbot certonly --standalone -d {answers.domain}{hook}"
        yield f"Get a certificate: {get}; then take the # off the lines of `web:` in {path} that name it."
    elif answers.service and answers.certificate is not None and answers.tls[0] != answers.certificate:
        yield f"Have it copied for the first time: RENEWED_LINEAGE={answers.certificate.parent} {_HOOK}"
        yield f"Have renewed certificates copied: certbot renew{hook}."
    if answers.service and answers.pbx_user is not None:
        yield "Put the PBX's password into /etc/gateway/secrets.env (mode 0600): GATEWAY_TRUNKS__PBX__PASSWORD=..."
    web = f"TCP {answers.page} (page), " if answers.certificate is not None else ""
    yield (
        f"Open in the firewall: {web}UDP and TCP {answers.sip_port} (SIP, from your phones' networks alone), "
        f"UDP {answers.media_port} (browsers' media), UDP {answers.rtp_ports} (phones' media)."
    )
    if behind_nat(answers.address):
        yield f"{answers.address} is reached from its own network alone: for peers outside, name the public address."
    if answers.pbx and not answers.emergency:
        yield "Set emergency.numbers, or nobody can call for help through this gateway."
    config = "" if path == Path("gateway.yaml") else f" --config {path}"
    run = "systemctl enable --now gateway (deploy/gateway.service)" if answers.service else f"gateway run{config}"
    yield f"gateway check-config{config}, then {run}, and beside it gateway doctor{config}."


def run_init(path: Path, answers: Answers, output: Console, *, overwrite: bool) -> None:
    """Write the file and say what is next; raises ConfigError."""
    kept = write(path, answers, overwrite=overwrite)
    before = f"; the one before is {kept}" if kept is not None else ""
    output.print(f"[green]{escape(f'{path} is written{before}')}.[/] Next:", soft_wrap=True)
    for sentence in next_steps(path, answers):
        output.print(f"- {escape(sentence)}", soft_wrap=True)


Ask = Callable[[str, str], str]
"""A question and its default in, the answer out."""


def questions(ask: Ask, *, domain: str | None, address: str | None, users: Sequence[str], pbx: str | None) -> Answers:
    """The answers, asked for where they are not known; an empty one means none."""
    domain = domain or ask("Domain: users are NAME@DOMAIN, the page is https://DOMAIN", "")
    address = address or ask("Address that peers reach this machine by", default_route_address())
    users = users or [ask("First user of the page", "alice")]
    pbx = ask("SIP URI of your PBX or provider, sip:pbx.example.com (- for none)", "-") if pbx is None else pbx
    return Answers(
        domain=domain,
        address=address,
        users=tuple(user for user in users if user != "-"),
        pbx=None if pbx in ("", "-") else pbx,
    )
