"""The settings of LoRA (Hu et al. 2021, arXiv 2106.09685), and the adapters that they define for a shape. No torch here.

A target matrix W, (out, in), is frozen; two small matrices are trained, A (rank, in) and B (out, rank):

    W' = W + alpha / rank * B A

B is initialized to zeros, so that training starts from the base model. The paper adapts W_q and W_v of GPT-3 (section 5.5,
table 5), which in GPT-2's layout are parts of one matrix, `c_attn`: each part has an adapter of its own here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pellucid.arguments import number, shown, whole_number
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.runs.recipe import MAX_NUMBER
from pellucid.strict_json import Fields


MAX_RANK = 1 << 16
DEFAULT_TARGETS = ("q", "v")  # the paper's, for GPT-3
# target -> (matrix of a block, number of the third of its rows; None: all rows)
TARGETS: dict[str, tuple[str, int | None]] = {
    "q": ("attn.c_attn", 0),
    "k": ("attn.c_attn", 1),
    "v": ("attn.c_attn", 2),
    "c_attn": ("attn.c_attn", None),
    "attn.c_proj": ("attn.c_proj", None),
    "c_fc": ("mlp.c_fc", None),
    "mlp.c_proj": ("mlp.c_proj", None),
}


class Adapter(NamedTuple):
    """The place and the shape of an adapter.

    Attributes:
        matrix: its name in the model, without ".weight", such as "h.0.attn.c_attn". target: a name in `TARGETS`.
        first, out: the adapter changes the `out` rows of the matrix from `first` on. columns: of the matrix.
    """

    matrix: str
    target: str
    first: int
    out: int
    columns: int


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Rank, scale and targets of the adapters that a run trains.

    Attributes:
        rank: of the adapters. alpha: their scale is alpha / rank. None: the rank, a scale of 1 (a choice).
        targets: names in `TARGETS`, in a list or joined by commas. None: q and v.

    Raises:
        PellucidError: a number out of range, an unknown target, or one twice.
    """

    rank: int
    alpha: float | None = None
    targets: Sequence[str] | str | None = None

    def __post_init__(self) -> None:
        rank = whole_number("lora_rank", self.rank, 1, MAX_RANK)
        alpha = float(rank) if self.alpha is None else number("lora_alpha", self.alpha, 0, MAX_NUMBER)
        if alpha == 0:
            raise PellucidError("lora_alpha must be a number above 0: adapters of scale 0 change nothing")
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "targets", _targets(DEFAULT_TARGETS if self.targets is None else self.targets))

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return float(self.alpha or 0) / self.rank

    def adapters(self, config: GPTConfig) -> Iterator[Adapter]:
        """The adapters of a model of that shape, block by block.

        Raises:
            PellucidError: a rank above that of the matrices.
        """
        width, inner = config.d_model, config.d_ff
        if self.rank > width:
            raise PellucidError(f"lora_rank must be at most the model's width, {width:,}, not {self.rank:,}")
        shapes = {"attn.c_attn": (3 * width, width), "attn.c_proj": (width, width), "mlp.c_fc": (inner, width),
                  "mlp.c_proj": (width, inner)}  # fmt: skip
        for block in range(config.n_layers):
            for target in self.targets or ():
                matrix, third = TARGETS[target]
                out, columns = shapes[matrix]
                rows = out if third is None else width
                yield Adapter(f"h.{block}.{matrix}", target, (third or 0) * width, rows, columns)

    def parameters(self, config: GPTConfig) -> int:
        """The number of trained parameters, rank (out + in) for each adapter. Nothing is allocated."""
        return sum(self.rank * (adapter.out + adapter.columns) for adapter in self.adapters(config))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `run.json`."""
        return {"rank": self.rank, "alpha": self.alpha, "targets": list(self.targets or ())}

    @classmethod
    def from_fields(cls, found: Fields) -> "LoraSettings":
        """The inverse of `to_dict`.

        Raises:
            PellucidError: a field is missing, unknown, of another type or out of range.
        """
        found.only(frozenset(("rank", "alpha", "targets")), "was this run written by a newer version?")
        rank = found.integer("rank", minimum=1, maximum=MAX_RANK)
        alpha = found.number("alpha", minimum=0, maximum=MAX_NUMBER)
        return cls(rank=rank, alpha=alpha, targets=found.list("targets", max_length=len(TARGETS)))


def _targets(given: object) -> tuple[str, ...]:
    """The targets in the order of `TARGETS`. Raises PellucidError for anything but different targets."""
    listed = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(listed, Iterable) or not (names := list(listed)):
        raise PellucidError(f"lora_targets must be names, such as q,v, not {shown(given)}")
    for name in names:
        if not isinstance(name, str) or name not in TARGETS:
            raise PellucidError(f"unknown LoRA target {shown(name)}: choose from {', '.join(TARGETS)}")
    if len(set(names)) < len(names) or ("c_attn" in names and set(names) & {"q", "k", "v"}):
        raise PellucidError(
            f"lora_targets {','.join(names)} adapt the same rows twice: name each once, and c_attn, which is q, k and v, "
            "without these"
        )
    return tuple(name for name in TARGETS if name in names)
