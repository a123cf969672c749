"""KV cache memory within a budget: sequences of the runner are opened, copied, cached for reuse and closed. No torch here.

A sequence that could never fit is refused (`check_fits`); one that does not fit now is not admitted (`reserve`). Finished texts
stay cached for prompts that begin with the same tokens, and are evicted, least recently used first, when a new sequence needs
memory.
"""

from pellucid.engine.prefix_cache import CachedPrefix, PrefixCache
from pellucid.engine.running import NOT_OPEN, RunningSequence
from pellucid.engine.sequence import Sequence
from pellucid.errors import PellucidError
from pellucid.gpt.ablation import replacements
from pellucid.runtime.runner import AblatingRunner, Runner


CACHED_BYTES = 256 * 2**20  # a choice: what finished texts take at most in an engine without a memory limit


class KVMemory:
    """The key-value sequences of an engine.

    Args:
        runner: holds them.
        budget: bytes that they may take together; None: no limit, but of `CACHED_BYTES` for finished texts, which nobody
            waits for.
        max_cached: finished texts cached at most.

    Attributes:
        prefixes: the finished texts. running_nbytes: of the sequences that are running.
        peak_nbytes: the most that all took together. reused_tokens: tokens that were copied instead of computed.
        close_failures: sequences that the runner raised for when they were closed.
    """

    def __init__(self, runner: Runner, budget: int | None, max_cached: int) -> None:
        self.runner = runner
        self.budget = budget
        self.max_cached = max_cached
        self.prefixes = PrefixCache()
        self.running_nbytes = self.peak_nbytes = self.reused_tokens = self.close_failures = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all sequences."""
        return self.prefixes.nbytes + self.running_nbytes

    def capacity(self, sequence: Sequence) -> int:
        """Positions that a sequence needs: the last token of a text is never read."""
        return min(self.runner.config.n_ctx, len(sequence.prompt) + sequence.options.max_tokens - 1)

    def check_fits(self, sequence: Sequence) -> None:
        """Refuses a sequence that can never fit in the budget.

        Raises:
            PellucidError: it names what would fit.
        """
        if self.budget is None or sequence.finish_reason is not None:
            return
        capacity = self.capacity(sequence)
        needed = self.runner.sequence_bytes(capacity)
        if needed <= self.budget:
            return
        least, most = 0, capacity  # the longest that fits
        while least < most:
            middle = (least + most + 1) // 2
            least, most = (middle, most) if self.runner.sequence_bytes(middle) <= self.budget else (least, middle - 1)
        raise PellucidError(
            f"the keys and values of {len(sequence.prompt)} prompt tokens and {sequence.options.max_tokens} more take "
            f"{needed:,} bytes, but the engine's memory is {self.budget:,}, which is enough for {least + 1 if least else 0} "
            "tokens of prompt and answer together: shorten the prompt, lower max_tokens, or give the engine more memory"
        )

    def new_running(self, sequence: Sequence) -> RunningSequence:
        """The sequence as it will run; nothing is opened yet."""
        capacity = self.capacity(sequence)
        ids = sequence.prompt[sequence.start : sequence.read_length]
        return RunningSequence(sequence, capacity, self.runner.sequence_bytes(capacity), ids)

    def reserve(self, running: RunningSequence) -> bool:
        """Opens a key-value sequence, if there is room or cached prefixes can make some. Returns whether it did.

        Prefixes that the sequence cannot use are evicted first; the one that it can use becomes its own if there is no room for
        a copy.
        """
        if self.budget is not None and self.running_nbytes + running.nbytes > self.budget:
            return False  # it waits for running sequences: evicting prefixes would not help
        looks = self.budget is not None and running.shares_text
        useful, reusable = self.prefixes.best(running.token_ids, running.wanted_top) if looks else (None, 0)
        while self.budget is not None and self.nbytes + running.nbytes > self.budget:
            victim = self.prefixes.oldest(excluded=useful)
            if victim is None and useful is not None and useful.capacity >= running.capacity:
                self._take_over(running, useful, reusable)
                break
            victim = victim or useful
            assert victim is not None
            useful = None if victim is useful else useful
            self._evict(victim)
        if running.runner_sequence == NOT_OPEN:
            running.runner_sequence = self._open(running)
        self.running_nbytes += running.nbytes
        self.peak_nbytes = max(self.peak_nbytes, self.nbytes)
        return True

    def _open(self, running: RunningSequence) -> int:
        """A sequence of the runner, with the ablation of the completion's request.

        Raises:
            PellucidError: the runner cannot replace what it names.
        """
        ablation, config = running.sequence.ablation, self.runner.config
        if ablation is None:
            return self.runner.open(running.capacity)
        if not isinstance(self.runner, AblatingRunner):
            raise PellucidError(f"the runner {self.runner.path} computes without ablations: leave out ablate")
        means = self.runner.mean_outputs(running.token_ids) if ablation.by == "mean" else None
        opened = self.runner.open(running.capacity)
        self.runner.ablate(opened, replacements(ablation, config, means))
        return opened

    def copy(self, source: int, running: RunningSequence, count: int) -> None:
        """Copies the first `count` positions of a sequence of the runner to one of which nothing is computed."""
        self.runner.copy(source, running.runner_sequence, count)
        running.set_computed(count)
        self.reused_tokens += count

    def release(self, running: RunningSequence) -> None:
        """Releases the sequence of a completion that has ended: caches it, if it may be reused, or closes it."""
        self.running_nbytes -= running.nbytes
        reusable = running.shares_text and running.num_reusable_tokens and running.sequence.error is None
        if not (self.max_cached and reusable):
            self._close(running.runner_sequence)
            return
        ids = running.token_ids[: running.num_reusable_tokens]
        computed = running.sequence.prompt_logprobs if running.sequence.start == 0 else None
        cached = CachedPrefix(ids, running.runner_sequence, running.capacity, running.nbytes, computed)
        for redundant in self.prefixes.add(self._shrink(cached)):
            self._close(redundant.runner_sequence)
        while len(self.prefixes) > self.max_cached or (self.budget is None and self.prefixes.nbytes > CACHED_BYTES):
            oldest = self.prefixes.oldest()
            assert oldest is not None
            self._evict(oldest)

    def clear(self) -> None:
        """Closes all cached prefixes."""
        while (cached := self.prefixes.oldest()) is not None:
            self._evict(cached)

    def _take_over(self, running: RunningSequence, cached: CachedPrefix, reusable: int) -> None:
        """Makes a cached prefix the sequence of a completion that begins with it."""
        self.prefixes.remove(cached)
        running.runner_sequence, running.capacity, running.nbytes = cached.runner_sequence, cached.capacity, cached.nbytes
        count = min(reusable, len(running.token_ids) - 1)  # the last token is read anyway: its logits are wanted
        running.reuse_prompt_logprobs(cached.prompt_logprobs, count + 1)
        running.set_computed(count)
        self.reused_tokens += count

    def _evict(self, cached: CachedPrefix) -> None:
        self.prefixes.remove(cached)
        self._close(cached.runner_sequence)

    def _close(self, runner_sequence: int) -> None:
        """Closes a sequence of the runner. No completion needs it any more, so none ends by an error there."""
        try:
            self.runner.close(runner_sequence)
        except Exception:
            self.close_failures += 1

    def _shrink(self, cached: CachedPrefix) -> CachedPrefix:
        """Moves a text that became much shorter than planned to a sequence where it just fits, if there is room to move."""
        count = len(cached.token_ids)
        nbytes = self.runner.sequence_bytes(count)
        after = self.nbytes + cached.nbytes + nbytes
        if 2 * nbytes > cached.nbytes or (self.budget is not None and after > self.budget):
            return cached
        try:
            opened = self.runner.open(count)
        except Exception:  # no memory to move it: it stays where it is, which costs nothing more
            return cached
        self.peak_nbytes = max(self.peak_nbytes, after)
        try:
            self.runner.copy(cached.runner_sequence, opened, count)
        except Exception:  # the same
            self._close(opened)
            return cached
        self._close(cached.runner_sequence)
        return CachedPrefix(cached.token_ids, opened, count, nbytes, cached.prompt_logprobs)
