"""The tokenizer of a directory, in whichever of its published forms."""

from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.gpt.config import GPTConfig
from pellucid.text import tokenizer_json, vocab_files
from pellucid.text.tokenizer import Tokenizer


# Files of kinds that this house does not read, by what they are.
OTHERS = {
    "tokenizer.model": "SentencePiece", "spiece.model": "SentencePiece", "sentencepiece.bpe.model": "SentencePiece",
    "spm.model": "SentencePiece", "vocab.txt": "WordPiece",
}  # fmt: skip


def read_tokenizer(directory: Path, config: GPTConfig) -> tuple[Tokenizer | None, str]:
    """A directory's tokenizer, its vocabulary padded to the model's.

    Returns:
        It, and ""; or None, and why there is none: no files, or files of a kind that is not read here.

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
        for name, kind in OTHERS.items():
            if (directory / name).exists():
                return None, f"the tokenizer in {directory} is {kind}'s ({name}), which this version does not read"
        return None, f"this model has no tokenizer: there is no {tokenizer_json.FILE_NAME} in {directory}"
    try:
        # An end that the model's config names outside of the vocabulary never comes: the tokenizer's own stays.
        end = config.end_id if config.end_id < tokenizer.vocab_size else None
        return tokenizer.renumbered(vocab_size=config.vocab_size, eot=end), ""
    except PellucidError as error:
        raise PellucidError(f"{file}: {error}") from None
