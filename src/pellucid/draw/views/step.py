"""What the figure `step` shows of a training record: one step of the run, and one example before and after its update."""

from dataclasses import dataclass
from math import exp, isfinite

from pellucid.draw.film.nodes import Shows
from pellucid.draw.views.model_info import RecordedModel, optional_chunk, read_model
from pellucid.draw.views.pieces import Pieces, read_pieces
from pellucid.draw.views.training import TrainingHistory, read_training
from pellucid.record import Record
from pellucid.runs.recipe import DEFAULT_OPTIMIZER


SHOWN = 5  # of the likeliest tokens; the label makes one more where it is not among them


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyToken:
    """A token that could have come next.

    Attributes:
        before, after: its probability before and after the update. shows: where each stands in the record (replayed).
        known: whether `after` is its probability. It is not where the token left the likeliest: its probability is then below
            `after`, which is that of the last token that the record lists.
    """

    token: int
    before: float
    after: float
    shows: tuple[Shows, Shows]
    label: bool
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """The example that is followed (`training/example/*`, replayed).

    Attributes:
        position: of its last feature in the window. features: the tokens up to it (ids given). label: the next token.
        losses: -log p of the label in nats, before and after the update. shows: where these stand in the record.
        candidates: the likeliest next tokens before the update, in order, and the label.
        corrected: whether the likeliest token was wrong before the update and is the label after it, by which the position was
            chosen; False where no position of the window has that; None in a record of an earlier version, which does not say.
    """

    position: int
    features: tuple[int, ...]
    label: int
    losses: tuple[float, float]
    shows: tuple[Shows, Shows]
    candidates: tuple[LikelyToken, ...]
    corrected: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixNorms:
    """What a step did to each weight matrix, by its name.

    Attributes:
        row: of the step among the recorded steps; -1 where it is none of them. step: its number.
        gradients: the norm of its gradient before clipping (`training/moments/gradients`, replayed); None if not recorded.
        changes: the norm of its change over that of the matrix (`training/moments/updates` and `.../weights`, replayed).
    """

    row: int
    step: int
    gradients: dict[str, float] | None
    changes: dict[str, float] | None

    def gradient_source(self, place: int) -> Shows:
        """Where the gradient norm of the matrix at that place among the matrices stands."""
        return Shows("training/moments/gradients", (self.row, place), self.step - 1, "replayed")

    def change_source(self, place: int) -> Shows:
        """Where the norm of its change stands."""
        return Shows("training/moments/updates", (self.row, place), self.step - 1, "replayed")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """The figure's values.

    Attributes:
        example: None where the record holds none. norms: of the example's step, else of one early in the run.
        grad_norm: of the whole gradient of that step (`training/steps/grad_norm`, replayed). learning_rate: of that step
            (`training/steps/lr`, given). clip: the norm that gradients are clipped to (plan, given); None if not known.
        batch_tokens: tokens that a step learns from (plan, given), None if not known. ramps: whether early steps have fewer.
        optimizer: its name (plan, given).
    """

    model: RecordedModel
    history: TrainingHistory
    pieces: Pieces
    example: TrainingExample | None
    norms: MatrixNorms
    grad_norm: float
    learning_rate: float
    clip: float | None
    batch_tokens: int | None
    ramps: bool
    optimizer: str


def step_view(record: Record) -> StepView:
    """Reads a training record. Raises MissingChunk where it holds no losses by step, or no recorded steps."""
    model, history, example = read_model(record), read_training(record), _read_example(record)
    norms = _read_norms(record, int(record["training/example/step"]) if example else None)
    rate, norm = record["training/steps/lr"].tolist(), record["training/steps/grad_norm"].tolist()
    plan = optional_chunk(record, "training/plan", {})
    return StepView(
        model=model,
        history=history,
        pieces=read_pieces(record),
        example=example,
        norms=norms,
        grad_norm=norm[norms.step - 1],
        learning_rate=rate[norms.step - 1],
        clip=plan.get("recipe", {}).get("clip"),
        batch_tokens=plan["batch"] * history.shape.n_ctx if plan else None,
        ramps=bool(plan.get("recipe", {}).get("ramp_tokens")),
        optimizer=plan.get("optimizer", DEFAULT_OPTIMIZER),
    )


def _read_example(record: Record) -> TrainingExample | None:
    if "training/example/ids" not in record:
        return None
    step, position = int(record["training/example/step"]), int(record["training/example/track"])
    ids, losses = record["training/example/ids"].tolist(), record["training/example/loss"].tolist()
    listed, logs = record["training/example/topk_ids"].tolist(), record["training/example/topk_logprobs"].tolist()
    label, before, after = ids[position + 1], losses[0][position], losses[1][position]
    of_losses = [Shows("training/example/loss", (row, position), step, "replayed") for row in (0, 1)]
    shows = (of_losses[0], of_losses[1])
    of_label = LikelyToken(token=label, before=exp(-before), after=exp(-after), shows=shows, label=True)
    places = {token: i for i, token in enumerate(listed[1])}
    found = []
    for i, (token, value) in enumerate(zip(listed[0], logs[0], strict=True)):
        if token == label:
            found.append(of_label)
        elif i < SHOWN:
            place = places.get(token, len(listed[1]) - 1)
            of_token = [Shows("training/example/topk_logprobs", at, step, "replayed") for at in ((0, i), (1, place))]
            found.append(
                LikelyToken(
                    token=token, before=exp(value), after=exp(logs[1][place]), shows=(of_token[0], of_token[1]), label=False,
                    known=token in places,
                )
            )  # fmt: skip
    if of_label not in found:
        found.append(of_label)
    stated = optional_chunk(record, "training/example/corrected", None)
    corrected = None if stated is None else bool(stated)
    assert not corrected or (listed[0][0] != label and listed[1][0] == label), "wrong before, right after"
    return TrainingExample(
        position=position, features=tuple(ids[: position + 1]), label=label, losses=(before, after), shows=shows,
        candidates=tuple(found), corrected=corrected,
    )  # fmt: skip


def _read_norms(record: Record, step: int | None) -> MatrixNorms:
    """The norms of a step; without one, of the recorded step nearest to an eighth of the run.

    A recorded step is named by the number of steps done before it, so step s is recorded as s - 1.
    """
    recorded_steps = record["training/moments/steps"].tolist()
    wanted = max(1, recorded_steps[-1] // 8) if step is None else step
    nearest = min(range(len(recorded_steps)), key=lambda i: abs(recorded_steps[i] + 1 - wanted))
    if step is not None and recorded_steps[nearest] + 1 != step:
        return MatrixNorms(row=-1, step=step, gradients=None, changes=None)
    names = record["training/matrices"]

    def row(name: str) -> dict[str, float] | None:
        rows = optional_chunk(record, f"training/moments/{name}", None)
        if rows is None or not all(map(isfinite, rows[nearest])):
            return None
        return dict(zip(names, rows[nearest].tolist(), strict=True))

    updates, weights = row("updates"), row("weights")
    changes = None if updates is None or weights is None else {name: updates[name] / weights[name] for name in names}
    return MatrixNorms(row=nearest, step=recorded_steps[nearest] + 1, gradients=row("gradients"), changes=changes)
