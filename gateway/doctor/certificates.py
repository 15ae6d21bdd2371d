"""Certificates, of the page and of SIP: whether keys match, names fit, and they last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from gateway.app import settings
from gateway.app.health import end_of, nears_its_end
from gateway.config import Config
from gateway.doctor.findings import Finding, good, notice, wrong
from gateway.errors import ConfigError
from gateway.net.tls import Tls, names_of, read_certificate

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
    host = urlsplit(config.web.public_url or "").hostname
    yield from _looked_at("web.tls", tls.cert, [host] if host else [], now, wildcards=True)


def _of_sip(config: Config, now: float) -> Iterator[Finding]:
    files = settings.sip_certificates(config)
    if files.cert is None and files.ca is None:
        return
    try:
        Tls(files).load()
    except ConfigError as error:
        yield wrong(error.key, f"{error.reason}.", _AUTHORITIES if error.key == "sip.tls.ca" else _PAIR)
        return
    further = [cert for cert, _ in files.certificates]
    if files.cert is not None:
        shown = {name for cert in further for name in names_of(cert)}
        wanted = [] if config.domain in shown else [config.domain]
        yield from _looked_at("sip.tls", files.cert, wanted, now, wildcards=files.wildcards)
    for cert in further:
        yield from _looked_at("sip.tls.certificates", cert, [], now, wildcards=files.wildcards)


def _looked_at(key: str, path: Path, wanted: Iterable[str], now: float, *, wildcards: bool) -> Iterator[Finding]:
    names = names_of(path) | _addresses_of(path)
    said = nears_its_end(path, end_of(path), now)
    yield from (wrong(key, one, _RENEW) for one in said)
    missing = [name for name in wanted if not _is_among(name.lower(), names, wildcards=wildcards)]
    for name in missing:
        listed = ", ".join(sorted(names)) or "no name at all"
        yield notice(
            key,
            f"The certificate {path} is of {listed}, not of {name}: peers that are told {name} will refuse it.",
            f"Take a certificate that names {name} (subjectAltName).",
        )
    if not said and not missing:
        yield good(key, f"The certificate {path} and its key belong together and last.")


def _addresses_of(path: Path) -> set[str]:
    certificate = read_certificate(path)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def _is_among(name: str, names: set[str], *, wildcards: bool) -> bool:
    return name in names or (wildcards and f"*.{name.partition('.')[2]}" in names)
