"""The options of a run, one line each: keywords of `train` and `finetune`, flags of their commands, and checks derive from it.

An option that is None was not given: the planner chooses then, and writes what it chose into `run.json`. Torch-free.
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from pellucid.arguments import as_float, instance, number, path_of, plain, shown, whole_number
from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.runs.lora import MAX_RANK, TARGETS, LoraSettings
from pellucid.runs.metrics import MAX_COUNT
from pellucid.runs.recipe import MAX_NUMBER
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.mesh import SCHEDULES
from pellucid.training.option_table import check_prompt, check_type, option, table


if TYPE_CHECKING:
    from pellucid.corpus.documents import Source


MAX_PARAMETERS = 10**15  # far beyond any model
MAX_MINUTES = 60 * 24 * 366 * 100.0  # a century
MAX_EXAMPLES = 1 << 20  # in a step
MAX_TIMEOUT = 60 * 60 * 24 * 7  # seconds: a week


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of training and fine-tuning alike.

    Attributes:
        steps: how many optimizer steps. minutes: how long; it becomes steps once, by timing a few.
        learning_rate: the peak of the schedule.
        prompt: what the run's samples continue.
        dtype: of the matrix products, "float32" or "bfloat16". None: bfloat16 where the device multiplies it natively.
        device: "cpu" (the default), "cuda", "cuda:1", "mps", or "auto": an accelerator if there is one.

    Raises:
        PellucidError: two options of one group, a value of another type, a number that is not above 0, or an unknown
            choice.
    """

    steps: int | None = option(int, "take this many steps", metavar="N", positive=True, group="budget")
    minutes: float | None = option(
        float, "train for about this long", metavar="N", positive=True, maximum=MAX_MINUTES, group="budget"
    )
    learning_rate: float | None = option(
        float, "peak of the schedule (default: by shape)", metavar="X", positive=True, maximum=MAX_NUMBER, group="rate"
    )
    prompt: str | None = option(str, "prompt of the run's samples (default: from held-out text)")
    dtype: str | None = option(
        str, "dtype of the matrix products (default: bfloat16 where the device has it)", choices=("float32", "bfloat16")
    )
    device: str | None = option(str, "cpu (default), cuda, mps, or auto: an accelerator if there is one", metavar="DEVICE")

    def __post_init__(self) -> None:
        groups: dict[str, list[str]] = {}
        for name, known in table(type(self)):
            value = getattr(self, name)
            if known.group:
                groups.setdefault(known.group, []).append(name)
            if value is None:
                continue
            value = plain(value)
            real = not isinstance(value, bool) and isinstance(value, numbers.Real)
            if known.positive and real and (as_float(value) or 0) <= 0:
                raise PellucidError(f"{name} must be a number above 0, not {shown(value)}")
            check_type(name, known.kind, value)
            if known.positive:
                whole = known.kind is int
                value = whole_number(name, value, 1, int(known.maximum)) if whole else number(name, value, 0, known.maximum)
            if known.choices and value not in known.choices:
                raise PellucidError(f"{name} must be {' or '.join(known.choices)}, not {shown(value)}")
            if known.kind is Mapping:
                value = {key: plain(one) for key, one in value.items()}
            elif real and not isinstance(value, int | float):  # a Fraction, or a number of another library
                value = int(value) if known.kind is int else float(value)
            object.__setattr__(self, name, value)  # a plan holds it as JSON
        for names in groups.values():
            if sum(getattr(self, name) is not None for name in names) > 1:
                raise PellucidError(f"give one of {', '.join(names)}, not several")
        if self.prompt is not None:
            check_prompt(self.prompt)

    def given(self) -> dict[str, Any]:
        """The options that were given, by name."""
        return {name: value for name, _ in table(type(self)) if (value := getattr(self, name)) is not None}

    def compared(self) -> dict[str, Any]:
        """Those that have to be the same where a run is resumed."""
        names = {name for name, known in table(type(self)) if not known.elastic}
        return {name: value for name, value in self.given().items() if name in names}

    def planned(self) -> dict[str, Any]:
        """Those that a plan takes as they are."""
        names = {name for name, known in table(type(self)) if known.planned}
        return {name: value for name, value in self.given().items() if name in names}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """The options of a training run.

    Attributes:
        preset, config, parameters: the model's shape, at most one of them; `preset="cpu-2m"` if none is given. With
            `parameters`, about so many, shape, learning rate and batch follow from the number (`gpt.scaling`). The vocabulary
            is the tokenizer's.
        tokens: how many training tokens. Without any budget: 20 a parameter, at most 8 times through the text.
        held_out: text to measure on and never to train on. None: about 5 % of the corpus, whole documents where it can.
        tokenizer: a tokenizer, "r50k" (GPT-3's own), "train" (one trained on this text, of the shape's vocabulary size), or a
            directory that holds one. None: "r50k" for GPT presets, else "train".
        batch_tokens: tokens in a full batch. None: the preset's.
        batch_ramp: whether the batch grows to `batch_tokens` in GPT-3's proportions (`Recipe.ramp`). A run of so many steps
            then sees fewer tokens; one of so many tokens takes more steps.
        checkpoint_every: steps between checkpoints. None: 20 in a run, and one at the end.
        keep: how many checkpoints stay, the newest; 2 if not given.
        keep_best: whether `RUN/model` ends as the model with the lowest held-out loss (it also stays in `best/`).
        skip_spikes: skip the update of a step whose loss or gradient norm lies more than so many standard deviations above
            those of up to 128 steps before it (`spike_guard`). None: none is skipped.
        patience: end the run when held-out loss has not fallen in so many evaluations in a row. None: it takes all its steps.
        optimizer: "adamw" (GPT-3's, and the default), "muon", or another of `torch.optim` by name (`optimizers`).
        optimizer_settings: further arguments of its class, such as {"momentum": 0.9}.
        mask_documents: whether no token attends to another document than its own (`gpt.document_mask`). None: as in GPT-3, it
            may.
        recompute: whether the backward pass computes each block's activations again instead of keeping them.
        mesh: how torchrun's processes divide the work, such as "dp=2,tp=2" (`training.mesh`). None: all have rows of the batch.
        schedule: of pipeline stages, "1f1b" (the default) or "interleaved" (two stages a rank).
        collective_timeout: seconds after which a rank that does not answer ends the run. None: 600.

        The last three may differ when a run is resumed.
    """

    preset: str | None = option(str, "the model's shape (default cpu-2m)", group="shape")
    config: "GPTConfig | None" = option(None, "a shape of one's own", group="shape")  # noqa: RUF009
    parameters: int | None = option(
        int, "number of parameters, such as 10M; sets shape, learning rate and batch", metavar="N", group="shape"
    )
    tokens: int | None = option(
        int, "train on this many tokens", metavar="N", positive=True, maximum=MAX_COUNT, group="budget"
    )
    held_out: "Source | Sequence[Source] | None" = option(  # noqa: RUF009
        str, "text for the held-out loss; may be repeated", metavar="TEXT", repeated=True
    )
    tokenizer: "Tokenizer | str | None" = option(  # noqa: RUF009
        str, '"r50k", "train" or a directory (default: by preset)', metavar="WHAT"
    )
    batch_tokens: int | None = option(int, "tokens in a step (default: the preset's)", metavar="N", positive=True)
    batch_ramp: bool | None = option(bool, "grow the batch to its full size in GPT-3's proportions")
    checkpoint_every: int | None = option(
        int, "interval of checkpoints (default: 20 in a run)", metavar="STEPS", positive=True, planned=True
    )
    keep: int | None = option(
        int, "number of newest checkpoints to keep (default 2)", metavar="N", positive=True, planned=True
    )
    keep_best: bool | None = option(bool, "end with the model of the lowest held-out loss, not the last one", planned=True)
    skip_spikes: float | None = option(
        float, "skip a step whose loss or gradient is Z standard deviations above those before it (default: none)",
        metavar="Z", positive=True, maximum=MAX_NUMBER, planned=True,
    )  # fmt: skip
    patience: int | None = option(
        int, "stop when held-out loss has not fallen in N evaluations (default: never)", metavar="N", positive=True,
        planned=True,
    )  # fmt: skip
    optimizer: str | None = option(
        str, "adamw (default), muon, or another of torch.optim, such as sgd", metavar="NAME", planned=True
    )
    optimizer_settings: Mapping[str, Any] | None = option(
        Mapping, "an argument of the optimizer's class, such as momentum=0.9; may be repeated", metavar="NAME=VALUE",
        planned=True, flag="optimizer-setting",
    )  # fmt: skip
    mask_documents: bool | None = option(bool, "no attention across documents (default: as in GPT-3, across)", planned=True)
    recompute: bool | None = option(bool, "compute activations again in the backward pass, not keep them", planned=True)
    mesh: str | None = option(
        str, "ranks along each axis, under torchrun: dp=2,tp=2,pp=2,cp=1 (default: all dp)", metavar="AXES", elastic=True
    )
    schedule: str | None = option(str, "of pipeline stages (default 1f1b)", choices=SCHEDULES, elastic=True)
    collective_timeout: int | None = option(
        int, "end the run when a rank has not answered for so long (default 600)", metavar="SECONDS", positive=True,
        maximum=MAX_TIMEOUT, elastic=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parameters is not None:
            whole_number("parameters", self.parameters, 1, MAX_PARAMETERS)
        if self.config is not None:
            instance("config", self.config, GPTConfig, "a GPTConfig, such as GPTConfig.preset(\"tiny\")")
        if self.tokenizer is not None and not isinstance(self.tokenizer, Tokenizer):
            path_of("tokenizer", self.tokenizer)
        if self.optimizer_settings and self.optimizer is None:
            raise PellucidError("optimizer settings need an optimizer: name it, too")


@dataclass(frozen=True, kw_only=True)
class FinetuningOptions(RunOptions):
    """The options of a fine-tuning run.

    Attributes:
        epochs: times through the examples. Without any budget: 4.
        batch: examples in a step (for plain text: windows). None: 16, fewer if there are few examples.
        learning_rate_multiplier: the peak rate as a multiple of 0.5 / d_model, the rate for training a model of this width from
            scratch; instead of `learning_rate`. None: 0.2, and twenty times that with LoRA.
        prompt_loss_weight: the weight of each prompt token in the training loss, from 0 (the default: completions only) to 1.
            The service of 2021 had 0.01.
        choose: which model the run keeps: the "best" on held-out examples (the default), or the "last".
        recipe: "2021": the defaults of OpenAI's fine-tuning service of that year (`finetuning.service_2021`), which other
            options override.
        lora_rank: freeze all weights and train adapters of this rank (LoRA). None: all weights are trained.
        lora_alpha: the adapters' scale is lora_alpha / lora_rank. None: the rank, a scale of 1.
        lora_targets: the adapted matrices: names in `runs.lora.TARGETS`, joined by commas or in a list. None: q and v.
    """

    epochs: float | None = option(float, "times through the examples (default 4)", metavar="N", positive=True, group="budget")
    batch: int | None = option(
        int, "examples in a step (default 16, fewer for few examples)", metavar="N", positive=True, maximum=MAX_EXAMPLES
    )
    learning_rate_multiplier: float | None = option(
        float, "peak rate, as a multiple of that for training from scratch (default 0.2; LoRA: 4)", metavar="X", positive=True,
        maximum=MAX_NUMBER, group="rate",
    )  # fmt: skip
    prompt_loss_weight: float | None = option(
        float, "weight of prompt tokens in the training loss, 0 to 1 (default 0: completions only)", metavar="X", planned=True
    )
    choose: str | None = option(str, "which model the run keeps (default best)", choices=("best", "last"))
    recipe: str | None = option(str, "defaults of OpenAI's fine-tuning service of 2021", choices=("2021",))
    lora_rank: int | None = option(
        int, "train adapters of this rank, and freeze the weights (LoRA)", metavar="R", positive=True, maximum=MAX_RANK
    )
    lora_alpha: float | None = option(
        float, "the adapters' scale times their rank (default: the rank)", metavar="X", positive=True, maximum=MAX_NUMBER
    )
    lora_targets: "Sequence[str] | str | None" = option(  # noqa: RUF009
        str, f"matrices with adapters (default q,v): {', '.join(TARGETS)}", metavar="LIST"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt_loss_weight is not None:
            weight = number("prompt_loss_weight", self.prompt_loss_weight, 0, 1)
            object.__setattr__(self, "prompt_loss_weight", weight)
        if self.lora_rank is None and (self.lora_alpha is not None or self.lora_targets is not None):
            raise PellucidError("lora_alpha and lora_targets go with lora_rank: give the rank, such as 8")
        if (lora := self.lora) is not None and self.lora_targets is not None:
            object.__setattr__(self, "lora_targets", list(lora.targets or ()))  # as they are compared when a run is resumed

    @property
    def lora(self) -> LoraSettings | None:
        """The settings of the adapters; None: all weights are trained.

        Raises:
            PellucidError: as `LoraSettings`.
        """
        if self.lora_rank is None:
            return None
        return LoraSettings(rank=self.lora_rank, alpha=self.lora_alpha, targets=self.lora_targets)


class RunKeywords(TypedDict, total=False):
    """`RunOptions` as keywords, for type checkers; a test holds the two together."""

    steps: int | None
    minutes: float | None
    learning_rate: float | None
    prompt: str | None
    dtype: str | None
    device: str | None


class TrainingKeywords(RunKeywords, total=False):
    """`TrainingOptions` as keywords of `train`."""

    preset: str | None
    config: "GPTConfig | None"
    parameters: int | None
    tokens: int | None
    held_out: "Source | Sequence[Source] | None"
    tokenizer: "Tokenizer | str | None"
    batch_tokens: int | None
    batch_ramp: bool | None
    checkpoint_every: int | None
    keep: int | None
    keep_best: bool | None
    skip_spikes: float | None
    patience: int | None
    optimizer: str | None
    optimizer_settings: Mapping[str, Any] | None
    mask_documents: bool | None
    recompute: bool | None
    mesh: str | None
    schedule: str | None
    collective_timeout: int | None


class FinetuningKeywords(RunKeywords, total=False):
    """`FinetuningOptions` as keywords of `finetune`."""

    epochs: float | None
    batch: int | None
    learning_rate_multiplier: float | None
    prompt_loss_weight: float | None
    choose: str | None
    recipe: str | None
    lora_rank: int | None
    lora_alpha: float | None
    lora_targets: "Sequence[str] | str | None"
