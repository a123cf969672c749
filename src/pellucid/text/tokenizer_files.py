"""Reading the tokenizer of a directory, in any form that models of GPT-3's family are published with.

`tokenizer.json`, or `vocab.json` with `merges.txt` as GPT-2's was published; beside them `tokenizer_config.json`,
`special_tokens_map.json` and `added_tokens.json`. What `transformers` makes of them is the right reading; what cannot be read
that way is refused with the name of the file and the key (docs/formats.md: tokenizer files).
"""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.strict_json import parse_json, read_bytes
from pellucid.text import tokenizer_json
from pellucid.text.special_tokens import SpecialTokenFiles, assign_ids
from pellucid.text.token_table import TokenTable
from pellucid.text.vocabulary import build_token_table


TOKENIZER, VOCABULARY, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
CONFIG, SPECIAL_MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
MAX_FILE_BYTES = 1 << 26  # a vocabulary of 250,000 tokens is some 20 MB
# Files of unsupported tokenizers, by kind.
UNSUPPORTED = {
    "tokenizer.model": "SentencePiece", "spiece.model": "SentencePiece", "sentencepiece.bpe.model": "SentencePiece",
    "spm.model": "SentencePiece", "vocab.txt": "WordPiece",
}  # fmt: skip
# Classes of transformers that make GPT-2's tokenizer of a vocabulary, and those that take tokenizer.json as it is.
GPT2_CLASSES = ("GPT2Tokenizer", "CodeGenTokenizer")
FILE_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
GPT2_MODELS = ("gpt2", "gpt_neo", "opt")  # model types whose tokenizer is a GPT2Tokenizer unless a file names another class
# Keys of tokenizer_config.json that are read here; `special_tokens` reads more. Any other key changes no token of a text.
FLAGS = ("add_prefix_space", "add_bos_token", "add_eos_token", "split_special_tokens")
CONFIG_KEYS = ("tokenizer_class", "auto_map", *FLAGS)


def missing(directory: Path) -> str:
    """Why a directory has no tokenizer that can be read; "" where it has one."""
    if (directory / TOKENIZER).exists() or ((directory / VOCABULARY).exists() and (directory / MERGES).exists()):
        return ""
    for name, kind in UNSUPPORTED.items():
        if (directory / name).exists():
            return f"{name} in {directory} is {kind}'s, which this version does not read"
    alone = [name for name in (VOCABULARY, MERGES) if (directory / name).exists()]
    return f"there is no {TOKENIZER} in {directory}" + f", and {alone[0] if alone else ''} alone is none" * bool(alone)


def read_table(path: Path, *, end_id: int | None = None, model: Mapping[str, Any] | None = None) -> TokenTable:
    """The token table of a directory, or of a `tokenizer.json` and the files beside it.

    Args:
        end_id: ends a text where no file says which token does. model: the values of config.json, if that has been read.

    Raises:
        UnsupportedTokenizerError: it would be encoded differently than its maker meant; the message names file and key.
        PellucidError: no such file, or a damaged one.
    """
    directory = path if path.is_dir() else path.parent
    file = path / TOKENIZER if path.is_dir() else path
    if path.is_dir() and not file.exists():
        if reason := missing(path):
            raise PellucidError(f"no tokenizer at {file}: {reason}")
        file = path / VOCABULARY
    config = _object(directory / CONFIG)
    with _named(directory / CONFIG):
        gpt2 = _is_gpt2(config, directory / "config.json" if model is None else model, file.name)
        prefix_space = _prefix_space(config)
    special_map, added = _object(directory / SPECIAL_MAP), _object(directory / ADDED)
    with _named(file):
        if file.name == VOCABULARY:
            if not gpt2:
                raise UnsupportedTokenizerError(f"its class {config['tokenizer_class']} needs a {TOKENIZER}")
            if config.get("add_eos_token"):
                raise UnsupportedTokenizerError(f"add_eos_token in {CONFIG} puts a token after every text")
            vocabulary = _read(file, "vocabulary: token to id")
            if not isinstance(vocabulary, dict):
                raise PellucidError(f"{file} is not a vocabulary: token to id")
            merges: Sequence[tuple[str, str]] = _merges(directory / MERGES)
            ignore_merges = False
            files = SpecialTokenFiles(config=config, special_map=special_map, added=added, gpt2=True)
            special = assign_ids(vocabulary, files)
            begin = special.begin if config.get("add_bos_token") else None
        else:
            contents = tokenizer_json.parse(_read(file, TOKENIZER))
            vocabulary, merges, ignore_merges = contents.vocabulary, contents.merges, contents.ignore_merges
            prefix_space = prefix_space if gpt2 else contents.prefix_space
            files = SpecialTokenFiles(
                config=config, special_map=special_map, added=added, tokenizer_json=contents.added_tokens, gpt2=gpt2
            )
            special = assign_ids(vocabulary, files)
            begin = None
            if contents.begin is not None:
                begin, i = contents.begin
                if next((token.id for token in special.added if token.text == begin), vocabulary.get(begin)) != i:
                    raise UnsupportedTokenizerError(f"its post-processor puts id {i} for {shown(begin)}, which has another")
        return build_token_table(
            vocabulary, merges, special.added, end=special.end, begin=begin, end_id=end_id, prefix_space=prefix_space,
            ignore_merges=ignore_merges,
        )  # fmt: skip


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """A context manager that names the file in errors about its contents.

    Raises:
        UnsupportedTokenizerError, PellucidError: in place of any error that its contents cause.
    """
    try:
        yield
    except UnsupportedTokenizerError as error:
        raise UnsupportedTokenizerError(f"cannot use the tokenizer {file}: {error}") from error
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer {file}: {error}") from error
    except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
        raise PellucidError(f"{file} is not a {file.name}: {error!r}") from error


