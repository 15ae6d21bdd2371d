"""`gateway init`: what a stranger answers makes a configuration that is good, and a gateway that starts on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gateway.commands.init import (
    Answers,
    behind_nat,
    certificate_of,
    configuration,
    is_of_service,
    next_steps,
    state_dir_of,
    write,
)
from gateway.config import load, notices
from gateway.errors import ConfigError
from tests.net.certificates import Authority
from tests.ports import free_ports
from tests.rows import by_row

SCRIPT = shutil.which("gateway", path=str(Path(sys.executable).parent)) or ""


def init(folder: Path, *options: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `gateway init` in a folder, with what somebody types."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [SCRIPT, "init", *options], cwd=folder, input=typed, capture_output=True, text=True, timeout=30, env=environ
    )


def ports() -> list[str]:
    """Options for ports that are free here."""
    sip, web, media, rtp = free_ports(4)
    numbers = ("--sip-port", sip, "--web-port", web, "--media-port", media, "--rtp-ports", f"{rtp}-{rtp + 99}")
    return [str(one) for one in numbers]


@pytest.mark.wall
async def test_a_stranger_answers_four_questions_and_has_a_gateway_that_starts(tmp_path: Path) -> None:
    """What was typed is in the file, with words; check-config finds it good, and run greets with the user."""
    typed = "phone.example.com\n\ncarol\nsip:pbx.example.com\n"
    done = await asyncio.to_thread(init, tmp_path, *ports(), typed=typed)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "gateway.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = load(path, {})
    assert (found.domain, found.users[0].id) == ("phone.example.com", "carol")
    assert found.state_dir == tmp_path / ".gateway", "commands find the gateway from any folder"
    assert str(state_dir_of(Path("/etc/gateway/gateway.yaml"))) == "/var/lib/gateway"
    assert found.trunks[0].uri == "sip:pbx.example.com"
    assert path.read_text().count("#") > 10
    assert "certbot" in done.stdout
    checked = await asyncio.to_thread(
        subprocess.run, [SCRIPT, "check-config"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr
    process = await asyncio.create_subprocess_exec(
        SCRIPT, "run", cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        greeting = b""
        async with asyncio.timeout(45):
            while b"stops the gateway" not in greeting:
                line = await process.stdout.readline()
                assert line, greeting
                greeting += line
            assert b"carol" in greeting
            process.send_signal(signal.SIGTERM)
            await process.communicate()
        assert process.returncode == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@pytest.mark.wall
def test_a_file_that_is_there_stays_unless_its_owner_says_otherwise(tmp_path: Path) -> None:
    """Asked, and told not to; without anybody to ask; and by an option."""
    path = tmp_path / "gateway.yaml"
    path.write_text("domain: mine.test\n")
    options = ["--domain", "a.test", "--address", "192.0.2.1", "--user", "bob", "--pbx", "-", *ports()]
    assert init(tmp_path, *options, typed="n\n").returncode == 2
    asked = init(tmp_path, *options, "--yes")
    assert (asked.returncode, "is there already" in asked.stderr) == (2, True)
    assert path.read_text() == "domain: mine.test\n"
    for name in ("gateway.yaml.before", "gateway.yaml.before-2"):
        before = path.read_text()
        done = init(tmp_path, *options, "--yes", "--force")
        assert (done.returncode, f"the one before is {name}" in done.stdout) == (0, True)
        assert (tmp_path / name).read_text() == before
        assert load(path, {}).domain == "a.test"
        path.write_text(path.read_text() + "# by hand\n")
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == [
        "gateway.yaml",
        "gateway.yaml.before",
        "gateway.yaml.before-2",
    ]


@pytest.mark.parametrize("service", [False, True])
def test_a_certificate_that_comes_later_takes_a_few_lines_of_the_file(service: bool, tmp_path: Path) -> None:
    """What was written meanwhile stays: with the # taken off it is as with the certificate at once."""
    answers = Answers(domain="phone.test", address="203.0.113.7", service=service)
    path = tmp_path / "gateway.yaml"
    write(path, answers, overwrite=False)
    page = load(path, {}).web
    assert (str(page.listen), page.tls.cert) == ("127.0.0.1:8080", None)
    said = " ".join(next_steps(path, answers))
    assert f"take the # off the lines of `web:` in {path} that name it" in said
    assert "--force" not in said
    text = path.read_text()
    head, lines, rest = re.split(r"(?<=away:\n)((?:#.*\n)+)  listen: 127.0.0.1:8080\n", text)
    path.write_text(head + "".join(line.removeprefix("#") for line in lines.splitlines(keepends=True)) + rest)
    live = Path("/etc/letsencrypt/live/phone.test")
    there = replace(answers, certificate=live / "fullchain.pem", key=live / "privkey.pem")
    write(tmp_path / "other.yaml", there, overwrite=False)
    assert load(path, {}) == load(tmp_path / "other.yaml", {})


