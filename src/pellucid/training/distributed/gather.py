"""`Replica`: the whole model on the main rank, for what one process does: samples, records, `best/`.

It takes as much memory there as the whole model, on the CPU. Ranks exchange one tensor at a time.
"""

from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pellucid.generation.model import GPT
from pellucid.runs.plan import Plan
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.by_head import to_plain
from pellucid.training.distributed.process_group import Ranks
from pellucid.training.distributed.stage import Stage, Stages
from pellucid.training.optimizers import make_optimizer, restore, state_of


class Replica:
    """The whole model, and its optimizer, on the main rank; the other ranks send it their parts.

    Args:
        owned: the blocks of each stage of every rank along `pp`.
    """

    def __init__(
        self, plan: Plan, ranks: Ranks, stages: Stages, optimizer: torch.optim.Optimizer, owned: list[list[range]],
        tokenizer: Tokenizer | None,
    ) -> None:  # fmt: skip
        self.plan, self.ranks, self.stages, self.optimizer = plan, ranks, stages, optimizer
        self.names = [[name for name, _ in Stages(Stage(plan.config, b) for b in own).named_parameters()] for own in owned]
        self.tokenizer = tokenizer
        self._model: GPT | None = None

    @property
    def model(self) -> GPT:
        """The main rank's model; its weights are those of the last `update`."""
        assert self.ranks.is_main
        if self._model is None:
            with torch.device("meta"):
                self._model = GPT(self.plan.config, tokenizer=self.tokenizer)
            self._model.to_empty(device="cpu").eval()
        return self._model

    @torch.no_grad()
    def update(self, *, gradients: bool = False) -> None:
        """Brings the weights to the main rank, and the gradients, if asked for."""
        own = dict(self.stages.named_parameters())
        there = dict(self.model.named_parameters()) if self.ranks.is_main else {}
        for name, value in self._gather(lambda name: own[name]):
            there[name].copy_(value)
        if not gradients:
            return
        for name, value in self._gather(lambda name: _gradient(own[name])):
            there[name].grad = value.clone()

    @torch.no_grad()
    def make_optimizer(self) -> torch.optim.Optimizer | None:
        """An optimizer of the main rank's model with the state of this one."""
        plan, state = self.plan, dict(state_of(self.stages, self.optimizer))
        keys = sorted({key for name in state for key in [_key(name)]})
        kept: dict[str, Tensor] = {}
        for key in keys:
            of_key = {name.removesuffix(f".{key}"): value for name, value in state.items() if _key(name) == key}
            kept |= {f"{name}.{key}": value.clone() for name, value in self._gather(of_key.get)}
        if not self.ranks.is_main:
            return None
        optimizer = make_optimizer(self.model, plan.recipe, plan.optimizer, plan.optimizer_settings)
        restore(self.model, optimizer, kept)
        return optimizer

    def _gather(self, value: Callable[[str], Tensor | None]) -> Iterator[tuple[str, Tensor]]:
        """(name, whole tensor in the order of one process) on the main rank, of every parameter that has one."""
        size, place = self.ranks.mesh.size // self.ranks.mesh.pp, self.ranks.rank
        for stage, names in enumerate(self.names):
            mine, sender = place // size == stage, stage * size
            seen = set(self.names[0]) if stage else set()  # the head's copy of the token matrix
            for name in names:
                if name in seen:
                    continue
                whole: Tensor | None = None
                if mine and (own := value(name)) is not None:
                    whole = (own.full_tensor() if isinstance(own, DTensor) else own).detach().cpu().contiguous()
                whole = self._sent(whole, sender)
                if self.ranks.is_main and whole is not None:
                    yield name, to_plain(name, whole, self.plan.config.n_heads)

    def _sent(self, whole: Tensor | None, sender: int) -> Tensor | None:
        """A tensor of another rank on the main rank; None where there is none."""
        if sender == 0:
            return whole
        if self.ranks.rank == sender:
            head = torch.zeros(8, dtype=torch.int64)
            if whole is not None:
                head[0], head[1] = 1 + whole.dim(), int(whole.dtype == torch.float64)
                head[2 : 2 + whole.dim()] = torch.tensor(whole.shape)
            dist.send(head, 0)
            if whole is not None:
                dist.send(whole, 0)
        if not self.ranks.is_main:
            return None
        head = torch.zeros(8, dtype=torch.int64)
        dist.recv(head, sender)
        if not head[0]:
            return None
        shape = head[2 : 1 + int(head[0])].tolist()
        whole = torch.empty(shape, dtype=torch.float64 if head[1] else torch.float32)
        dist.recv(whole, sender)
        return whole


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _key(name: str) -> str:
    """What a part of an optimizer state is called after its parameter: "exp_avg" of "h.0.ln_1.weight.exp_avg"."""
    stem = name.removesuffix(".number")
    return stem.rpartition(".")[2] + name[len(stem) :]
