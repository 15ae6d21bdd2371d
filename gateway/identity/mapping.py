"""Mapping of SIP URIs to web users and back: exact ids, aliases, then pattern rules in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from gateway.errors import ConfigError
from gateway.identity.lookalike import skeleton
from gateway.identity.model import User, fold

MAX_URI_LENGTH = 512
"""Longest URI in characters; longer URIs match no user."""
_REMEMBERED, _REMEMBERED_LENGTH = 4096, 128
"""Cached URIs and longest cached URI in characters: under 1 MB."""

USER_SAFE = "-_.!~*'()&=+$,;?/"  # "unreserved" and "user-unreserved" of RFC 3261 section 25.1
_SCHEME = re.compile(r"(sips?|tel):", re.IGNORECASE)
_VISUAL_SEPARATORS = str.maketrans("", "", "-.()")  # RFC 3966 section 3
_TOKEN = re.compile(r"\{([A-Za-z_]\w*)\}|(\*)|([^{}*]+)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule between SIP URIs and web users, for both directions."""

    sip: str
    """"sip:1{user}@*": {name} matches one or more characters except @ and ., * matches any text."""
    web: str
    """"{user}": the user id, built from the captures of `sip`."""


@dataclass(frozen=True, slots=True)
class Address:
    """Parts of a URI relevant to identity, in the form compared by RFC 3261 section 19.1.4."""

    user: str
    """User part without escapes; case-sensitive."""
    host: str | None
    """Host in lower case, without port; None for a bare user part or a telephone number."""


def read_address(text: str) -> Address | None:
    """Parse a SIP, SIPS or tel URI or a bare user part; None for any other text."""
    if not text or len(text) > MAX_URI_LENGTH:
        return None
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    if scheme and scheme.group(1).lower() == "tel":
        return _address(rest.partition(";")[0].translate(_VISUAL_SEPARATORS), None)
    user, at, host = rest.partition("@")
    if not at:
        return _address(re.split("[;?]", rest, maxsplit=1)[0] if scheme else rest, None)
    host = re.split("[;?]", host, maxsplit=1)[0]
    if not host or "@" in host:
        return None
    return _address(user.partition(":")[0], _without_port(host).lower())


def _address(user: str, host: str | None) -> Address | None:
    try:
        user = unquote(user, errors="strict")
    except UnicodeDecodeError:
        return None
    # A decoded line break or NUL is never part of a name, but an attack on the output.
    if not user or any(ord(char) < 32 or ord(char) == 127 for char in user):
        return None
    return Address(user, host)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


