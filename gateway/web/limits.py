"""Token buckets: how much of something one sender may do."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.sources import source_of


@dataclass(slots=True)
class TokenBucket:
    """`rate` tokens a second flow in, at most `burst` are kept; `now` is monotonic seconds."""

    rate: float
    burst: float
    tokens: float
    updated: float

    def _fill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.updated) * self.rate)
        self.updated = now

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self._fill(now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def borrow(self, now: float) -> float:
        """Take one token, a later one where there is none; return the seconds until it flows in."""
        self._fill(now)
        self.tokens -= 1.0
        return max(0.0, -self.tokens) / self.rate

    def widen(self, tokens: float) -> None:
        """Keep so many tokens more, which flow in at the rate; fewer where negative."""
        self.burst += tokens
        self.tokens = min(self.tokens, self.burst)

    def give(self, tokens: float) -> None:
        """Put so many tokens in at once; the burst stays the most that there may be."""
        self.tokens = min(self.tokens + tokens, self.burst)

    def left(self, now: float) -> float:
        """Return the tokens that there are."""
        self._fill(now)
        return self.tokens

    def empty(self, now: float) -> bool:
        """Whether `take` would fail."""
        self._fill(now)
        return self.tokens < 1.0


class KeyedBuckets:
    """One bucket for each key; the keys not seen for longest are forgotten beyond `max_keys`."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float], max_keys: int = 4_096) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str) -> bool:
        """Take one of the key's tokens; False when it has none."""
        return self._bucket(key).take(self._clock())

    def borrow(self, key: str) -> float:
        """Take one of the key's tokens, a later one where it has none; return the seconds until it flows in."""
        return self._bucket(key).borrow(self._clock())

    def empty(self, key: str) -> bool:
        """Whether the key has no token left; takes none and remembers nothing."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.empty(self._clock())

    def left(self, key: str) -> int:
        """Return how many times `take` would succeed now."""
        bucket = self._buckets.get(key)
        return int(self._burst if bucket is None else bucket.left(self._clock()))

    def _bucket(self, key: str) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, self._burst, self._clock())
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)


class SourceBuckets(KeyedBuckets):
    """Token buckets by source address (`gateway.sources`)."""

    def take(self, key: str) -> bool:
        return super().take(source_of(key))

    def borrow(self, key: str) -> float:
        return super().borrow(source_of(key))

    def empty(self, key: str) -> bool:
        return super().empty(source_of(key))

    def left(self, key: str) -> int:
        return super().left(source_of(key))


class SourceCounter:
    """Counts of connections by source address."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one more; False, and nothing counted, when its source has as many as it may."""
        source = source_of(address)
        if self._counts[source] >= self._limit:
            return False
        self._counts[source] += 1
        return True

    def leave(self, address: str) -> None:
        """Count one fewer."""
        source = source_of(address)
        self._counts[source] -= 1
        if not self._counts[source]:
            del self._counts[source]
