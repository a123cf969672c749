"""`UncachedRunner`: a runner without a KV cache, which computes every token with a pass over the sequence's whole text.

T positions of a text, V vocabulary.
"""

from collections.abc import Sequence
from inspect import signature

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.gpt.ablation import MeanOutputs, Replacements
from pellucid.gpt.decoder import Decoder
from pellucid.gpt.tap import Tap, WritingPart
from pellucid.runtime.inference_mode import inference_mode
from pellucid.runtime.runner import Mode, TokenSpan
from pellucid.runtime.torch_ablation import AblationTap, OutputsTap
from pellucid.runtime.torch_runner import TOLERANCE, TorchRunner, check_exact


TRIAL_TOKENS = 7  # that `is_cacheable` tries: half of them prefilled, the others decoded one by one


class UncachedRunner:
    """See `runner.Runner`. The logits of a pass are those of `model(ids)`, with the (1, T) ids of one sequence's whole text.

    A hook or a replaced method may treat the positions of (1, T, C) tensors in any way: nothing that it computed for an earlier
    token can be used for a later one. A token therefore costs a pass over all tokens before it.

    Args:
        model: the decoder.
        mode: "exact" or "fast", which compute the same: what else is in a batch changes no bit, since each text has a pass of
            its own. On other devices than the CPU exact is refused, as by `TorchRunner`.
        tap: sees the tensors of the positions that a span adds.
    """

    cached = False

    def __init__(self, model: Decoder, *, mode: Mode = "fast", tap: Tap | None = None) -> None:
        check_exact(mode, model)
        self.model = model
        self.mode: Mode = mode
        self.config = model.config
        parameter = next(model.parameters())
        self.path = f"PyTorch {str(parameter.dtype).removeprefix('torch.')}, uncached"
        self._device = parameter.device
        if tap is not None:
            self._check_tap("its activations cannot be recorded")
        self._tap = tap
        self._sequences: dict[int, list[int]] = {}
        self._ablations: dict[int, Replacements] = {}
        self._next = 0

    def sequence_bytes(self, capacity: int) -> int:
        """Bytes of the ids of a sequence of up to `capacity` positions: there are no keys and values."""
        return 8 * capacity

    def open(self, capacity: int) -> int:
        """A new, empty sequence of up to `capacity` positions; its number."""
        assert 0 < capacity <= self.config.n_ctx
        self._next += 1
        self._sequences[self._next] = []
        return self._next

    def close(self, sequence: int) -> None:
        """Frees a sequence."""
        del self._sequences[sequence]
        self._ablations.pop(sequence, None)

    def ablate(self, sequence: int, what: Replacements) -> None:
        """See `runner.AblatingRunner`."""
        self._check_tap("nothing of it can be ablated")
        self._ablations[sequence] = what

    def mean_outputs(self, ids: Sequence[int]) -> MeanOutputs:
        """See `runner.AblatingRunner`."""
        self._check_tap("nothing of it can be ablated")
        outputs = OutputsTap(self.config.n_layers)
        with inference_mode(self.model):
            self.model(torch.tensor([list(ids)], device=self._device), tap=outputs)
        return outputs.means([len(ids)])

    def _check_tap(self, why: str) -> None:
        """Refuses a user's forward method that takes no tap. Raises PellucidError."""
        try:
            signature(self.model.forward).bind(None, tap=None)
        except TypeError:
            raise PellucidError(
                f"the forward method of this {type(self.model).__name__} takes no `tap`, so {why}: "
                "let it take `tap=None` and pass it on"
            ) from None

    def copy(self, source: int, target: int, positions: int) -> None:
        """Makes the first `positions` positions of `target` those of `source`, as if they had been read there."""
        self._sequences[target][:] = self._sequences[source][:positions]

    def run(self, spans: Sequence[TokenSpan]) -> list[NDArray[np.float32] | None]:
        """Reads the texts that the spans complete, each in a pass of its own. See `runner.Runner.run`."""
        results: list[NDArray[np.float32] | None] = []
        for span in spans:
            text = self._sequences[span.sequence]
            assert span.first <= len(text)
            text[span.first :] = span.ids
            if span.wanted == "none" and self._tap is None:
                results.append(None)
                continue
            with inference_mode(self.model):
                ids = torch.tensor([text], device=self._device)
                # A user-defined forward method may have no argument `tap`.
                tap = None if self._tap is None else _TapOfNewPositions(self._tap, span.first)
                what = self._ablations.get(span.sequence)
                ablation = None if what is None else AblationTap([(0, len(text), what)], tap)
                taps = {"tap": ablation or tap} if ablation or tap else {}
                logits = self.model(ids, **taps)[0, span.first :].float().cpu().numpy()
                if ablation is not None:
                    ablation.check_seen()
            results.append(None if span.wanted == "none" else logits[-1] if span.wanted == "last" else logits)
        return results


def is_cacheable(model: Decoder) -> bool:
    """Whether keys and values may be cached although a module was replaced: compares cached with uncached logits once.

    Most modules compute each position independently. With one that does not, or an attention that ignores the cache, the two
    differ.
    """
    tokens = min(TRIAL_TOKENS, model.config.n_ctx)
    ids = [7919 * (place + 1) % model.config.vocab_size for place in range(tokens)]
    half = (tokens + 1) // 2
    try:
        with inference_mode(model):
            expected = model(torch.tensor([ids], device=model.wte.weight.device))[0].float().cpu().numpy()
        runner = TorchRunner(model, one_sequence=True)
        sequence = runner.open(tokens)
        parts = [TokenSpan(sequence, 0, ids[:half], "all")]
        parts += [TokenSpan(sequence, place, ids[place : place + 1], "all") for place in range(half, tokens)]
        logits = np.concatenate([part for span in parts for part in runner.run([span]) if part is not None])
    except Exception:  # a module that cannot use a cache; another error comes again in the uncached pass, and is reported there
        return False
    allowed = 4 * TOLERANCE[model.wte.weight.dtype] * max(1.0, float(np.abs(expected).max()))
    return logits.shape == expected.shape and bool((np.abs(logits - expected) <= allowed).all())


class _TapOfNewPositions:
    """Shows a tap the positions from `first` on."""

    def __init__(self, tap: Tap, first: int) -> None:
        self._tap = tap
        self._first = first

    def stream(self, level: int, x: Tensor) -> None:
        """(1, T, C) -> those of the new positions."""
        self._tap.stream(level, x[:, self._first :])

    def attention(self, block: int, q: Tensor, k: Tensor) -> None:
        """(1, H, T, D) -> those of the new positions."""
        self._tap.attention(block, q[:, :, self._first :], k[:, :, self._first :])

    def writes(self, block: int, attention: Tensor, mlp: Tensor) -> None:
        """(1, T, C) each -> those of the new positions."""
        self._tap.writes(block, attention[:, self._first :], mlp[:, self._first :])

    def heads(self, block: int, out: Tensor) -> Tensor:
        """Changes nothing: only what is replaced at all positions may be."""
        return out

    def write(self, block: int, part: WritingPart, out: Tensor) -> Tensor:
        """Changes nothing."""
        return out
