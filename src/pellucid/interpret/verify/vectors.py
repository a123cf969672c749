"""Verifying the vectors of a generation's followed position, and the norms of what each block adds to the stream.

T positions, C width, D width of a token's row, L blocks, V vocabulary, I nearest tokens.

Vectors that are weights of the model are compared exactly; what is computed from them (the projection of a narrow embedding,
cosines, the final LayerNorm) within the rounding of float32, and where it depends on activations, within theirs.
"""

from collections.abc import Callable

import numpy as np
import torch

from pellucid.interpret.capture import LENS_CANDIDATES, WRITES
from pellucid.interpret.vectors import cosines, embedding_source, embedding_vectors, output_source, read_out
from pellucid.interpret.verify.activations import Activations, stream_error, stream_ranges
from pellucid.interpret.verify.difference import Array, Difference, compare_top_tokens, equal, equality, range_of
from pellucid.record import Record


_COSINE_ERROR = 2.0**-18  # of float32 sums of some thousand products
_FLOAT32 = 2.0**-24
NEAREST_IDS = "generation/embedding/nearest_ids"
_EMBEDDING, _OUTPUT, _NORMS = "generation/embedding/", "generation/output/", "generation/writes/"


class VectorVerifier:
    """Recomputes the chunks `generation/embedding/`, `generation/output/` and `generation/writes/`.

    Args:
        computed, upcast: the activations, and the same in float32 where the recorded model computed in fewer bits.
        noise: the relative error of float32. prompt: tokens of it; the last is the followed position's.
    """

    def __init__(
        self, record: Record, computed: Activations, upcast: Activations | None, noise: float, prompt: list[int]
    ) -> None:
        self.record, self.model = record, computed.model
        self.computed, self.upcast, self.noise = computed, upcast, noise
        self.unit = torch.finfo(self.model.wte.weight.dtype).eps
        self.token, self.position = prompt[-1], len(prompt) - 1
        self.by_name: dict[str, Callable[[], Difference]] = {
            _EMBEDDING + "token": self._token,
            _EMBEDDING + "position": lambda: equal(record[_EMBEDDING + "position"], self._embedding[1]),
            NEAREST_IDS: lambda: self._nearest()[0],
            _EMBEDDING + "nearest_cosines": lambda: self._nearest()[1],
            _OUTPUT + "vector": self._output,
            _OUTPUT + "rows": self._rows,
            _NORMS + WRITES[0]: lambda: self._writes(0),
            _NORMS + WRITES[1]: lambda: self._writes(1),
        }

    def sources(self) -> dict[str, dict[str, object]]:
        """What the record must state as the source of these chunks, by name."""
        return {
            _EMBEDDING + "token": embedding_source(self.model, self.token),
            _EMBEDDING + "position": {"tensor": "wpe.weight", "row": self.position},
            NEAREST_IDS: {"tensor": "wte.weight"},
            _EMBEDDING + "nearest_cosines": {"tensor": "wte.weight"},
            _OUTPUT + "vector": output_source(self.model),
            _OUTPUT + "rows": {"tensor": "wte.weight", "rows": self._listed()},
        }

    @property
    def _embedding(self) -> tuple[Array, Array]:
        token, position = embedding_vectors(self.model, self.token, self.position)
        return token.cpu().numpy(), position.cpu().numpy()

    def _token(self) -> Difference:
        stored, expected = self.record[_EMBEDDING + "token"], self._embedding[0]
        if self.model.project_in is None:
            return equal(stored, expected)
        upcast = expected.astype(np.float64)
        error = stream_error(upcast[None], None, self.noise, self.unit)[0]
        return Difference(np.abs(stored - upcast), error, "", range_of(upcast))

    def _nearest(self) -> tuple[Difference, Difference]:
        expected = cosines(self.model, self.token).double().cpu()
        expected[self.token] = -2.0  # the token itself is not listed
        ids, stored = self.record[NEAREST_IDS], self.record[_EMBEDDING + "nearest_cosines"]
        return compare_top_tokens(expected[None], ids[None], stored[None], np.array([[_COSINE_ERROR]]), unit="")

    def _output(self) -> Difference:
        expected = self._read_out(self.computed)
        upcast = None if self.upcast is None else self._read_out(self.upcast)
        stored = self.record[_OUTPUT + "vector"]
        if stored.shape != expected.shape[1:]:
            return equality(False)
        error, ranges = stream_error(expected, upcast, self.noise, self.unit), stream_ranges(expected)
        expected, error, value_range = (each[self.position] for each in (expected, error, ranges))
        return Difference(np.abs(stored - expected), error + _FLOAT32 * np.abs(expected), "", value_range)

    def _read_out(self, activations: Activations) -> Array:
        """(P, D) float64, computed in float32 from the last block's output, at the prompt's positions as it was recorded."""
        last = activations.tap.block_input(self.model.config.n_layers)[: self.position + 1]
        return read_out(activations.model, last).double().cpu().numpy()

    def _listed(self) -> list[int]:
        """The first step's likeliest tokens, as the record lists them; `steps` checks those."""
        found: list[int] = self.record["generation/steps/topk_ids"][0, :LENS_CANDIDATES].tolist()
        return found

    def _rows(self) -> Difference:
        listed, vocab_size = self._listed(), self.model.config.vocab_size
        if not all(0 <= token < vocab_size for token in listed):
            return equality(False)
        return equal(self.record[_OUTPUT + "rows"], self.model.wte.weight[listed].float().cpu().numpy())

    def _writes(self, part: int) -> Difference:
        expected = self.computed.written(part)  # (L, T, C)
        # The norm of an error bounds a norm's error.
        if self.upcast is None:
            error = np.sqrt((stream_error(expected, None, self.noise, self.unit) ** 2).sum(-1))
        else:
            error = 4 * np.sqrt(((expected - self.upcast.written(part)) ** 2).sum(-1))
        norms = np.sqrt((expected**2).sum(-1))
        return Difference(np.abs(self.record[_NORMS + WRITES[part]] - norms), error + 2.0**-20 * norms, "", norms)
