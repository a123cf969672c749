"""`train` and `Run`: plans a new run or resumes an existing one, takes its steps, and describes the run directory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pellucid.arguments import callable_of, flag, path_of, shown, whole_number
from pellucid.corpus.documents import Source, sources_of
from pellucid.errors import PellucidError
from pellucid.events import Observer, Skipped, emit
from pellucid.files import MAKE_ROOM, cannot_write
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.gpt.torch_defaults import torch_defaults
from pellucid.runs.curves import LossCurve, loss_curve
from pellucid.runs.files import METRICS, RECORDS, RUN_FILE, stats_file, step_of
from pellucid.runs.metrics import missing_line, read_metrics, readable_lines
from pellucid.runs.plan import Plan
from pellucid.runtime.threads import limit_threads
from pellucid.training import checkpoint
from pellucid.training.checkpoint import KeptModel
from pellucid.training.execution import OneProcess
from pellucid.training.loop import ended, run_steps
from pellucid.training.memory_limit import retain_freed_memory
from pellucid.training.mesh import requested_mesh
from pellucid.training.option_table import takes_options
from pellucid.training.options import TrainingKeywords, TrainingOptions
from pellucid.training.placement import placed, refuse_missing_operators
from pellucid.training.plan_check import check_plan
from pellucid.training.planner import Job, make_plan, measure
from pellucid.training.prepare import new_run
from pellucid.training.pretraining import TrainingJob
from pellucid.training.run_arguments import check_same_arguments, save_arguments
from pellucid.training.throughput import Throughput
from pellucid.training.watch import MakeRecorder, Recorder, recorded_steps, steps_before_example


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and its progress.

    Attributes:
        path: the directory. plan: what the run does.
        step, tokens: done so far. stopped_learning: whether it ended before its last step, as `patience` asked for.
    """

    path: Path
    plan: Plan
    step: int
    tokens: int
    stopped_learning: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.plan.total_steps or self.stopped_learning

    @property
    def kept(self) -> KeptModel | None:
        """The step and the measurements of the model that a finished run keeps, if it keeps the best and not the last."""
        return checkpoint.best(self.path) if self.plan.keep_best and self.finished else None

    @property
    def answers(self) -> tuple[int, int, int] | None:
        """(right before, right now, of how many): held-out examples answered exactly by the model before and by `model/`.

        None of a run on text, and of one whose `metrics.jsonl` does not say.
        """
        lines = {line["step"]: line for line in self._lines() if "right" in line}
        step = self.kept.step if self.kept is not None else max(lines, default=0)
        if 0 not in lines or step not in lines:
            return None
        return lines[0]["right"], lines[step]["right"], lines[step]["examples"]

    @property
    def record(self) -> Path | None:
        """The record's file, if there is one: `pellucid.open` reads it."""
        path = self.path / RECORDS[self.plan.kind]
        return path if path.is_file() else None

    def model(self) -> GPT:
        """The newest model."""
        return load(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`: damaged ones are left out with a warning, one that a kill cut short without."""
        return read_metrics(self.path)

    def losses(self) -> LossCurve:
        """The training loss of each step so far: (steps, tokens, values), three (N,) arrays (`runs.curves.LossCurve`)."""
        return loss_curve(self._lines(), "loss")

    def held_out(self) -> LossCurve:
        """The loss on held-out text at each evaluation so far, the one before any step included, in the same form."""
        return loss_curve(self._lines(), "held_out_loss")

    def _lines(self) -> list[dict[str, Any]]:
        return self.metrics() if (self.path / METRICS).is_file() else []  # there is none before the first step


@takes_options(TrainingOptions)
def train(
    corpus: Source | Sequence[Source],
    out: str | Path,
    *,
    seed: int | None = None,
    record: bool = True,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    stop: Callable[[], bool] = lambda: False,
    make_recorder: MakeRecorder | None = None,
    **options: Unpack[TrainingKeywords],
) -> Run:
    """Trains a model on text, or resumes a run.

    Args:
        corpus: files or folders of UTF-8 text, or documents. May be empty, such as `[]`, where a run is resumed.
        out: the run directory; new, or that of the run to resume.
        seed: of first weights and order of windows; 0 if not given.
        record: keep `training.pellucid` in the run, from which pictures are drawn: some steps' gradients, updates and
            weights in summary, losses by token, an example. A run that was begun without it goes on without it.
        resume: go on with the run in `out` as it was planned, or start it if there is none yet and `corpus` is given: the
            same call may be repeated until the run is finished, and does nothing then. An argument that differs from the run's
            is refused, but for observers, stop, and `record=False`, which leaves the record as it is. The text is not read
            again.
        observers: called with every event. stop: asked after each step; True saves and returns.
        make_recorder: makes what writes the record (`pellucid.train` passes `interpret`'s); None: no record is written.
        options: `pellucid.training.options.TrainingOptions` documents each: the shape (preset, config or parameters), the
            budget (tokens, steps or minutes), the data (held_out, tokenizer, prompt, mask_documents), the recipe
            (learning_rate, batch_tokens, batch_ramp, optimizer, optimizer_settings, skip_spikes, patience), what is kept
            (checkpoint_every, keep, keep_best) and where it is computed (device, dtype).

    On Linux the process keeps the memory it frees from then on (`memory_limit.retain_freed_memory`).

    Returns:
        The run; `.finished` is False if it was stopped.

    Raises:
        PellucidError: unreadable or too little text, unknown preset, a run directory that exists, a damaged checkpoint, no
            such device.
    """
    checked = TrainingOptions(**options)
    job = TrainingJob(() if flag("resume", resume) and not corpus else sources_of(corpus), checked)
    return run_job(
        job, path_of("out", out), seed=seed, record=flag("record", record) and make_recorder is not None, resume=resume,
        observers=observers, stop=stop, make_recorder=make_recorder,
    )  # fmt: skip


@torch_defaults()
def dry_run(
    corpus: Source | Sequence[Source],
    *,
    seed: int | None = None,
    seconds: float = 3.0,
    observers: Sequence[Observer] = (),
    **options: Unpack[TrainingKeywords],
) -> tuple[Plan, Throughput]:
    """The plan that `train` would make with the same arguments, and the measured time of a step; nothing is kept.

    Args:
        seconds: how long to time steps of full batches. options: as `train`'s.

    Raises:
        PellucidError: as `train`.
    """
    limit_threads()
    seed = seed_of(seed)
    job = TrainingJob(corpus, TrainingOptions(**options))
    job.check()
    with TemporaryDirectory() as folder:
        workload = job.prepare(Path(folder), seed, observers)
        plan = make_plan(workload, job.options, seed=seed, record=True, observers=observers)
        return plan, measure(workload, plan, seconds, observers)


@torch_defaults()
def run_job(
    job: Job,
    run: Path,
    *,
    seed: int | None,
    record: bool,
    resume: bool,
    observers: Sequence[Observer],
    stop: Callable[[], bool],
    make_recorder: Callable[[Path, Plan, GPT, Any], Recorder] | None = None,
) -> Run:
    """Plans a new run, or reads the plan of an existing one, and takes its steps.

    Args:
        seed: None: 0 for a new run.
        resume: whether a run that is there goes on; without data in the job it has to be there.
        record: whether a new run will be recorded, and a resumed one goes on being recorded.
        make_recorder: makes a recorder of the run's steps, from batches of the job's own class. None: they are not watched.

    Raises:
        PellucidError: whatever keeps the run from starting or going on.
    """
    seed_of(seed)
    record = flag("record", record)
    callable_of("stop", stop)
    if not isinstance(observers, Sequence):
        raise PellucidError(f"observers must be a list of functions, not {shown(observers)}")
    for observer in observers:
        callable_of("an observer", observer)
    retain_freed_memory()
    limit_threads()
    goes_on = flag("resume", resume)
    mesh = requested_mesh(job.options)

    def prepare() -> tuple[Plan, bool]:
        return prepare_run(job, run, seed=seed, record=record, resume=goes_on, observers=observers, on_mesh=mesh is not None)

    def records(plan: Plan) -> bool:
        return record and plan.record and can_be_recorded(run, plan, observers)

    try:
        if mesh is not None:
            from pellucid.training.distributed.run import run_on_mesh

            plan, state = run_on_mesh(
                job, run, mesh, prepare=prepare, wants_recorder=records, make_recorder=make_recorder, observers=observers,
                stop=stop,
            )  # fmt: skip
        else:
            plan, going_on = prepare()
            with placed(plan) as device:
                model, batches = job.open(run, plan, verify=going_on)
                model.to(device)
                recorder: Recorder | None = None
                if make_recorder and records(plan):
                    recorder = make_recorder(run, plan, model, batches)
                listeners = observers if recorder is None else [*observers, recorder.observe]
                execution = OneProcess(run, plan, model, batches)
                state = run_steps(run, plan, execution, batches, observers=listeners, stop=stop, watcher=recorder)
    except OSError as error:
        if error.errno not in MAKE_ROOM:
            raise
        raise cannot_write(run, error, "the run") from error
    over = ended(plan, state) and state.step < plan.total_steps
    return Run(path=run, plan=plan, step=state.step, tokens=state.tokens, stopped_learning=over)


def prepare_run(
    job: Job, run: Path, *, seed: int | None, record: bool, resume: bool, observers: Sequence[Observer], on_mesh: bool = False
) -> tuple[Plan, bool]:
    """The plan of a run, made for a new one and read of one that goes on; and whether it goes on.

    Args:
        on_mesh: whether several processes take its steps.

    Raises:
        PellucidError: whatever keeps the run from starting or going on.
    """
    planned_seed = seed_of(seed)
    arguments = job.arguments() | job.options.compared() | ({} if seed is None else {"seed": planned_seed})
    if resume and ((run / RUN_FILE).exists() or not job.has_data):
        plan = Plan.load(run, kind=job.kind)
        if not on_mesh:
            refuse_missing_operators(compiled=plan.compiled)
        check_same_arguments(run, plan, arguments, observers)
        return plan, True
    if not on_mesh:
        job.check()  # a step's memory is that of one process
    with new_run(run) as draft:
        workload = job.prepare(draft, planned_seed, observers)
        plan = make_plan(workload, job.options, seed=planned_seed, record=record, observers=observers)
        check_plan(plan, draft)
        save_arguments(draft, arguments)
        plan.save(draft)
    return plan, False


def seed_of(seed: int | None) -> int:
    """The seed of a run; 0 if none was given. Raises PellucidError for what is none."""
    return 0 if seed is None else whole_number("seed", seed, -(2**63), 2**63 - 1)


def can_be_recorded(run: Path, plan: Plan, observers: Sequence[Observer]) -> bool:
    """Whether `metrics.jsonl` and `moments/` have what a record of the steps so far needs; observers receive what is lost."""
    newest = checkpoint.newest(run)
    step = 0 if newest is None else step_of(newest)
    if step == 0:
        return True
    try:
        lines = [line for line in readable_lines(run)[0] if line["step"] <= step]
    except OSError:
        lines = []
    lost, reason = run / METRICS, ""
    if missing := missing_line(lines, plan, step):
        reason = f"it has no line for {missing}"
    elif plan.kind == "train" and (unreadable := _unreadable_stats(run, plan, step)):
        lost, reason = unreadable, "it is missing or damaged"
    if reason:
        reason += ", so this run is not recorded any more; its record stays as it is"
        emit(observers, Skipped(path=str(lost), reason=reason))
    return not reason


def _unreadable_stats(run: Path, plan: Plan, step: int) -> Path | None:
    """The first file of statistics of a step before `step` that a record cannot be made from; None: there is none.

    Each has the tensors of the first, and that of the example's step more.
    """
    wanted: dict[str, torch.Size] = {}
    for recorded in recorded_steps(plan.total_steps):
        if recorded >= step:
            break
        path = stats_file(run, recorded)
        try:
            found = {name: tensor.shape for name, tensor in load_file(path).items()}
        except (OSError, SafetensorError):
            return path
        wanted = wanted or {name: shape for name, shape in found.items() if not name.startswith("example")}
        example = recorded != steps_before_example(plan.total_steps) or "example.ids" in found
        if not wanted or not example or any(found.get(name) != shape for name, shape in wanted.items()):
            return path
    return None
