"""The tokenizer of a model directory, in any of its published formats, fitted to the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.gpt.config import GPTConfig
from pellucid.text import tokenizer_files
from pellucid.text.tokenizer import Tokenizer


def read_tokenizer(directory: Path, config: GPTConfig, values: Mapping[str, Any] | None = None) -> tuple[Tokenizer | None, str]:
    """A directory's tokenizer, its vocabulary padded or cut to the model's.

    Args:
        values: the directory's config.json, if that has been read.

    Returns:
        (tokenizer, ""), or (None, the reason): no files, of an unsupported kind, or another model's.

    Raises:
        PellucidError: a damaged file.
    """
    if reason := tokenizer_files.missing(directory):
        return None, f"this model has no usable tokenizer: {reason}"
    try:
        tokenizer = Tokenizer.from_table(tokenizer_files.read_table(directory, end_id=config.end_id, model=values))
    except UnsupportedTokenizerError as error:
        return None, str(error)
    try:
        # An end-of-text id outside of the vocabulary would never be generated: the tokenizer's own is kept.
        end = config.end_id if config.end_id < tokenizer.vocab_size else None
        return tokenizer.renumbered(vocab_size=config.vocab_size, eot=end), ""
    except PellucidError as error:
        return None, f"cannot use the tokenizer in {directory}: {error}"