class IdentityMap:
    """User for each SIP URI, and SIP URI for each web user. Every look-up takes linear time."""

    def __init__(self, users: Sequence[User], rules: Sequence[Rule], domain: str) -> None:
        """Raise ConfigError for two entries with one name, or an unreadable rule."""
        self.version = 0
        """Version number, changed with every change."""
        self._domain = domain.lower()
        self._given_rules = rules
        self._users = {user.id: user for user in users}
        if len(self._users) < len(users):
            ids = [user.id for user in users]
            twice = next(index for index, name in enumerate(ids) if name in ids[:index])
            raise ConfigError(f"users.{twice}.id", f"{ids[twice]!r} is there twice")
        folded = Counter(fold(user.id) for user in users)
        self._folded = {fold(user.id): user for user in users if folded[fold(user.id)] == 1}
        self._aliases = self._read_aliases(users)
        self._rules = tuple(_compile(rule, index) for index, rule in enumerate(rules))
        # Every step of a call looks up the same few URIs.
        self._known = lru_cache(_REMEMBERED)(self._read_and_find)
        self._looks: frozenset[str] | None = None
        self._check_rules(users)

    def change(self, users: Sequence[User], rules: Sequence[Rule] | None = None) -> None:
        """Replace the users; raise ConfigError without any change.

        `rules` None keeps the present rules.
        """
        self.__dict__.update(self.with_users(users, rules).__dict__ | {"version": self.version + 1})

    def with_users(self, users: Sequence[User], rules: Sequence[Rule] | None = None) -> IdentityMap:
        """Return a map of the users, with the present rules or `rules`; raise ConfigError."""
        return IdentityMap(users, self._given_rules if rules is None else rules, self._domain)

    @property
    def domain(self) -> str:
        return self._domain

    @property
    def users(self) -> tuple[User, ...]:
        """Return all users, in the order of the configuration."""
        return tuple(self._users.values())

    def by_id(self, user_id: str) -> User | None:
        """Return the user with exactly this id."""
        return self._users.get(user_id)

    def resembles(self, name: str) -> bool:
        """Return True if `name` looks like the id, display name or an alias of a user."""
        if self._looks is None:
            names = [name for user in self.users for name in (user.id, user.display_name, *user.aliases) if name]
            self._looks = frozenset(map(skeleton, names))
        return skeleton(name) in self._looks

    def find(self, uri_or_user: str) -> User | None:
        """Return the user for a SIP URI, a telephone number, an alias or a bare user part.

        Precedence: exact ids of our domain, aliases, the first matching rule that names a user, and last a unique id
        that differs only in case or width, as people write "Alice".
        """
        return self._known(uri_or_user) if len(uri_or_user) <= _REMEMBERED_LENGTH else self._read_and_find(uri_or_user)

    def _read_and_find(self, uri_or_user: str) -> User | None:
        address = read_address(uri_or_user)
        return None if address is None else self._find(address)

    def _find(self, address: Address) -> User | None:
        host = self._domain if address.host is None else address.host
        if host == self._domain and address.user in self._users:
            return self._users[address.user]
        alias = self._aliases.get(Address(address.user, host))
        if alias is not None:
            return alias
        for rule in self._rules:
            captured = rule.match(address.user, host)
            if captured is not None:
                user = self._users.get(rule.web.fill(captured, ""))
                if user is not None:
                    return user
        return self._folded.get(fold(address.user)) if host == self._domain else None

    def aor(self, user: User) -> str:
        """Return the user's address of record for registration: "sip:ID@domain"."""
        return self._own_uri(user.id)

    def sip_uri(self, user_id: str) -> str:
        """Return the SIP URI of a web user, for which `find` returns the user.

        The first rule with a matching web side builds the URI. Users with a SIP account, or without a matching rule,
        get "sip:ID@domain". Unknown ids (guests) are escaped into this form.
        """
        user = self._users.get(user_id)
        if user is not None and not user.sip:
            for rule in self._rules:
                uri = rule.reverse(user_id, self._domain)
                if uri is not None:
                    return uri
        return self._own_uri(user_id)

    def _own_uri(self, user_id: str) -> str:
        return f"sip:{quote(user_id, safe=USER_SAFE)}@{self._domain}"

    def _read_aliases(self, users: Sequence[User]) -> dict[Address, User]:
        aliases: dict[Address, User] = {}
        for index, user in enumerate(users):
            for place, alias in enumerate(user.aliases):
                key = f"users.{index}.aliases.{place}"
                address = read_address(alias)
                if address is None:
                    raise ConfigError(key, f"{alias!r} is neither a SIP URI nor a user part")
                address = Address(address.user, self._domain if address.host is None else address.host)
                owner = self._users.get(address.user) if address.host == self._domain else None
                owner = owner or aliases.get(address)
                if owner is not None and owner.id != user.id:
                    raise ConfigError(key, f"{alias!r} already means user {owner.id!r}")
                aliases[address] = user
        return aliases

    def _check_rules(self, users: Sequence[User]) -> None:
        for index, rule in enumerate(self._rules):
            for earlier, other in enumerate(self._rules[:index]):
                if rule.shape == other.shape:
                    raise ConfigError(f"identity.rules.{index}.sip", f"matches the same URIs as rule {earlier}")
        for user in users:
            if user.sip or not user.web:
                continue
            for index, rule in enumerate(self._rules):
                uri = rule.reverse(user.id, self._domain)
                if uri is None:
                    continue
                found = self.find(uri)
                if found is None or found.id != user.id:
                    other_id = "nobody" if found is None else f"user {found.id!r}"
                    raise ConfigError(
                        f"identity.rules.{index}", f"makes {uri} of web user {user.id!r}, but that means {other_id}"
                    )
                break


