"""The parameters of a JSON-RPC request, checked one by one; every failure is -32602 and names the parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gateway.web import checks
from gateway.web.rpc.codec import INVALID_PARAMS, RpcError

_DIGIT = re.compile(r"[0-9*#A-Da-d]")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")
_MAX_TOKEN = 2_048
_MAX_CAPABILITIES = 2_048
_MAX_REASON = 128
_MAX_NOTE = 256


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON can carry and nothing else."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def invalid(name: str, expected: str) -> RpcError:
    """The error for one parameter."""
    return RpcError(INVALID_PARAMS, f"{name}: {expected}")


@dataclass(frozen=True, slots=True)
class Params:
    """Typed access to `raw`; every method raises RpcError (-32602)."""

    raw: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def identifier(self, name: str) -> str:
        """A peer's id, 1 to 128 printable characters."""
        value = self.raw.get(name)
        if not checks.is_identifier(value):
            raise invalid(name, "required, 1 to 128 printable characters")
        return str(value)

    def target(self, name: str) -> str:
        """A peer's id, or what can be dialled."""
        value = self.raw.get(name)
        if not checks.is_identifier(value, checks.MAX_TARGET):
            raise invalid(name, "required, 1 to 256 printable characters")
        return str(value)

    def sdp(self, name: str = "sdp") -> str:
        """A session description, not yet parsed."""
        value = self.raw.get(name)
        if not checks.is_description(value):
            raise invalid(name, "required, the text of a session description")
        return str(value)

    def kind(self, default: str, allowed: tuple[str, ...]) -> str:
        """The `type` of a description."""
        value = self.raw.get("type", default)
        if value not in allowed:
            raise invalid("type", " or ".join(allowed))
        return str(value)

    def candidate(self) -> str:
        """An ICE candidate; "" ends the list."""
        value = self.raw.get("candidate")
        if not checks.is_candidate(value):
            raise invalid("candidate", 'required, one candidate line or "" for the end of the candidates')
        return str(value)

    def mid(self) -> str | None:
        """`sdp_mid`, if any."""
        value = self.raw.get("sdp_mid")
        if not checks.is_label(value):
            raise invalid("sdp_mid", "a short string or null")
        return value

    def line_index(self, name: str) -> int | None:
        """The m-line's index, if any."""
        value = self.raw.get(name)
        if not checks.is_line_index(value):
            raise invalid(name, "an integer from 0 to 65535 or null")
        return value

    def token(self) -> str | None:
        """The secret that proves an id, if any."""
        value = self.raw.get("token")
        if value is None:
            return None
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TOKEN:
            raise invalid("token", "a string of 1 to 2048 characters")
        return value

    def call_id(self) -> str | None:
        """Which of several calls with one peer is meant, if said."""
        return self.identifier("call_id") if "call_id" in self else None

    def reason(self) -> str | None:
        """A word or a sentence, if any."""
        value = self.raw.get("reason")
        if value is not None and not checks.is_identifier(value, _MAX_REASON):
            raise invalid("reason", "up to 128 printable characters")
        return value

    def small_object(self, name: str) -> dict[str, Any]:
        """An object that the other peers are told, {} when absent."""
        value = self.raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not checks.is_small(value, _MAX_CAPABILITIES):
            raise invalid(name, "an object of at most 2048 characters")
        return value

    def small_list(self, name: str) -> list[str]:
        """Words that the other peers are told, [] when absent."""
        value = self.raw.get(name)
        if value is None:
            return []
        words = isinstance(value, list) and all(checks.is_identifier(item) for item in value)
        if not words or not checks.is_small(value, _MAX_CAPABILITIES):
            raise invalid(name, "a list of words, 2048 characters in all")
        return list(value)

    def forwarding(self) -> dict[str, Any]:
        """What of `call.forward` is given: numbers or null, seconds, a flag."""
        given: dict[str, Any] = {}
        for name in ("always", "busy", "no_answer"):
            if name in self.raw:
                number = self.raw[name]
                if number is not None and not (isinstance(number, str) and checks.is_target(number)):
                    raise invalid(name, "a number or SIP URI, or null")
                given[name] = number
        if "after" in self.raw:
            after = self.raw["after"]
            if isinstance(after, bool) or not isinstance(after, int | float) or not 1 <= after <= 600:
                raise invalid("after", "1 to 600 seconds")
            given["after"] = float(after)
        if "do_not_disturb" in self.raw:
            if not isinstance(self.raw["do_not_disturb"], bool):
                raise invalid("do_not_disturb", "true or false")
            given["do_not_disturb"] = self.raw["do_not_disturb"]
        return given

    def digit(self) -> str:
        """One DTMF digit (RFC 4733): 0-9 * # A-D."""
        value = self.raw.get("digit")
        if not isinstance(value, str) or not _DIGIT.fullmatch(value):
            raise invalid("digit", "required, one of 0-9, *, #, A-D")
        return value.upper()

    def text(self, name: str, limit: int = 65_536) -> str:
        """What somebody wrote: any characters that can be sent on, 1 to `limit` of them."""
        value = self.raw.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= limit or not _is_unicode(value):
            raise invalid(name, f"required, text of 1 to {limit} characters")
        return value

    def note(self) -> str:
        """A few words that others see, "" when absent."""
        value = self.raw.get("note")
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > _MAX_NOTE or not value.isprintable():
            raise invalid("note", f"up to {_MAX_NOTE} printable characters")
        return value.strip()

    def words(self, name: str, limit: int) -> str | None:
        """At most `limit` printable characters, without the space around them; None when absent."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > limit or not value.isprintable():
            raise invalid(name, f"up to {limit} printable characters")
        return value.strip()

    def content_type(self) -> str:
        """A media type, "text/plain" unless said."""
        value = self.raw.get("content_type", "text/plain")
        if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
            raise invalid("content_type", "a media type, as in text/plain")
        return value.lower()

    def number(self, name: str) -> int:
        """A whole number from 0, 0 when absent."""
        value = self.raw.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise invalid(name, "a whole number from 0")
        return value

    def duration(self) -> int:
        """Milliseconds a digit lasts, 160 unless said."""
        value = self.raw.get("duration", 160)
        if isinstance(value, bool) or not isinstance(value, int) or not 40 <= value <= 5_000:
            raise invalid("duration", "milliseconds from 40 to 5000")
        return value
