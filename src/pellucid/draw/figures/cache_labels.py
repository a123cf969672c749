"""What the figures `tokens` and `xray` say of the KV cache: which keys and values it holds, and how many bytes they take."""

from pellucid.draw.views.labels import in_bytes
from pellucid.draw.views.tokens import GenerationStep, TokensView


# tokens

DECODE = "only the newest token goes through the model; the keys and values of the others are in its cache"
CHART_TITLE = "keys and values"
TRACK_STATES = {
    1: "computed in this step",
    2: "kept in the cache",
    3: "kept by some blocks, behind the band of others",
}  # state of a track in generation/cells -> words


def before_step(step: GenerationStep) -> str:
    """How many tokens are in the cache before a step."""
    return "nothing in the cache yet" if step.number == 0 else f"{len(step.context) - 1} more are in the cache"


def after_step(step: GenerationStep) -> str:
    """The bytes in the cache after a step."""
    return f"cache {in_bytes(step.cache)}"


def after_step_exactly(step: GenerationStep) -> str:
    """The same in words and without rounding, beside those after the last step."""
    return f"keys and values of {len(step.context)} tracks: {step.cache:,} bytes; after the last step {step.cache_last:,}"


def at_the_end(step: GenerationStep) -> str:
    """A caption: the bytes in the cache after the last step."""
    return f"The cache holds {in_bytes(step.cache)} of keys and values at the end."


def alt_at_the_end(view: TokensView) -> str:
    """The same for alt text."""
    return f"After {len(view.steps)} steps the cache holds {in_bytes(view.steps[-1].cache)}."


def bytes_note(view: TokensView) -> str:
    """How the bytes follow from the model's shape."""
    shape = view.model.config
    return (
        f"The cache's bytes follow from the shape: two vectors of {shape.d_model} numbers of {view.value_bytes} bytes in each "
        f"of {shape.n_layers} blocks for each track, a banded block's for its band only."
    )


# xray

COMPUTED_CELL, KEPT_CELL, DROPPED_CELL = "computed", "kept", "dropped"  # the legend
HOLLOW_NOTE = "A hollow cell's keys and values are kept, not computed again; its word was recorded when it was computed."
DASHED_NOTE = "A dashed cell's keys and values have been dropped: no later track of its block reads so far back."


def fed_back(shown: int, steps: int) -> str:
    """A caption: the drawn tokens are fed back; `shown` of `steps` such steps are on the picture."""
    return (
        "Each token drawn is fed back as the next input. Only its own track is computed: the keys and values of the "
        f"others are kept (hollow). Shown: {shown} of {steps} further steps."
    )
