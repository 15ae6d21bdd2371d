"""What docs/deployment.md and docs/cluster.md have other systems do: a firewall, nginx, DNS."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns.zone
import httpx
import pytest
from websockets import InvalidStatus, Origin, connect

from tests import peers
from tests.docs_blocks import ROOT, blocks_of
from tests.interop.gateway import config_on_free_ports, gateway_with
from tests.net.certificates import Authority
from tests.nginx import listens, nginx
from tests.ports import free_port

pytestmark = pytest.mark.wall

HERE, THERE = ("10.213.79.1", "fd00:213:79::1"), ("10.213.79.2", "fd00:213:79::2")
LISTENER = """
import select, socket, sys
socks = []
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for kind, port in ((socket.SOCK_STREAM, 443), (socket.SOCK_STREAM, 40000), (socket.SOCK_STREAM, 8080),
                       (socket.SOCK_DGRAM, 40000), (socket.SOCK_DGRAM, 10000), (socket.SOCK_DGRAM, 9000)):
        made = socket.socket(family, kind)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        if kind == socket.SOCK_STREAM:
            made.listen()
        socks.append(made)
print("listening", flush=True)
while True:
    for ready in select.select(socks, [], [])[0]:
        if ready.type == socket.SOCK_STREAM:
            ready.accept()[0].close()
        else:
            data, source = ready.recvfrom(100)
            ready.sendto(data, source)
"""
ASK = """
import socket, sys
host, kind, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as asking:
    asking.settimeout(float(sys.argv[4]))
    try:
        asking.connect((host, port))
        if kind == "udp":
            asking.send(b"x")
            asking.recv(10)
        print("in")
    except OSError:
        print("out")
"""


def block(page: str, start: str) -> str:
    [found] = [one.text for one in blocks_of(ROOT / "docs" / page) if one.text.startswith(start)]
    return found


@pytest.fixture
def machine() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them: that of the gateway, and what is outside."""
    peers.namespaces(ipv6=True)
    ours, outside = f"gwdocs{os.getpid()}", f"gwdocs{os.getpid()}o"
    try:
        peers.in_namespace(f"ip netns add {ours}", f"ip netns add {outside}")
        peers.in_namespace(f"ip -n {ours} link add name inner type veth peer name outer netns {outside}")
        for space, device, addresses in ((ours, "inner", HERE), (outside, "outer", THERE)):
            peers.in_namespace(
                f"ip -n {space} link set lo up",
                f"ip -n {space} addr add {addresses[0]}/24 dev {device}",
                f"ip -n {space} addr add {addresses[1]}/64 dev {device} nodad",
                f"ip -n {space} link set {device} up",
            )
        yield ours, outside
    finally:
        for space in (ours, outside):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


def test_the_firewall_lets_in_what_it_says_by_both_ip_versions(machine: tuple[str, str]) -> None:
    """The page and media of browsers and phones, and nothing else."""
    ours, outside = machine
    there = ["ip", "netns", "exec", outside, sys.executable, "-c", ASK]

    def is_in(host: str, kind: str, port: int, seconds: float = 30.0) -> bool:
        done = subprocess.run([*there, host, kind, str(port), str(seconds)], capture_output=True, text=True, check=True)
        return done.stdout == "in\n"

    listener = ["ip", "netns", "exec", ours, sys.executable, "-c", LISTENER]
    with subprocess.Popen(listener, stdout=subprocess.PIPE, text=True) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline() == "listening\n"
            assert is_in(HERE[0], "tcp", 8080)
            peers.in_namespace(f"ip netns exec {ours} nft -f -", text=block("deployment.md", "table inet gateway"))
            for host in HERE:
                for kind, port in (("tcp", 443), ("tcp", 40000), ("udp", 40000), ("udp", 10000)):
                    assert is_in(host, kind, port), (host, kind, port)
                for kind, port in (("tcp", 8080), ("udp", 9000)):
                    assert not is_in(host, kind, port, 0.5), (host, kind, port)
        finally:
            listening.kill()


