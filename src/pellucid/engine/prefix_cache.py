"""The prefix cache: keys and values of finished texts, for requests whose prompts begin with the same tokens. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.engine.sequence import PromptLogprobs


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """A sequence of the runner that is no longer extended.

    Attributes:
        token_ids: the tokens whose keys and values it holds, from its first position on.
        runner_sequence: the runner's number. capacity: its positions. nbytes: what it takes.
        prompt_logprobs: of its first tokens, where they were computed.
        cache_salt: only texts of the same one may reuse it (`Request.cache_salt`).
    """

    token_ids: list[int]
    runner_sequence: int
    capacity: int
    nbytes: int
    prompt_logprobs: PromptLogprobs | None = None
    cache_salt: str | None = None

    def holds(self, other: "CachedPrefix") -> bool:
        """Whether it can be reused wherever `other` can."""
        shared = shared_prefix_length(self.token_ids, other.token_ids)
        return self.cache_salt == other.cache_salt and shared == len(other.token_ids)


class PrefixCache:
    """Cached prefixes in the order of their last use.

    Attributes:
        nbytes: of all of them.
    """

    def __init__(self) -> None:
        self._cached: list[CachedPrefix] = []
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._cached)

    def best(
        self, token_ids: Sequence[int], top: int | None = None, cache_salt: str | None = None
    ) -> tuple[CachedPrefix | None, int]:
        """The prefix of which a text can reuse the most tokens (of equals the one used last), and how many they are.

        Args:
            top: as `reusable_length` takes it. cache_salt: of the text.
        """
        best, longest = None, 0
        for cached in self._cached:
            if cached.cache_salt != cache_salt:
                continue
            shared = shared_prefix_length(cached.token_ids, token_ids)
            if top is not None:
                shared = reusable_length(shared, cached.prompt_logprobs, top)
            if shared and shared >= longest:
                best, longest = cached, shared
        return best, longest

    def touch(self, cached: CachedPrefix) -> None:
        """Marks a prefix as the most recently used."""
        self._cached.remove(cached)
        self._cached.append(cached)

    def add(self, new: CachedPrefix) -> list[CachedPrefix]:
        """Adds a prefix.

        Returns:
            Those that are no longer needed, for the caller to close: `new` itself, if one holds all of its text, or those
            whose texts it holds.
        """
        for cached in self._cached:
            if cached.holds(new):
                self.touch(cached)
                return [new]
        redundant = [cached for cached in self._cached if new.holds(cached)]
        for cached in redundant:
            self.remove(cached)
        self._cached.append(new)
        self.nbytes += new.nbytes
        return redundant

    def remove(self, cached: CachedPrefix) -> None:
        """Removes a prefix; its sequence is not closed here."""
        self._cached.remove(cached)
        self.nbytes -= cached.nbytes

    def oldest(self, excluded: CachedPrefix | None = None) -> CachedPrefix | None:
        """The least recently used prefix other than `excluded`."""
        return next((cached for cached in self._cached if cached is not excluded), None)


def reusable_length(shared: int, computed: PromptLogprobs | None, top: int) -> int:
    """How many of `shared` tokens can be reused by a text whose own prompt log-probabilities are wanted.

    Those of the shared tokens must be known, with `top` likeliest tokens each. The last shared token is read again: the
    logits after it give the log-probability of the token that follows in this text, and logits are not kept.

    Args:
        shared: tokens that two texts have in common from the first on. computed: what is known of the other text.
    """
    if computed is None or computed.top < top:
        return 0
    return max(0, min(shared, len(computed)) - 1)


def shared_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common from the first on."""
    least, most = 0, min(len(a), len(b))
    if a[:most] == b[:most]:
        return most
    while least < most:  # slices are compared much faster than tokens one by one
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