@pytest.mark.wall
def test_answers_that_make_no_configuration_write_nothing(tmp_path: Path) -> None:
    """The key is named, and no draft is left."""
    done = init(tmp_path, "--yes", "--domain", "not a name", "--address", "192.0.2.1", "--pbx", "-")
    assert (done.returncode, "domain" in done.stderr) == (2, True)
    silent = init(tmp_path, "--yes")
    assert (silent.returncode, "Domain" in silent.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_no_answer_breaks_out_of_its_value(tmp_path: Path) -> None:
    """Quotes, colons and line breaks are text, or refused."""
    for nasty in ('x"\nadmin: true', "a: b", "'", "{{}}", "- a", "#"):
        answers = Answers(domain="a.test", address="192.0.2.1", pbx="sip:pbx.test", pbx_user=nasty, pbx_password=nasty)
        text = configuration(answers)
        assert set(yaml.safe_load(text)) == {
            "version",
            "domain",
            "sip",
            "web",
            "webrtc",
            "rtp",
            "users",
            "routes",
            "trunks",
        }
        assert yaml.safe_load(text)["trunks"][0]["username"] == nasty
    with pytest.raises(ConfigError, match="username"):
        write(
            tmp_path / "f",
            Answers(domain="a.test", address="h.test", pbx="sip:p.test", pbx_user="a\nb"),
            overwrite=True,
        )


def test_a_certificate_makes_the_page_public(tmp_path: Path) -> None:
    """On 443, by its name; certbot's own is found, and its hook named."""
    cert, key = Authority(tmp_path).issue("phone.test")
    live = tmp_path / "live" / "phone.test"
    assert certificate_of("phone.test", tmp_path / "live") is None
    live.mkdir(parents=True)
    shutil.copy(cert, live / "fullchain.pem")
    shutil.copy(key, live / "privkey.pem")
    assert certificate_of("phone.test", tmp_path / "live") == (live / "fullchain.pem", live / "privkey.pem")
    answers = Answers(domain="phone.test", address="203.0.113.7", certificate=cert, key=key)
    write(tmp_path / "gateway.yaml", answers, overwrite=False)
    found = load(tmp_path / "gateway.yaml", {})
    assert (found.web.listen.port, found.web.public_url) == (443, "https://phone.test")
    assert not found.web.guests_welcome
    said = " ".join(next_steps(tmp_path / "gateway.yaml", answers))
    assert "certbot" not in said  # what it renews is taken up without a hook
    assert "TCP 443" in said
    proxied = Answers(domain="phone.test", address="203.0.113.7", proxied=True)
    write(tmp_path / "proxied.yaml", proxied, overwrite=False)
    assert str(load(tmp_path / "proxied.yaml", {}).web.listen) == "127.0.0.1:8080"


def test_what_the_service_reads_is_readable_for_it_and_holds_no_secret(tmp_path: Path) -> None:
    """It runs as a user who reads neither root's files nor certbot's folder."""
    live = Path("/etc/letsencrypt/live/phone.test")
    answers = Answers(
        domain="phone.test",
        address="203.0.113.7",
        certificate=live / "fullchain.pem",
        key=live / "privkey.pem",
        pbx="sip:p.test",
        pbx_user="49",
        pbx_password="of-the-pbx",
        state_dir=state_dir_of(Path("/etc/gateway/gateway.yaml")),
        service=is_of_service(Path("/etc/gateway/gateway.yaml")),
    )
    path = tmp_path / "gateway.yaml"
    write(path, answers, overwrite=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "of-the-pbx" not in path.read_text()
    found = load(path, {"GATEWAY_TRUNKS__PBX__PASSWORD": "of-the-pbx"})
    copied = Path("/var/lib/gateway/tls")
    assert (found.web.tls.cert, found.web.tls.key) == (copied / "fullchain.pem", copied / "privkey.pem")
    said = " ".join(next_steps(path, answers))
    assert f"RENEWED_LINEAGE={live} /etc/gateway/renewed" in said
    assert "--deploy-hook /etc/gateway/renewed" in said
    assert "GATEWAY_TRUNKS__PBX__PASSWORD" in said
    assert "systemctl enable --now gateway" in said
    hook = (Path(__file__).parent.parent / "docs/deployment.md").read_text().partition("# /etc/gateway/renewed:")[2]
    assert str(copied) in hook.partition("```")[0]
    own = replace(answers, certificate=Path("/etc/gateway/own.pem"), key=Path("/etc/gateway/own.key"))
    assert own.tls == (own.certificate, own.key)


def test_a_pbx_with_an_account_and_emergency_numbers(tmp_path: Path) -> None:
    """It is registered at; users may call out through it."""
    answers = Answers(
        domain="a.test",
        address="h.test",
        pbx="sip:p.test",
        pbx_user="49",
        pbx_password="kJ7-qZ4_wT9x",
        emergency=("112",),
    )
    write(tmp_path / "gateway.yaml", answers, overwrite=False)
    found = load(tmp_path / "gateway.yaml", {})
    assert found.trunks[0].register_account
    assert (found.emergency.trunk, found.emergency.numbers) == ("pbx", ("112",))
    assert "trunk:pbx" in found.users[0].may_call
    assert not list(notices(found))


@by_row(("address", "hidden"), [("10.0.0.1", True), ("100.64.1.1", True), ("8.8.8.8", False), ("phone.test", False)])
def test_an_address_behind_nat_is_said(address: str, hidden: bool) -> None:
    """For peers outside it is none."""
    assert behind_nat(address) is hidden


@by_row(("address", "everywhere"), [("2001:db8::1", "::"), ("192.0.2.1", "0.0.0.0"), ("h.test", "0.0.0.0")])
def test_it_listens_by_the_ip_version_of_its_address(tmp_path: Path, address: str, everywhere: str) -> None:
    """SIP and all media: an address that peers are told is of no use where nobody listens on its version."""
    write(tmp_path / "gateway.yaml", Answers(domain="a.test", address=address), overwrite=False)
    found = load(tmp_path / "gateway.yaml", {})
    assert {listen.host for listen in found.sip.listen} == {everywhere}
    assert (found.rtp.places, found.webrtc.listen.host) == (((everywhere, address),), everywhere)
