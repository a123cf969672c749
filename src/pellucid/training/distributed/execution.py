"""`MeshExecution`: the steps of a run on a mesh of ranks (`training.execution.Execution`).

B rows of a batch, T positions. Every rank reads its own rows of each batch; losses are sums over `counted`, the targets of the
whole batch, and gradients are summed over ranks, so that neither depends on the mesh, up to rounding.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate

from pellucid.engine.completion import Completion
from pellucid.files import write_whole
from pellucid.gpt.bits_per_byte import bits_per_byte
from pellucid.gpt.config_json import CONFIG, to_json
from pellucid.gpt.document_mask import DocumentMask
from pellucid.gpt.kv_cache import KVCache
from pellucid.gpt.loss import IGNORE
from pellucid.hashing import mix
from pellucid.native.operators.library import compiled_operators
from pellucid.runs.files import BEST
from pellucid.runs.plan import Plan
from pellucid.text.tokenizer import Tokenizer
from pellucid.training import checkpoint
from pellucid.training.batches import WindowBatches
from pellucid.training.checkpoint import KeptModel, State
from pellucid.training.distributed.context import ContextCache, own_positions
from pellucid.training.distributed.fill import fill_first_weights, read_plain_checkpoint
from pellucid.training.distributed.gather import Replica
from pellucid.training.distributed.pipeline import Pipeline, stage_numbers
from pellucid.training.distributed.process_group import Ranks
from pellucid.training.distributed.stage import Stage, Stages, divided
from pellucid.training.distributed.storage import Checkpoints
from pellucid.training.execution import StepResult, sample
from pellucid.training.matmul_rate import block_products, matmul_flops_per_s
from pellucid.training.mesh import Mesh
from pellucid.training.optimizers import make_optimizer, restore, state_of
from pellucid.training.parallelize import device_mesh, parallelize
from pellucid.training.placement import autocast, copy_to, has_operators
from pellucid.training.sharded import DTYPES, MODEL, OPTIMIZER, is_sharded, read_index
from pellucid.training.spike_guard import spike_scores
from pellucid.training.watch import Watcher


class MeshExecution:
    """The execution of a run on the ranks that have joined."""

    def __init__(
        self, run: Path, plan: Plan, ranks: Ranks, batches: WindowBatches, tokenizer: Tokenizer, schedule: str
    ) -> None:
        self.run, self.plan, self.ranks, self.batches = run, plan, ranks, batches
        self.is_main, self.mesh = ranks.is_main, ranks.mesh
        self.place = self.mesh.coordinates(ranks.rank)
        self.dtype: torch.dtype = getattr(torch, plan.dtype)
        self.compiled = plan.compiled and self.mesh.tp == 1 and has_operators(self.dtype, ranks.device)
        mesh, config = self.mesh, plan.config
        numbers = [stage_numbers(rank, mesh.pp, schedule) for rank in range(mesh.pp)]
        blocks = divided(config.n_layers, sum(map(len, numbers)))
        owned = [[blocks[number] for number in own] for own in numbers]
        self.devices = device_mesh(mesh, ranks.device)
        self.stages = Stages(Stage(config, own) for own in owned[self.place["pp"]])
        self.context = context_group(mesh, ranks.device)
        for stage in self.stages:
            for block in stage.blocks():
                block.recompute = plan.recompute
            stage.make_cache = self._cache_of(stage)
        parallelize(self.stages, mesh, self.devices)
        self.pipeline: Pipeline | None = None
        if mesh.pp > 1:
            self.micro_batch = pipeline_rows(plan.batch // mesh.batch_ranks, plan.micro_batch, mesh.pp)
            rows, positions = self.micro_batch, config.n_ctx
            if mesh.cp > 1:  # two rows of parts for each
                rows, positions = 2 * rows, positions // (2 * mesh.cp)
            self.pipeline = Pipeline(
                self.stages, numbers[self.place["pp"]], self.devices["pp"].get_group(), schedule,
                between=(rows, positions // mesh.tp, config.d_model), ids_shape=(rows, positions), device=ranks.device,
            )  # fmt: skip
        self.ends = end_groups(mesh) if mesh.pp > 1 else None
        fill_first_weights(self.stages, plan.config, plan.seed, ranks.device)
        self.optimizer = make_optimizer(self.stages, plan.recipe, plan.optimizer, plan.optimizer_settings)
        self.tokenizer, self.recorded = tokenizer, False
        writers: ProcessGroup = dist.new_group(backend="gloo")
        self.checkpoints = Checkpoints(run, plan.keep, writers, self._write_model_files)
        self.replica = Replica(plan, ranks, self.stages, self.optimizer, owned, tokenizer)

    def resume(self) -> State:
        """As `Execution`."""
        if self.is_main:
            checkpoint.remove_what_kills_left(self.run)
        dist.barrier()
        found = checkpoint.newest(self.run)
        if found is None:
            return State(step=0, tokens=0)
        state = checkpoint.check_files(found, self.ranks.rank, self.mesh.size)
        if is_sharded(found):
            self._load(found, state)
        else:
            read_plain_checkpoint(found, state, self.stages, self.optimizer, self.plan)
        return state

    def measure_products(self) -> float:
        """As `Execution`."""
        plan = self.plan
        products = block_products(plan.config, plan.micro_batch * plan.config.n_ctx)
        return self.mesh.size * matmul_flops_per_s(self.dtype, products, device=self.ranks.device)

    def take_step(self, state: State, watcher: Watcher | None) -> StepResult:
        """As `Execution`."""
        plan, self.ranks.step = self.plan, state.step
        started = time.perf_counter()
        part = self.place["replicate"] * self.mesh.dp + self.place["dp"]
        ids, targets = self.batches.share(state.step, part, self.mesh.batch_ranks)
        windows = self.batches.windows_before(state.step + 1) - self.batches.windows_before(state.step)
        data_seconds = time.perf_counter() - started
        self.stages.train()
        torch.manual_seed(mix(plan.seed, state.step, self.ranks.rank) >> 1)
        ids, targets = padded(ids, targets, -(-windows // self.mesh.batch_ranks))
        own_loss = self._losses(ids, targets, counted=windows * plan.config.n_ctx, backward=True)
        watch_seconds = 0.0
        if watcher is not None:
            started = time.perf_counter()
            self._watch(watcher, state)
            watch_seconds = time.perf_counter() - started
        sums = torch.tensor([own_loss, self._own_squares()], dtype=torch.float64)
        dist.all_reduce(sums)
        loss, norm = float(sums[0]), float(sums[1].sqrt())
        scores = spike_scores(state.recent, loss, norm)
        skip = 0 < plan.skip_spikes < max(scores)
        if not skip:
            self._update(plan.recipe.learning_rate_at(state.tokens), min(1.0, plan.recipe.clip / (norm + 1e-6)))
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(
            loss, norm, plan.recipe.learning_rate_at(state.tokens), scores if skip else None, watch_seconds, data_seconds
        )

    def watch_update(self, watcher: Watcher) -> None:
        """As `Execution`."""
        self.replica.update()
        if self.is_main:
            watcher.after(self.replica.model)

    def _watch(self, watcher: Watcher, state: State) -> None:
        """Shows the main rank's watcher the whole model with its gradients, and the batch."""
        self.replica.update(gradients=True)
        optimizer = self.replica.make_optimizer()
        if optimizer is not None:
            watcher.before(self.replica.model, optimizer, state, *self.batches.batch(state.step))
            self.replica.model.zero_grad(set_to_none=True)

    def held_out(self) -> tuple[float, float]:
        """As `Execution`."""
        self.stages.eval()
        windows, parts, n_ctx = self.batches.held_out_windows, self.mesh.batch_ranks, self.plan.config.n_ctx
        part = self.place["replicate"] * self.mesh.dp + self.place["dp"]
        own = [torch.from_numpy(np.asarray(window, dtype=np.int64)) for window in windows[part::parts]]
        ids, targets = torch.zeros(len(own), n_ctx, dtype=torch.int64), torch.full((len(own), n_ctx), IGNORE)
        for row, window in enumerate(own):  # the last may be shorter than a context
            ids[row, : len(window) - 1], targets[row, : len(window) - 1] = window[:-1], window[1:]
        ids, targets = padded(ids, targets, -(-len(windows) // parts))
        with torch.no_grad():
            total = torch.tensor([self._losses(ids, targets, counted=1, backward=False)], dtype=torch.float64)
        dist.all_reduce(total)
        nats, tokens = float(total[0]), sum(len(window) - 1 for window in windows)
        text_bytes = sum(int(self.batches.token_bytes[window[1:]].sum()) for window in windows)
        return nats / tokens, bits_per_byte(nats, text_bytes)

    def answers(self) -> None:
        """As `Execution`: text asks nothing."""

    def sample(self) -> Completion | None:
        """As `Execution`."""
        self.replica.update()
        return sample(self.plan, self.replica.model) if self.is_main else None

    def keep_best(self, candidate: KeptModel) -> None:
        """As `Execution`."""
        better = torch.zeros(1)
        if self.is_main:
            kept = checkpoint.best(self.run)
            better[0] = float(kept is None or candidate.is_better(kept))
        dist.broadcast(better, 0)
        if better[0]:
            self.replica.update()
            if self.is_main:
                checkpoint.keep_best(self.run, self.replica.model, candidate)

    def save(self, state: State, *, last: bool) -> list[Path]:
        """As `Execution`."""
        if self.recorded:  # the record is written when checkpoints are
            self.replica.update()
        complete = self.checkpoints.wait()
        tensors: dict[str, Tensor] = {MODEL + name: parameter for name, parameter in self.stages.named_parameters()}
        moments = dict(state_of(self.stages, self.optimizer))
        for name, value in moments.items():  # AdamW's step counts follow from the state
            if not (name.endswith(".step") and name.removesuffix("step") + "exp_avg_sq" in moments):
                tensors[OPTIMIZER + name] = value
        self.checkpoints.save(tensors, state)
        return complete + (self.checkpoints.wait() if last else [])

    def renew_model(self, *, best: bool, last: bool) -> None:
        """As `Execution`: at the end of the run, as it takes the whole model."""
        newest = self.run / BEST if best else checkpoint.newest(self.run)
        assert newest is not None
        if self.is_main and last:
            checkpoint.renew_model(self.run, newest)
        dist.barrier()

    def agrees_to_stop(self, stop: bool) -> bool:
        """As `Execution`."""
        asked = torch.tensor([float(stop)])
        dist.all_reduce(asked)
        return bool(asked[0] > 0)

    def _load(self, folder: Path, state: State) -> None:
        """Takes weights and optimizer from a checkpoint of any mesh."""
        owned = dict(self.stages.named_parameters())
        tensors: dict[str, Tensor] = {MODEL + name: parameter for name, parameter in owned.items()}
        kept: dict[str, Tensor] = {}
        for full, stored in read_index(folder).items():
            if not full.startswith(OPTIMIZER):
                continue
            name = full.removeprefix(OPTIMIZER)
            parameter = owned.get(name.removesuffix(".number").rpartition(".")[0])
            if parameter is not None:
                like = torch.zeros_like(parameter) if stored.shape == tuple(parameter.shape) else None
                kept[name] = torch.zeros(stored.shape, dtype=DTYPES[stored.dtype]) if like is None else like
        self.checkpoints.load(folder, tensors | {OPTIMIZER + name: value for name, value in kept.items()})
        steps = torch.tensor(float(state.step - state.skipped))
        restore(self.stages, self.optimizer, kept | {f"{n}.step": steps for n in owned if f"{n}.exp_avg_sq" in kept})

    def _write_model_files(self, folder: Path) -> None:
        """What a checkpoint holds beside tensors: the config and the tokenizer."""
        write_whole(folder / CONFIG, json.dumps(to_json(self.plan.config, "float32"), indent=2) + "\n")
        self.tokenizer.save(folder)

    def _losses(self, ids: Tensor, targets: Tensor, *, counted: int, backward: bool) -> float:
        """This rank's part of the sum of losses over `counted`, after their backward pass: the parts of all ranks add up."""
        device, mesh = self.ranks.device, self.mesh
        for stage in self.stages:
            stage.counted = counted
        if mesh.cp > 1:
            ids, targets = (own_positions(rows, self.place["cp"], mesh.cp) for rows in (ids, targets))
        ids, targets = copy_to(device, ids, targets)
        total = torch.zeros((), device=device)
        if self.pipeline is not None:
            with autocast(self.dtype, device), compiled_operators(use=self.compiled):
                total = self.pipeline.losses(*self._filled(ids, targets), backward=backward)
            if backward:
                self._sum_copies()
            return float(total.item()) / mesh.tp
        (stage,) = self.stages
        assert isinstance(stage, Stage) and isinstance(stage, FSDPModule)
        size = self.plan.micro_batch * (2 if mesh.cp > 1 else 1)
        rows = [*zip(ids.split(size), targets.split(size), strict=True)]
        for index, (x, y) in enumerate(rows):
            if backward:  # gradients are exchanged once, after the last micro-batch
                last = index == len(rows) - 1
                stage.set_requires_gradient_sync(last)
                stage.set_is_last_backward(last)
            with autocast(self.dtype, device), compiled_operators(use=self.compiled):
                loss = stage(x, y)
                if backward:
                    torch.autograd.backward(loss)
            total += loss.detach()
        return float(total.item()) / mesh.tp  # along `tp` every rank has the loss of all positions

    def _filled(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Rows enough for a pipeline: whole micro-batches, a multiple of the stages' ranks."""
        assert self.pipeline is not None
        each = self.pipeline.ids_shape[0] * self.mesh.pp
        return padded(ids, targets, -(-len(ids) // each) * each)

    def _sum_copies(self) -> None:
        """Adds up the gradients of the token matrix on the first stage, as embedding, and on the last, as head."""
        if self.ends is None:
            return
        for stage in self.stages:
            if stage.first or stage.last:
                gradient = stage.wte.weight.grad
                dist.all_reduce(gradient.to_local() if isinstance(gradient, DTensor) else gradient, group=self.ends)

    def _cache_of(self, stage: Stage) -> Callable[[Tensor], KVCache | None]:
        """What a stage's attention computes with on this rank."""
        if self.context is not None:
            group, patterns = self.context, {block.block: block.attn for block in stage.blocks()}
            ranks = self.mesh.tp

            def parts(x: Tensor) -> KVCache:  # of hidden vectors, `tp` divides the positions further
                positions = x.shape[1] * (1 if x.dtype == torch.int64 else ranks)
                return ContextCache({b: attn.pattern for b, attn in patterns.items()}, group, len(x), positions)

            return parts
        if self.plan.mask_documents:
            end = self.plan.config.end_id
            return lambda ids: DocumentMask(self.plan.config, ids, end)
        return lambda ids: None

    def _own_squares(self) -> float:
        """The sum of this rank's squared gradients, each number counted once over all ranks."""
        total = torch.zeros((), device=self.ranks.device)
        for name, parameter in self.stages.named_parameters():
            if name == "wte.weight" and self.mesh.pp > 1 and not self.stages[0].first:
                continue  # the head's copy: the first stage counts it
            assert isinstance(parameter.grad, DTensor)
            ways = zip(parameter.grad.device_mesh.shape, parameter.grad.placements, strict=True)
            copies = float(np.prod([size for size, placement in ways if isinstance(placement, Replicate)]))
            total += torch.linalg.vector_norm(parameter.grad.to_local()).square() / copies
        return float(total.item())

    @torch.no_grad()
    def _update(self, lr: float, factor: float) -> None:
        for parameter in self.stages.parameters():
            assert isinstance(parameter.grad, DTensor)
            parameter.grad.to_local().mul_(factor)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()


def pipeline_rows(rows: int, most: int, ranks: int) -> int:
    """Rows of a micro-batch of a pipeline: as many as divide `rows` into micro-batches that keep `ranks` stages busy.

    Twice as many micro-batches as ranks where that goes: then a third of the time or less is the pipeline's bubble.
    """
    for wanted in (2 * ranks, ranks):
        fitting = [size for size in range(1, min(most, rows) + 1) if rows % (size * wanted) == 0]
        if fitting:
            return fitting[-1]
    return 1


def context_group(mesh: Mesh, device: torch.device) -> ProcessGroup | None:
    """The ranks that share this one's rows."""
    if mesh.cp == 1:
        return None
    shape = mesh.pp * mesh.replicate * mesh.dp, mesh.cp, mesh.tp
    return init_device_mesh(device.type, shape, mesh_dim_names=("outer", "cp", "inner"))["cp"].get_group()


def end_groups(mesh: Mesh) -> ProcessGroup | None:
    """The ranks of the first and of the last stage that have the same part of the token matrix; None for those between."""
    mine: ProcessGroup | None = None
    size = mesh.size // mesh.pp
    for place in range(size):
        ranks = [place, place + (mesh.pp - 1) * size]
        group = dist.new_group(ranks)  # on all ranks, in the same order
        if dist.get_rank() in ranks:
            mine = group
    return mine


def padded(ids: Tensor, targets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """(B, T) ids and targets with rows that count for nothing, up to `rows`: all ranks do the same number of passes."""
    missing = rows - len(ids)
    more = ids.new_zeros(missing, ids.shape[1])
    return torch.cat((ids, more)), torch.cat((targets, more + IGNORE))
