"""The texts about the KV cache in the figures `tokens` and `xray`.

The runners keep every position of every block, so that prefixes can be reused. What a banded block needs is less: the bytes by
shape on these figures are those of an evicting cache, which drops what no later query can read; the runner's own bytes are
measured.
"""

from pellucid.draw.views.labels import in_bytes
from pellucid.draw.views.tokens import GenerationStep, TokensView
from pellucid.languages import mark, tr


# tokens

DECODE = mark("only the newest token goes through the model; the keys and values of the others are in its cache")
CHART_TITLE = mark("evicting cache would hold")
POSITION_STATES = {
    1: mark("computed in this step"),
    2: mark("in the cache"),
    3: mark("in the cache; in some blocks no later query can read it"),
}  # state of a position in generation/cells -> words


def before_step(step: GenerationStep) -> str:
    """How many tokens are in the cache before a step."""
    if step.number == 0:
        return tr("nothing in the cache yet")
    return tr("{count} more are in the cache", count=len(step.context) - 1)


def after_step(step: GenerationStep) -> str:
    """The bytes of an evicting cache after a step."""
    return tr("evicting cache {bytes}", bytes=in_bytes(step.cache))


def after_step_exactly(step: GenerationStep) -> str:
    """The same in words and without rounding, beside those after the last step."""
    return tr(
        "an evicting cache of {positions} positions: {bytes:,} bytes; after the last step {last:,}",
        positions=len(step.context), bytes=step.cache, last=step.cache_last,
    )  # fmt: skip


def at_the_end(step: GenerationStep) -> str:
    """A caption: the bytes of an evicting cache after the last step."""
    return tr("An evicting cache would hold {bytes} of keys and values at the end.", bytes=in_bytes(step.cache))


def alt_at_the_end(view: TokensView) -> str:
    """The same for alt text."""
    held = in_bytes(view.steps[-1].cache)
    return tr("After {steps} steps an evicting cache would hold {bytes}.", steps=len(view.steps), bytes=held)


def allocated(nbytes: int) -> str:
    """The bytes that the runner allocated for the sequence."""
    return tr("the runner's cache: {bytes}", bytes=in_bytes(nbytes))


def bytes_note(view: TokensView) -> str:
    """How the bytes follow from the model's shape."""
    shape = view.model.config
    return tr(
        "An evicting cache's bytes follow from the shape: two vectors of {width} numbers of {bytes} bytes in each of {blocks} "
        "blocks for each position; where a band ends, no later query can read what lies before it. The runner keeps every "
        "position, so that a beginning can be used again.", width=shape.d_model, bytes=view.value_bytes, blocks=shape.n_layers,
    )  # fmt: skip


# xray

COMPUTED_CELL, KEPT_CELL, DROPPED_CELL = mark("computed"), mark("kept"), mark("not read again")  # the legend
HOLLOW_NOTE = mark(
    "A hollow cell's keys and values are kept, not computed again; its word was recorded when it was computed."
)
DASHED_NOTE = mark(
    "No later query of its block can read a dashed cell's keys and values. The runner keeps them all the same, so that a "
    "beginning can be used again; an evicting cache would drop them."
)


def fed_back(shown: int, steps: int) -> str:
    """A caption: the drawn tokens are fed back; `shown` of `steps` such steps are on the picture."""
    return tr(
        "Each token drawn is fed back as the next input. Only that position is computed: the keys and values of the "
        "others are kept (hollow). Shown: {shown} of {steps} further steps.", shown=shown, steps=steps,
    )  # fmt: skip
