"""Published training runs whose inputs and times were printed, and what a plan of the same layout says.

Only what is published is entered. Where a paper does not say something (Megatron's micro-batch in the end-to-end estimate), the
name says what was taken. `benchmarks/plan_published.py` prints the table; a test holds each to the plan's range.
"""

from dataclasses import dataclass

from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config import GPTConfig
from pellucid.planning.cluster.efficiency import RANGE
from pellucid.planning.cluster.layout import Layout
from pellucid.planning.cluster.search import DAY, PlannedTraining, device_rates, outcome
from pellucid.planning.devices import DEVICES
from pellucid.training.mesh import Mesh


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRun:
    """A run as published.

    Attributes:
        published: seconds of a step, or days of `tokens`, as `unit` says. source: where it is printed.
    """

    name: str
    config: GPTConfig
    device: str
    layout: Layout
    published: float
    unit: str
    source: str
    tokens: int = 0


def _megatron(dp: int, pp: int, sequences: int) -> Layout:
    return Layout(
        mesh=Mesh(replicate=dp, tp=8, pp=pp), shard="none", schedule="1f1b", chunks=1, micro_batch=1,
        micro_batches=sequences // dp, recompute="full",
    )  # fmt: skip


_TURING = GPTConfig(vocab_size=51200, n_layers=105, d_model=20480, n_heads=128, pattern=all_dense(105))
_TURING_SOURCE = "Megatron-Turing NLG 530B (arXiv 2201.11990), section 2.4, as quoted by cli99/llm-analysis: batch 1,920"
PUBLISHED_RUNS = (
    *(
        PublishedRun(
            name=f"Megatron-Turing 530B on {280 * dp:,} A100", config=_TURING, device="a100", layout=_megatron(dp, 35, 1920),
            published=seconds, unit="s/step", source=_TURING_SOURCE,
        )
        for dp, seconds in ((8, 60.1), (10, 50.2), (12, 44.4))
    ),
    PublishedRun(
        name="GPT-3 175B on 1,024 A100 (micro-batch 1 taken)", config=GPTConfig.preset("gpt3-175b", pattern=all_dense(96)),
        device="a100", layout=_megatron(8, 16, 1536), published=34.0, unit="days", tokens=300 * 10**9,
        source="Megatron-LM (arXiv 2104.04473), section 5.1: 140 TFLOP/s a device; layout of its 175B script",
    ),
)  # fmt: skip


def repeat(run: PublishedRun) -> tuple[float, float, float]:
    """What a plan of the same layout says at low, expected and high efficiency, in the run's unit, without failures."""
    layout = run.layout
    workload = PlannedTraining(
        config=run.config, tokens=max(1, run.tokens), context=run.config.n_ctx, sequences=layout.sequences,
        device=DEVICES[run.device], devices=layout.mesh.size, dtype="bfloat16",
    )  # fmt: skip
    steps = 1.0 if run.unit == "s/step" else run.tokens / workload.step_tokens / DAY
    low, expected, high = (outcome(workload, layout, device_rates(workload, one)).step * steps for one in RANGE)
    return low, expected, high
