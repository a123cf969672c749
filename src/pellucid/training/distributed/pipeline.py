"""Pipeline parallelism: micro-batches through the stages of a rank and of its neighbours, on `torch.distributed.pipelining`.

B rows of a micro-batch, S positions of a row here, C width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B
from torch.distributed.pipelining.schedules import _PipelineSchedule

from pellucid.training.distributed.stage import Stage, Stages
from pellucid.training.mesh import INTERLEAVED_STAGES


def stage_numbers(rank: int, ranks: int, schedule: str) -> list[int]:
    """The stages of a pipeline's rank: one, or in the interleaved schedule every `ranks`-th."""
    each = INTERLEAVED_STAGES if schedule == "interleaved" else 1
    return [rank + ranks * turn for turn in range(each)]


class Pipeline:
    """Passes of micro-batches through the stages of all ranks.

    Args:
        stages: of this rank. numbers: which of all they are. group: the ranks along `pp`.
        name: "1f1b" or "interleaved".
        between: (B, S, C) of what goes from stage to stage. ids_shape: (B, S') of the ids of a micro-batch.
    """

    def __init__(
        self, stages: Stages, numbers: Sequence[int], group: ProcessGroup, name: str, *, between: tuple[int, ...],
        ids_shape: tuple[int, int], device: torch.device,
    ) -> None:  # fmt: skip
        self.stages, self.numbers, self.group, self.name, self.device = stages, numbers, group, name, device
        self.between, self.ids_shape = between, ids_shape
        self._schedules: dict[int, _PipelineSchedule] = {}

    def losses(self, ids: Tensor, targets: Tensor, *, backward: bool) -> Tensor:
        """The sum of the micro-batches' losses on the rank of the last stage, zero on others; after the backward passes.

        Args:
            ids, targets: (B * micro-batches, S') int64.
        """
        schedule = self._schedule(len(ids) // self.ids_shape[0])
        first, last = 0 in self.numbers, any(stage.last for stage in self.stages)
        found: list[Tensor] = []
        inputs = (ids,) if first else ()
        more = {"target": targets, "losses": found, "targets": targets} if last else {}
        run = schedule.step if backward else schedule.eval
        run(*inputs, return_outputs=False, **more)
        return torch.stack(found).sum().detach() if found else torch.zeros((), device=self.device)

    def _schedule(self, count: int) -> _PipelineSchedule:
        """The schedule of so many micro-batches."""
        if count not in self._schedules:
            pipeline = [self._pipeline_stage(stage, number) for stage, number in zip(self.stages, self.numbers, strict=True)]
            if self.name == "interleaved":
                made: _PipelineSchedule = ScheduleInterleaved1F1B(pipeline, count, loss_fn=_output, scale_grads=False)
            else:
                made = Schedule1F1B(pipeline[0], count, loss_fn=_output, scale_grads=False)
            self._schedules[count] = made
        return self._schedules[count]

    def _pipeline_stage(self, stage: Stage, number: int) -> PipelineStage:
        stages = self.group.size() * len(self.numbers)
        hidden = torch.empty(self.between, device="meta", requires_grad=True)
        ids = torch.empty(self.ids_shape, dtype=torch.int64, device="meta")
        loss = torch.empty((), device="meta", requires_grad=True)
        return PipelineStage(
            stage, number, stages, self.device, input_args=ids if stage.first else hidden,
            output_args=loss if stage.last else hidden, group=self.group,
        )  # fmt: skip


def _output(output: Tensor, target: Tensor) -> Tensor:
    """The loss of a micro-batch: what the last stage returns."""
    return output
