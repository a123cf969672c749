"""The tokenizer of a model directory, in any of its published formats."""

from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.text import tokenizer_json, vocab_files
from pellucid.text.tokenizer import Tokenizer


# Files of unsupported tokenizers, by kind.
UNSUPPORTED = {
    "tokenizer.model": "SentencePiece", "spiece.model": "SentencePiece", "sentencepiece.bpe.model": "SentencePiece",
    "spm.model": "SentencePiece", "vocab.txt": "WordPiece",
}  # fmt: skip


def read_tokenizer(directory: Path, config: GPTConfig) -> tuple[Tokenizer | None, str]:
    """A directory's tokenizer, its vocabulary padded to the model's.

    Returns:
        (tokenizer, ""), or (None, the reason): no files, or files of an unsupported kind.

    Raises:
        PellucidError: a damaged file, or more tokens than the model has.
    """
    if (directory / tokenizer_json.FILE_NAME).exists():
        file = directory / tokenizer_json.FILE_NAME
        tokenizer = Tokenizer.load(directory)
    elif (directory / vocab_files.VOCABULARY).exists() and (directory / vocab_files.MERGES).exists():
        file = directory / vocab_files.VOCABULARY
        tokenizer = vocab_files.read(directory)
    else:
        for name, kind in UNSUPPORTED.items():
            if (directory / name).exists():
                return None, f"the tokenizer in {directory} is {kind}'s ({name}), which this version does not read"
        return None, f"this model has no tokenizer: there is no {tokenizer_json.FILE_NAME} in {directory}"
    try:
        # An end-of-text id outside of the vocabulary would never be generated: the tokenizer's own is kept.
        end = config.end_id if config.end_id < tokenizer.vocab_size else None
        return tokenizer.renumbered(vocab_size=config.vocab_size, eot=end), ""
    except PellucidError as error:
        raise PellucidError(f"{file}: {error}") from None
