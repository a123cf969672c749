"""Limits of a key: requests and tokens a minute, and requests at once."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


Limited = Literal["requests", "tokens", "concurrent"]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyLimits:
    """What the requests of a key may take; None: no limit.

    Attributes:
        requests_per_minute: requests. tokens_per_minute: tokens, those of prompts and the most that completions may have.
        concurrent_requests: requests that wait or run at once.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class LimitReached(Exception):
    """A limit is reached.

    Args:
        what: which. limit: its number. seconds: until there is room; infinite: never, for this request.
    """

    def __init__(self, what: Limited, limit: int, seconds: float) -> None:
        super().__init__(what)
        self.what, self.limit, self.seconds = what, limit, seconds


class Bucket:
    """A rate: full at first, filled again at `per_minute` a minute, never beyond that.

    Args:
        per_minute: None: no limit. now: a clock in seconds.
    """

    def __init__(self, per_minute: int | None, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._now = now
        self._left, self._at = float(per_minute or 0), now()

    @property
    def left(self) -> float:
        """What may be taken now."""
        assert self.per_minute is not None
        now = self._now()
        self._left = min(float(self.per_minute), self._left + (now - self._at) * self.per_minute / 60)
        self._at = now
        return self._left

    def take(self, amount: int) -> float:
        """Takes an amount. Returns 0, or the seconds until it could be taken (infinite: it is more than a minute's) if it could
        not."""
        if self.per_minute is None:
            return 0.0
        if amount > self.per_minute:
            return math.inf
        missing = amount - self.left
        if missing <= 1e-9:
            self._left -= amount
            return 0.0
        return missing * 60 / self.per_minute

    def give_back(self, amount: int) -> None:
        """Returns what was not needed."""
        if self.per_minute is not None:
            self._left = min(float(self.per_minute), self.left + amount)

    @property
    def reset(self) -> float:
        """Seconds until it is full."""
        assert self.per_minute is not None
        return (self.per_minute - self.left) * 60 / self.per_minute


class RateLimits:
    """The limits of one key and what is used of them.

    Attributes:
        requests, tokens: the rates. concurrent: requests that wait or run.
    """

    def __init__(self, limits: KeyLimits, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.requests, self.tokens = Bucket(limits.requests_per_minute, now), Bucket(limits.tokens_per_minute, now)
        self.concurrent = 0

    def begin(self, tokens: int) -> None:
        """Counts a request that may take so many tokens.

        Raises:
            LimitReached: nothing was counted.
        """
        most = self.limits.concurrent_requests
        if most is not None and self.concurrent >= most:
            raise LimitReached("concurrent", most, 1.0)
        if wait := self.requests.take(1):
            assert self.requests.per_minute is not None
            raise LimitReached("requests", self.requests.per_minute, wait)
        if wait := self.tokens.take(tokens):
            self.requests.give_back(1)
            assert self.tokens.per_minute is not None
            raise LimitReached("tokens", self.tokens.per_minute, wait)
        self.concurrent += 1

    def end(self, unused_tokens: int) -> None:
        """Counts the end of a request, and gives back the tokens that it did not take."""
        self.concurrent -= 1
        self.tokens.give_back(unused_tokens)

    def headers(self) -> dict[str, str]:
        """What is left, in the API's headers."""
        found = {}
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket.per_minute is not None:
                found[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                found[f"x-ratelimit-remaining-{name}"] = str(int(bucket.left))
                found[f"x-ratelimit-reset-{name}"] = f"{math.ceil(bucket.reset * 1000)}ms"
        return found
