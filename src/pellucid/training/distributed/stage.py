"""A rank's part of the decoder: some of its blocks, and what is before the first and after the last.

B rows, T positions, C width, E width of a token's embedding. Without pipeline parallelism there is one
stage, the whole decoder. Parameters have the names that they have there. The rows of `c_attn` are head by head
(`training.by_head`).
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.gpt.config import GPTConfig
from pellucid.gpt.decoder import Attention, Block, Decoder
from pellucid.gpt.kv_cache import KVCache
from pellucid.gpt.loss import linear_cross_entropy


class Stage(nn.Module):
    """Blocks `blocks` of a decoder, on the meta device until it is filled.

    Args:
        config: of the whole model.

    Attributes:
        first, last: whether it begins with token ids, and ends with the loss.
        counted: by what the sum of losses is divided: the targets of the whole batch, on all ranks.
        make_cache: gives attention what it computes with on this rank (context parallelism); None: the pattern alone.
        sum_of_losses: of (B, T, E) hidden vectors, the (V, E) token matrix and (B, T) targets.
    """

    def __init__(self, config: GPTConfig, blocks: range) -> None:
        super().__init__()
        self.config = config
        self.first, self.last = blocks.start == 0, blocks.stop == config.n_layers
        self.counted = 1.0
        self.make_cache: Callable[[Tensor], KVCache | None] = lambda ids: None
        self.sum_of_losses: Callable[[Tensor, Tensor, Tensor], Tensor] = sum_of_losses
        with torch.device("meta"):
            whole = Decoder(config.replace(n_layers=1, pattern=config.pattern[:1]))
            blocks_by_name = {str(block): Block(config, block) for block in blocks}
        self.wte = whole.wte if self.first or self.last else None
        self.wpe = whole.wpe if self.first else None
        self.project_in = whole.project_in if self.first else None
        self.h = nn.ModuleDict(blocks_by_name)
        self.ln_f = whole.ln_f if self.last else None
        self.project_out = whole.project_out if self.last else None
        for block in self.blocks():
            block.attn.by_head = True

    def blocks(self) -> Iterator[Block]:
        """Its blocks, in their order."""
        for block in self.h.values():
            assert isinstance(block, Block) and isinstance(block.attn, Attention)
            yield block

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """From ids or the stage before to the stage after or the loss.

        Args:
            x: (B, T) int64 ids if it is the first stage, else (B, T, C).
            targets: (B, T) int64, for the last stage.

        Returns:
            (B, T, C), or the sum of losses over `counted`, a scalar.
        """
        cache = self.make_cache(x)
        if self.first:
            x = self.embed(x, cache)
        for block in self.blocks():
            x = block(x, cache)
        if not self.last:
            return x
        assert targets is not None and self.wte is not None
        if self.ln_f is not None:
            x = self.ln_f(x)
        if self.project_out is not None:
            x = self.project_out(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return self.sum_of_losses(x, self.wte.weight, targets) / self.counted

    def embed(self, ids: Tensor, cache: KVCache | None) -> Tensor:
        """(B, T) ids -> (B, T, C), tokens and positions; the rows' first positions are the cache's."""
        assert self.wte is not None and self.wpe is not None
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        if cache is not None:
            positions = positions + torch.tensor(cache.lengths, device=ids.device)[:, None]
        x: Tensor = self.wte(ids)
        if self.project_in is not None:
            x = self.project_in(x)
        return F.dropout(x + self.wpe(positions), self.config.dropout, self.training)


def sum_of_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """(B, T, E) hidden vectors, the (V, E) token matrix and (B, T) targets -> the sum of cross-entropies, in nats."""
    return linear_cross_entropy(hidden.flatten(0, 1), weight, targets.flatten())


class Stages(nn.ModuleList):
    """The stages of one rank; their parameters have the names that they have in the decoder."""

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of each."""
        for stage in self:
            yield from stage.named_parameters(prefix, recurse, remove_duplicate)


def divided(layers: int, stages: int) -> list[range]:
    """The blocks of each stage: as even as they go, the first and the last with fewer, for the embedding and the head."""
    each, more = divmod(layers, stages)
    order = sorted(range(stages), key=lambda stage: stage in (0, stages - 1))
    sizes = [each + (order.index(stage) < more) for stage in range(stages)]
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