def _read(file: Path, kind: str) -> Any:
    """The contents of a tokenizer's JSON file.

    Raises:
        PellucidError: no such file, or it cannot be read as JSON.
    """
    try:
        return parse_json(read_bytes(file, MAX_FILE_BYTES), max_bytes=MAX_FILE_BYTES, unique=False)
    except FileNotFoundError:
        raise PellucidError(f"no tokenizer at {file}") from None
    except OSError as error:
        raise PellucidError(f"cannot read the tokenizer {file}: {error.strerror}") from error
    except ValueError as error:
        raise PellucidError(f"{file} is not a {kind}: {error}") from error


def _object(file: Path) -> dict[str, Any]:
    """The values of a file that need not be there."""
    values = _read(file, file.name) if file.exists() else {}
    if not isinstance(values, dict):
        raise PellucidError(f"{file} is not a {file.name}: it holds no JSON object")
    return values


def _is_gpt2(config: Mapping[str, Any], model: Mapping[str, Any] | Path, name: str) -> bool:
    """Whether transformers makes a tokenizer of class GPT2Tokenizer of the files; else it takes tokenizer.json as it is."""
    if (code := config.get("auto_map")) and (not isinstance(code, dict) or code.get("AutoTokenizer")):
        raise UnsupportedTokenizerError("auto_map names code of its own, which is never run")
    named = config.get("tokenizer_class")
    if named is None:
        if isinstance(model, Path):
            try:
                model = _object(model)
            except PellucidError:
                model = {}  # whoever reads the model says so
        named = model.get("tokenizer_class")
        if named is None:
            return model.get("model_type") in GPT2_MODELS or name == VOCABULARY
    kind = named.removesuffix("Fast") if isinstance(named, str) else shown(named)
    if kind not in (*GPT2_CLASSES, *FILE_CLASSES):
        raise UnsupportedTokenizerError(f"its tokenizer_class is {kind}; read are {', '.join((*GPT2_CLASSES, *FILE_CLASSES))}")
    return kind in GPT2_CLASSES


def _prefix_space(config: Mapping[str, Any]) -> bool:
    """Whether tokenizer_config.json asks for a space before a text. Refuses the options that cannot be honoured."""
    for key in FLAGS:
        if not isinstance(config.get(key), bool | None):
            raise UnsupportedTokenizerError(f"{key} is {shown(config[key])}, not true or false")
    if config.get("split_special_tokens"):
        raise UnsupportedTokenizerError("split_special_tokens is on, which takes special tokens for text")
    return bool(config.get("add_prefix_space"))


def _merges(file: Path) -> list[tuple[str, str]]:
    """The pairs of a merges.txt, in order."""
    try:
        data = read_bytes(file, MAX_FILE_BYTES)
    except OSError as error:
        raise PellucidError(f"cannot read {file}: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise PellucidError(f"{file} has more than {MAX_FILE_BYTES:,} bytes")
    try:
        lines = data.removeprefix(BOM_UTF8).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise PellucidError(f"{file} is not UTF-8 text: {error}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("#version") or not line.strip():
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2:
            raise PellucidError(f"{file}, line {number}: a merge is two tokens with a space between, not {shown(line)}")
        merges.append((parts[0], parts[1]))
    return merges