def test_the_hook_copies_a_renewed_certificate_and_reloads(tmp_path: Path) -> None:
    """Both files as certbot has them, for their owner alone, and then the reload; in folders of the test."""
    state, lineage, programs = tmp_path / "state", tmp_path / "live", tmp_path / "programs"
    for folder in (state, lineage, programs):
        folder.mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (lineage / name).write_text(f"a new {name}")
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    (programs / "systemctl").chmod(0o755)
    hook = tmp_path / "renewed"
    hook.write_text(block("deployment.md", "#!/bin/sh\n# /etc/gateway/renewed").replace("/var/lib/gateway", str(state)))
    environ = {"PATH": f"{programs}:/usr/bin:/bin", "RENEWED_LINEAGE": str(lineage)}
    subprocess.run(["sh", str(hook)], env=environ, check=True, timeout=30)
    for name in ("fullchain.pem", "privkey.pem"):
        copied = state / "tls" / name
        assert (copied.read_text(), copied.stat().st_mode & 0o777) == (f"a new {name}", 0o600)
    assert (tmp_path / "said").read_text() == "reload-or-restart gateway\n"


def test_the_zone_names_two_gateways() -> None:
    """It is read as a zone; by UDP and by TCP both are found."""
    zone = dns.zone.from_text(block("cluster.md", "_sip._udp"), "example.com.", relativize=False, check_origin=False)
    for transport in ("udp", "tcp"):
        targets = {str(one.target) for one in zone.find_rdataset(f"_sip._{transport}.example.com.", "SRV")}
        assert targets == {"one.example.com.", "two.example.com."}
    assert len(zone.find_rdataset("gw.example.com.", "A")) == 2


async def refusal(port: int, name: str, origin: str, trusting: ssl.SSLContext) -> int | None:
    """The status with which a page of that origin is refused its WebSocket; None: it has it."""
    url = f"wss://{name}:{port}/rpc"
    try:
        async with connect(url, host="127.0.0.1", ssl=trusting, server_hostname=name, origin=Origin(origin)):
            return None
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.wall
async def test_the_page_and_its_socket_come_through_nginx(tmp_path: Path) -> None:
    """By HTTPS and WSS, the origin that people type being `web.public_url`; a page of another one gets 403."""
    authority, port, name = Authority(tmp_path), free_port(), "phone.example.com"
    certificate, key = authority.issue(name)
    config = config_on_free_ports(tmp_path, WEB__PUBLIC_URL=f"https://{name}:{port}", WEB__PROXIES='["127.0.0.1"]')
    server = block("deployment.md", "server {")
    for words, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("http://127.0.0.1:8080", f"http://127.0.0.1:{config.web.listen.port}"),
        (f"/etc/letsencrypt/live/{name}/fullchain.pem", str(certificate)),
        (f"/etc/letsencrypt/live/{name}/privkey.pem", str(key)),
    ):
        assert words in server
        server = server.replace(words, here)
    trusting = ssl.create_default_context(cafile=str(authority.file))
    async with gateway_with(config, tmp_path / "gateway.log"), httpx.AsyncClient(verify=trusting) as http:
        with nginx(tmp_path, server):
            request = http.build_request("GET", f"https://127.0.0.1:{port}/", headers={"Host": f"{name}:{port}"})
            request.extensions = {**request.extensions, "sni_hostname": name}
            async with asyncio.timeout(30):
                while not await listens(port):  # noqa: ASYNC110  # nginx tells nobody
                    await asyncio.sleep(0.02)
            page = await http.send(request)
            assert (page.status_code, "<title>" in page.text) == (200, True)
            for origin, status in ((f"https://{name}:{port}", None), ("https://elsewhere.example.com", 403)):
                assert await refusal(port, name, origin, trusting) == status
