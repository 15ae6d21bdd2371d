"""TLS between SIP domains: certificates by name, connections that are shared only as their certificates allow."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.net import Answered, Ended, Failed, UserAgent, UserAgentConfig
from gateway.net.resolver import ResolverConfig
from gateway.net.tls import Tls, TlsFiles
from gateway.sip.invite.events import SessionEvent
from gateway.sip.transactions.config import StackConfig
from tests.net.certificates import Authority
from tests.net.peers import LOOPBACK, OFFER, Application, Recorder, answering, port_of
from tests.rows import by_row

HOSTS = ResolverConfig(hosts=tuple((name, ("127.0.0.1",)) for name in ("one.test", "two.test", "a.one.test")))


async def agent(tls: TlsFiles, application: Application | None = None, *, alias: bool = False) -> UserAgent:
    config = UserAgentConfig(
        listen=LOOPBACK, listen_tls=LOOPBACK, tls=tls, resolver=HOSTS, stack=StackConfig(alias=alias)
    )
    made = UserAgent(config, application or Application(answering))
    await made.start()
    return made


def connections(of: UserAgent) -> int:
    return len(of._shell.endpoint.connections)


async def called(caller: UserAgent, uri: str) -> SessionEvent:
    """How a call comes out; one that is answered is hung up again."""
    recorder = Recorder(caller.invite(uri, caller="alice", body=OFFER))
    outcome = await recorder.wait_for_one_of(Answered, Failed)
    if isinstance(outcome, Answered):
        recorder.session.hangup()
        await recorder.wait(Ended)
    return outcome


async def test_a_connection_to_one_domain_is_not_used_for_another_at_the_same_address(tmp_path: Path) -> None:
    """Its certificate says nothing of the other one; both at once wait for connections of their own, too."""
    authority = Authority(tmp_path)
    bob, alice = await agent(authority.files("one.test")), await agent(authority.files("alice.test"))
    port = port_of(bob, "tls")
    one, two = f"sip:bob@one.test:{port};transport=tls", f"sip:bob@two.test:{port};transport=tls"
    assert isinstance(await called(alice, one), Answered)
    failed = await called(alice, two)
    assert isinstance(failed, Failed)
    assert failed.status == 503
    assert isinstance(await called(alice, one), Answered)
    assert connections(alice) == 1
    await alice.close()
    alice = await agent(authority.files("alice.test"))
    outcomes = await asyncio.gather(called(alice, one), called(alice, two), called(alice, one))
    assert [type(outcome) for outcome in outcomes] == [Answered, Failed, Answered]
    await alice.close()
    await bob.close()


async def test_a_sip_uri_in_the_certificate_names_the_domain(tmp_path: Path) -> None:
    """RFC 5922 section 7.1: then its DNS names, the host's own, do not count."""
    authority = Authority(tmp_path)
    bob, alice = await agent(authority.files("sip:one.test", "two.test")), await agent(authority.files("alice.test"))
    port = port_of(bob, "tls")
    assert isinstance(await called(alice, f"sips:bob@one.test:{port}"), Answered)
    assert isinstance(await called(alice, f"sips:bob@two.test:{port}"), Failed)
    await alice.close()
    await bob.close()


async def test_each_name_is_shown_its_certificate(tmp_path: Path) -> None:
    """SNI; the first certificate is for everybody else, and all are read again."""
    authority = Authority(tmp_path)
    files = replace(
        authority.files("127.0.0.1"), certificates=(authority.issue("one.test"), authority.issue("*.two.test"))
    )
    bob, alice = await agent(files), await agent(authority.files("alice.test"))
    port = port_of(bob, "tls")
    assert isinstance(await called(alice, f"sips:bob@one.test:{port}"), Answered)
    assert isinstance(await called(alice, f"sips:bob@127.0.0.1:{port}"), Answered)
    assert isinstance(await called(alice, f"sips:bob@two.test:{port}"), Failed)
    assert await names_shown(port, "a.two.test", authority) == {"*.two.test"}
    authority.issue("one.test", "three.test")
    bob.tls.load()
    assert await names_shown(port, "three.test", authority) == {"one.test", "three.test"}
    await alice.close()
    await bob.close()


@pytest.mark.parametrize(("wildcards", "status"), [(False, 503), (True, 200)])
async def test_a_wildcard_in_a_certificate_counts_where_that_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, wildcards: bool, status: int
) -> None:
    """sip.tls.wildcards; who is refused for it is told what to set."""
    authority = Authority(tmp_path)
    bob = await agent(authority.files("*.one.test"))
    alice = await agent(replace(authority.files("alice.test"), wildcards=wildcards))
    answer = await alice.options(f"sips:a.one.test:{port_of(bob, 'tls')}")
    assert answer.status == status
    assert ("sip.tls.wildcards" in caplog.text) is not wildcards
    await alice.close()
    await bob.close()


async def names_shown(port: int, name: str, authority: Authority) -> set[str]:
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    return {text for _, text in certificate["subjectAltName"]}


def test_a_further_certificate_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """And what was read before stays."""
    authority = Authority(tmp_path)
    files = authority.files("127.0.0.1")
    tls = Tls(replace(files, certificates=((tmp_path / "no.pem", tmp_path / "no.key"),)))
    with pytest.raises(ConfigError, match=r"sip\.tls"):
        tls.load()


@by_row(
    ("asked", "alias", "names", "shared"),
    [
        ("required", True, ("127.0.0.1",), True),
        ("required", True, ("one.test",), False),
        ("required", False, ("127.0.0.1",), False),
        ("off", True, ("127.0.0.1",), False),
    ],
)
async def test_a_connection_is_used_backwards_by_who_has_shown_whose_it_is(
    tmp_path: Path, asked: str, alias: bool, names: tuple[str, ...], shared: bool
) -> None:
    """RFC 5923: with `alias` in the Via, over mutual TLS, and a certificate of the Via's sent-by; else not."""
    authority = Authority(tmp_path)
    alice = await agent(authority.files("127.0.0.1", client_certificates=asked))
    bob = await agent(replace(authority.files("bob.test", *names)), alias=alias)
    answer = await bob.options(f"sip:127.0.0.1:{port_of(alice, 'tls')};transport=tls")
    assert answer.status == 200
    assert (connections(alice), connections(bob)) == (1, 1)
    outcome = await called(alice, f"sip:bob@127.0.0.1:{port_of(bob, 'tls')};transport=tls")
    if "127.0.0.1" in names:
        assert isinstance(outcome, Answered)
        assert connections(alice) == (1 if shared else 2)
    else:
        assert isinstance(outcome, Failed)
    await bob.close()
    await alice.close()


async def test_an_alias_goes_with_its_connection(tmp_path: Path) -> None:
    """What is sent there then is sent by a connection of our own."""
    authority = Authority(tmp_path)
    alice = await agent(authority.files("127.0.0.1", client_certificates="required"))
    bob = await agent(authority.files("127.0.0.1"), alias=True)
    uri = f"sip:bob@127.0.0.1:{port_of(bob, 'tls')};transport=tls"
    await bob.options(f"sip:127.0.0.1:{port_of(alice, 'tls')};transport=tls")
    lost = asyncio.Event()
    alice.when_lost(lambda flow: lost.set())
    [connection] = bob._shell.endpoint.connections._by_local.values()
    connection.drop()
    await asyncio.wait_for(lost.wait(), 30)
    assert isinstance(await called(alice, uri), Answered)
    await bob.close()
    await alice.close()
