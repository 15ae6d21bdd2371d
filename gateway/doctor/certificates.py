"""Certificates, of the page and of SIP: whether keys match, names fit, and they last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from gateway.app import settings
from gateway.config import Config
from gateway.config.ports import WILDCARDS
from gateway.doctor import browsers
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.doctor.own import own_addresses
from gateway.errors import ConfigError
from gateway.net.tls import Tls, TlsFiles, names_of
from gateway.observe.health import end_of, nears_its_end

_PAIR = (
    "This user must be able to read both files, that of the certificate hold the whole chain, and the key belong to it."
)
_AUTHORITIES = "Name a file that this user can read, of the authorities' certificates (PEM)."
_RENEW = "Renew it, and run `gateway reload`."


def certificates(config: Config, now: float) -> Iterator[Finding]:
    """Whether browsers will take the page and phones our SIP, and for how long; `now`: seconds since 1970."""
    yield from _of_page(config, now)
    yield from _of_sip(config, now)


def _of_page(config: Config, now: float) -> Iterator[Finding]:
    tls = config.web.tls
    if tls.cert is None:
        if not config.web.only_here and not config.web.proxies:
            yield notice(
                "web.tls",
                "The page is served over plain HTTP; browsers give their microphone to https:// pages only.",
                "Set web.tls, or put a proxy with a certificate in front and name it in web.proxies.",
            )
        return
    try:
        settings.tls(config)
    except ConfigError as error:
        yield wrong(error.key, f"{error.reason}.", _PAIR)
        return
    if config.web.only_here:
        yield from _looked_at("web.tls", tls.cert, [], now, wildcards=True)
        return
    refusals = list(browsers.refusals(tls.cert, _names_of_page(config)))
    yield from (wrong("web.tls", found, advice) for found, advice in refusals)
    if not refusals:
        yield from _looked_at("web.tls", tls.cert, [], now, wildcards=True)
        yield from _unknown_authority("web.tls", tls.cert)


def _names_of_page(config: Config) -> list[str]:
    """List the names by which people may open the page: `public_url`, else each that leads here."""
    host = urlsplit(config.web.public_url or "").hostname
    listened = [str(one.host) for _, one in config.web.listeners if one.host not in WILDCARDS]
    told = [one.host for one in config.webrtc.advertised]
    return [host] if host else [config.domain, *listened, *told, *own_addresses()]


def _unknown_authority(key: str, path: Path) -> Iterator[Finding]:
    if not browsers.is_of_known_authority(path):
        yield notice(
            key,
            f"The certificate {path} is of no authority that this machine knows, as browsers may know none.",
            "Right for an authority that you have installed in every browser; else take a public one's chain.",
        )


def _of_sip(config: Config, now: float) -> Iterator[Finding]:
    files = settings.sip_certificates(config)
    if files.cert is None and files.ca is None:
        return
    try:
        Tls(files).load()
    except ConfigError as error:
        yield wrong(error.key, f"{error.reason}.", _AUTHORITIES if error.key == "sip.tls.ca" else _PAIR)
        return
    if files.cert is not None:
        yield from _first_of_sip(config, files, files.cert, now)
    for cert, _ in files.certificates:
        yield from _looked_at("sip.tls.certificates", cert, [], now, wildcards=files.wildcards)


def _first_of_sip(config: Config, files: TlsFiles, cert: Path, now: float) -> Iterator[Finding]:
    """Check the certificate that peers see who ask for no name."""
    if any(one.transport == "wss" for one in config.sip.listen):
        yield from (wrong("sip.tls", *one) for one in browsers.refusals(cert, [config.domain]))
    shown = {name for further, _ in files.certificates for name in names_of(further)}
    wanted = [] if config.domain in shown else [config.domain]
    yield from _looked_at("sip.tls", cert, wanted, now, wildcards=files.wildcards)


def _looked_at(key: str, path: Path, wanted: Iterable[str], now: float, *, wildcards: bool) -> Iterator[Finding]:
    names = browsers.names_and_addresses(path)
    said = nears_its_end(path, end_of(path), now)
    yield from (wrong(key, one, _RENEW) for one in said)
    missing = [name for name in wanted if not browsers.is_among(name.lower(), names, wildcards=wildcards)]
    for name in missing:
        listed = ", ".join(sorted(names)) or "no name at all"
        yield notice(
            key,
            f"The certificate {path} is of {listed}, not of {name}: peers that are told {name} will refuse it.",
            f"Take a certificate that names {name} (subjectAltName).",
        )
    if not said and not missing:
        yield good(key, f"The certificate {path} and its key belong together and last.")
