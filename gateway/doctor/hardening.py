"""The hardening checklist of docs/security.md, for a gateway that other machines reach."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import chain

from gateway.config import Config
from gateway.config.rules import ENOUGH_DIGITS
from gateway.config.strength import weakness
from gateway.doctor.findings import Finding, good, notice


def hardening(config: Config) -> Iterator[Finding]:
    """A finding for each line of the list that has anything to do with this configuration."""
    if config.web.only_here and not config.sip_reachable:
        return
    yield from chain.from_iterable(line(config) for line in _LINES)


def _passwords(config: Config) -> Iterator[Finding]:
    chosen = [user for user in config.users if user.chosen_password is not None]
    if chosen and not any(weakness(user.chosen_password or "", (user.id,)) for user in chosen):
        yield good("users[].password", "No chosen password is easily guessed.")


def _guests(config: Config) -> Iterator[Finding]:
    for key, is_open, what in (
        ("web.guests", config.web.guests_welcome, "Anybody who reaches the page calls without an account."),
        ("web.open_rooms", config.web.rooms_open, "Anybody who reaches the page uses the signalling rooms."),
    ):
        closed = f"Set {key}: off, unless the world is to."
        yield notice(key, what, closed) if is_open else good(key, "People without an account are not let in.")


def _metrics(config: Config) -> Iterator[Finding]:
    public = [one for one in config.metrics.sources if not ip_network(one, strict=False).is_private]
    if config.metrics.enabled and not config.web.only_here and public:
        what = f"/metrics is for {', '.join(public[:5])} as well: how many calls there are, and names of trunks."
        yield notice("metrics.sources", what, "Name the addresses of your Prometheus servers alone.")
    else:
        yield good("metrics.sources", "No stranger reads /metrics.")


def _rights(config: Config) -> Iterator[Finding]:
    if not config.trunks:
        return
    wide = [user.id for user in config.users if any(map(_goes_anywhere, user.may_call))]
    if wide:
        what = f"May call any number through a trunk: {', '.join(wide[:5])}{' …' if len(wide) > 5 else ''}."
        advice = 'Name numbers in may_call ("0*", "+49*") where nobody needs more: a stolen password then costs less.'
        yield notice("users[].may_call", what, advice)
    else:
        yield good("users[].may_call", "Nobody may call every number outside.")


def _goes_anywhere(pattern: str) -> bool:
    return pattern.startswith("trunk:")


def _bounds(config: Config) -> Iterator[Finding]:
    if not config.trunks:
        return
    unbound = [trunk.name for trunk in config.trunks if trunk.max_calls is None]
    if unbound:
        what = f"As many calls as the gateway carries go out by {', '.join(unbound[:5])}."
        yield notice("trunks[].max_calls", what, "Set max_calls of each trunk: it bounds what a thief can spend.")
    else:
        yield good("trunks[].max_calls", "Every trunk has a bound.")


def _pins(config: Config) -> Iterator[Finding]:
    if not config.conference.numbers or not (config.trunks or config.web.guests_welcome):
        return
    least = config.conference.min_pin
    if least < ENOUGH_DIGITS:
        what = (
            f"Rooms that users open may have {f'a PIN of {least} digits' if least else 'no PIN'}; strangers can call."
        )
        yield notice("conference.min_pin", what, f"Set conference.min_pin: {ENOUGH_DIGITS} or more.")
    else:
        yield good("conference.min_pin", f"PINs of rooms that users open have {least} digits or more.")


def _emergency(config: Config) -> Iterator[Finding]:
    if config.emergency.numbers:
        yield good("emergency.numbers", f"Everybody may dial {', '.join(config.emergency.numbers)}.")


def _bans(config: Config) -> Iterator[Finding]:
    if not config.sip_reachable:
        return
    if not config.sip.bans.time or not config.sip.bans.after:
        yield notice("sip.bans", "Nobody is banned who tries without end.", "Set sip.bans.time and sip.bans.after.")
    else:
        yield good("sip.bans", "Who tries without end gets no answer for a while.")


def _state(config: Config) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(config.state_dir.stat().st_mode)
    except OSError:
        return  # it will be made, for its owner alone
    if mode & 0o007:
        what = f"Everybody on this machine may look into {config.state_dir}, where passwords and keys are."
        yield notice("state_dir", what, f"Run `chmod o= {config.state_dir}`.")
    else:
        yield good("state_dir", "Passwords and keys are for their owner alone.")


_LINES: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _passwords,
    _guests,
    _metrics,
    _rights,
    _bounds,
    _pins,
    _emergency,
    _bans,
    _state,
)
