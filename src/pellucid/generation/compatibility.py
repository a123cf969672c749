"""Checks that a tokenizer, or a draft model, belongs to a model. No torch here."""

from typing import Protocol

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.text.tokenizer import Tokenizer


class _WithVocabulary(Protocol):
    """A model with its tokenizer, if it has one."""

    @property
    def config(self) -> GPTConfig: ...
    @property
    def tokenizer(self) -> Tokenizer | None: ...


def check_vocabulary_size(tokenizer: Tokenizer | None, config: GPTConfig) -> None:
    """Refuses a tokenizer of another model. Raises PellucidError: its vocabulary is of another size."""
    if tokenizer is not None and tokenizer.vocab_size != config.vocab_size:
        raise PellucidError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, but the model {config.vocab_size}: they do not belong together"
        )


def check_draft_model(draft: _WithVocabulary, model: _WithVocabulary) -> None:
    """Refuses a draft model of another vocabulary.

    Raises:
        PellucidError: it names the difference.
    """
    theirs, ours = draft.config.vocab_size, model.config.vocab_size
    if theirs != ours:
        raise PellucidError(
            f"the draft model has {theirs} tokens, but the model {ours}: draft with a model of the same tokenizer"
        )
    if draft.tokenizer == model.tokenizer:
        return
    if draft.tokenizer is None or model.tokenizer is None:
        which, other = ("draft model", "model") if draft.tokenizer is None else ("model", "draft model")
        raise PellucidError(f"the {other} has a tokenizer, but the {which} none: draft with a model of the same tokenizer")
    first = next((i for i in range(ours) if draft.tokenizer.token_bytes(i) != model.tokenizer.token_bytes(i)), None)
    what = (
        "begin or end a text by other tokens" if first is None else f"differ first at token {first}, which is "
        f"{draft.tokenizer.token_bytes(first)!r} to the draft model and {model.tokenizer.token_bytes(first)!r} to the model"
    )
    raise PellucidError(f"the two tokenizers {what}: draft with a model of the same tokenizer")