class _Pattern:
    """Pattern of literal text, {captures} and *, matched from left to right without backtracking.

    Every capture and * takes the shortest text before the next literal.
    """

    __slots__ = ("tokens",)

    def __init__(self, text: str) -> None:
        """Raise ValueError with a sentence for the user."""
        self.tokens: list[tuple[str, str]] = []
        for match in _TOKEN.finditer(text):
            name, star, literal, stray = match.groups()
            if stray is not None:
                raise ValueError(f"{text!r} has a brace that is not part of a {{name}}")
            kind = "literal" if literal is not None else "star" if star else "capture"
            if kind != "literal" and self.tokens and self.tokens[-1][0] != "literal":
                raise ValueError(f"{text!r} is ambiguous: between two placeholders there must be some text")
            self.tokens.append((kind, literal or star or name))
        names = self.names
        if len(names) != len(set(names)):
            raise ValueError(f"{text!r} uses a placeholder twice")

    @property
    def names(self) -> list[str]:
        return [text for kind, text in self.tokens if kind == "capture"]

    @property
    def shape(self) -> tuple[tuple[str, str], ...]:
        """Return a key equal for patterns that match equal texts, regardless of capture names."""
        return tuple((kind, text if kind == "literal" else "") for kind, text in self.tokens)

    def match(self, text: str) -> dict[str, str] | None:
        captured: dict[str, str] = {}
        position = 0
        open_token: tuple[str, str] | None = None
        for index, token in enumerate(self.tokens):
            if token[0] != "literal":
                open_token = token
                continue
            start = self._locate(text, token[1], position, open_token, index == len(self.tokens) - 1)
            if start < 0 or not _take(open_token, text[position:start], captured):
                return None
            position, open_token = start + len(token[1]), None
        return captured if _take(open_token, text[position:], captured) else None

    @staticmethod
    def _locate(text: str, literal: str, position: int, open_token: tuple[str, str] | None, last: bool) -> int:
        """Return the position of the literal, -1 if absent: at once, at the earliest, or for the last one at the
        end."""
        if open_token is None:
            return position if text.startswith(literal, position) else -1
        earliest = position + (1 if open_token[0] == "capture" else 0)
        if last:
            end = len(text) - len(literal)
            return end if end >= earliest and text.endswith(literal) else -1
        return text.find(literal, earliest)

    def fill(self, values: dict[str, str], star: str) -> str:
        """Return the text with captures filled in and * replaced."""
        put = (text if kind == "literal" else star if kind == "star" else values[text] for kind, text in self.tokens)
        return "".join(put)


def _take(token: tuple[str, str] | None, text: str, captured: dict[str, str]) -> bool:
    """Return True if `text` fits the open placeholder; None as placeholder allows only ""."""
    if token is None:
        return not text
    if token[0] == "capture":
        if not text or "@" in text or "." in text:
            return False
        captured[token[1]] = text
    return True


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    user: _Pattern
    host: _Pattern
    web: _Pattern

    @property
    def shape(self) -> object:
        return self.user.shape, self.host.shape

    def match(self, user: str, host: str) -> dict[str, str] | None:
        in_user = self.user.match(user)
        in_host = self.host.match(host) if in_user is not None else None
        return None if in_user is None or in_host is None else in_user | in_host

    def reverse(self, user_id: str, domain: str) -> str | None:
        """Return the SIP URI of a web user; None if the web side does not match or leaves the SIP side undetermined."""
        captured = self.web.match(user_id)
        wanted = {*self.user.names, *self.host.names}
        if captured is None or wanted - captured.keys() or any(kind == "star" for kind, _ in self.user.tokens):
            return None
        alone = self.host.tokens == [("star", "*")]
        if not alone and any(kind == "star" for kind, _ in self.host.tokens):
            return None
        host = domain if alone else self.host.fill(captured, "")
        return f"sip:{quote(self.user.fill(captured, ''), safe=USER_SAFE)}@{host.lower()}"


def _compile(rule: Rule, index: int) -> _CompiledRule:
    key = f"identity.rules.{index}.sip"
    scheme = re.match(r"sips?:", rule.sip, re.IGNORECASE)
    user, at, host = rule.sip[scheme.end() :].partition("@") if scheme else ("", "", "")
    if not at or not user or not host or "@" in host:
        raise ConfigError(key, f"{rule.sip!r} must be written sip:USER@HOST, as in sip:1{{user}}@*")
    try:
        # Only the literal text of the host is lower-cased; names in braces stay unchanged.
        host = re.sub(r"[^{}]+(?![^{]*\})", lambda match: match.group().lower(), host)
        patterns = _Pattern(unquote(user)), _Pattern(host)
        names = patterns[0].names + patterns[1].names
        if len(names) != len(set(names)):
            raise ValueError(f"{rule.sip!r} uses a placeholder twice")
    except ValueError as error:
        raise ConfigError(key, str(error)) from None
    key = f"identity.rules.{index}.web"
    try:
        web = _Pattern(rule.web)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None
    if any(kind == "star" for kind, _ in web.tokens) or not web.tokens:
        raise ConfigError(key, f"{rule.web!r} must name one user, so it cannot contain *")
    for name in web.names:
        if name not in names:
            raise ConfigError(key, f"{{{name}}} does not appear in {rule.sip!r}")
    return _CompiledRule(*patterns, web)
