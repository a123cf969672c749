"""The texts about the KV cache in the figures `tokens` and `xray`.

The runners keep every position of every block, so that prefixes can be reused. What a banded block needs is less: the bytes by
shape on these figures are those of an evicting cache, which drops what no later query can read; the runner's own bytes are
measured.
"""

from pellucid.draw.views.labels import in_bytes
from pellucid.draw.views.tokens import GenerationStep, TokensView


# tokens

DECODE = "only the newest token goes through the model; the keys and values of the others are in its cache"
CHART_TITLE = "evicting cache would hold"
POSITION_STATES = {
    1: "computed in this step",
    2: "in the cache",
    3: "in the cache; in some blocks no later query can read it",
}  # state of a position in generation/cells -> words


def before_step(step: GenerationStep) -> str:
    """How many tokens are in the cache before a step."""
    return "nothing in the cache yet" if step.number == 0 else f"{len(step.context) - 1} more are in the cache"


def after_step(step: GenerationStep) -> str:
    """The bytes of an evicting cache after a step."""
    return f"evicting cache {in_bytes(step.cache)}"


def after_step_exactly(step: GenerationStep) -> str:
    """The same in words and without rounding, beside those after the last step."""
    return f"an evicting cache of {len(step.context)} tracks: {step.cache:,} bytes; after the last step {step.cache_last:,}"


def at_the_end(step: GenerationStep) -> str:
    """A caption: the bytes of an evicting cache after the last step."""
    return f"An evicting cache would hold {in_bytes(step.cache)} of keys and values at the end."


def alt_at_the_end(view: TokensView) -> str:
    """The same for alt text."""
    return f"After {len(view.steps)} steps an evicting cache would hold {in_bytes(view.steps[-1].cache)}."


def allocated(nbytes: int) -> str:
    """The bytes that the runner allocated for the sequence."""
    return f"the runner's cache: {in_bytes(nbytes)}"


def bytes_note(view: TokensView) -> str:
    """How the bytes follow from the model's shape."""
    shape = view.model.config
    return (
        f"An evicting cache's bytes follow from the shape: two vectors of {shape.d_model} numbers of {view.value_bytes} bytes "
        f"in each of {shape.n_layers} blocks for each track; where a band ends, no later query can read what lies before it. "
        "The runner keeps every track, so that a beginning can be used again."
    )


# xray

COMPUTED_CELL, KEPT_CELL, DROPPED_CELL = "computed", "kept", "not read again"  # the legend
HOLLOW_NOTE = "A hollow cell's keys and values are kept, not computed again; its word was recorded when it was computed."
DASHED_NOTE = (
    "No later query of its block can read a dashed cell's keys and values. The runner keeps them all the same, so that a "
    "beginning can be used again; an evicting cache would drop them."
)


def fed_back(shown: int, steps: int) -> str:
    """A caption: the drawn tokens are fed back; `shown` of `steps` such steps are on the picture."""
    return (
        "Each token drawn is fed back as the next input. Only its own track is computed: the keys and values of the "
        f"others are kept (hollow). Shown: {shown} of {steps} further steps."
    )
