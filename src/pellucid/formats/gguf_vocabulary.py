"""A GGUF file's vocabulary: the tokenizer's keys, written as llama.cpp's converter writes them, and read back.

Every row of the model has a token. Those that stand for nothing, in vocabularies padded to a round number, are `[PAD{id}]` of
type UNUSED; special tokens are CONTROL, other added tokens USER_DEFINED. The format has no place for a token's options or for a
space put before a text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.formats.gguf_container import Value
from pellucid.formats.gguf_names import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from pellucid.gpt.config import GPTConfig
from pellucid.text.bytes_to_characters import to_characters
from pellucid.text.merges import merges_from_ranks
from pellucid.text.token_table import END_OF_TEXT, AddedToken
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.vocabulary import build_token_table


KEY = "tokenizer.ggml."
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")  # ends of a text, a turn, a message: llama.cpp stops at each
PRE_TOKENIZERS = ("gpt-2", "default")  # llama.cpp's names of GPT-2's pattern


def vocabulary_keys(tokenizer: Tokenizer | None, config: GPTConfig) -> dict[str, Value]:
    """The keys of a vocabulary.

    Raises:
        PellucidError: the tokenizer is another model's, or the format cannot hold it; the message says what.
    """
    if tokenizer is None:
        roles = {} if config.end_of_text is None else _end_keys(config.end_ids)
        return {f"{KEY}model": "no_vocab", **roles, **_role("bos_token_id", config.start_of_text)}
    if tokenizer.vocab_size != config.vocab_size:
        raise PellucidError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}: not its own")
    if tokenizer.prefix_space:
        raise PellucidError("llama.cpp puts no space before a text: a tokenizer with add_prefix_space cannot be a GGUF file's")
    if optional := [one for one in tokenizer.added if one.lstrip or one.rstrip or one.single_word or one.normalized]:
        raise PellucidError(f"GGUF has no options for added tokens (lstrip and such), as {optional[0].text!r} has them")
    if beyond := [one for one in tokenizer.added if one.id >= config.vocab_size]:
        raise PellucidError(
            f"the model has no row for the token {beyond[0].text!r}, id {beyond[0].id}: GGUF has no place for it"
        )
    special = {one.id for one in tokenizer.added if one.special} | {tokenizer.eot}
    own = {one.id for one in tokenizer.added}
    tokens, types = [], []
    ranked = set(tokenizer.ranked_tokens())
    for i in range(tokenizer.vocab_size):
        token = tokenizer.token_bytes(i)
        text = token.decode("utf-8", errors="replace") if i in own and token not in ranked else to_characters(token)
        tokens.append(text if token else f"[PAD{i}]")
        types.append((CONTROL if i in special else USER_DEFINED if i in own else NORMAL) if token else UNUSED)
    ends = tuple(i for i in config.end_ids if i < config.vocab_size) or (tokenizer.eot,)
    start = config.start_id if tokenizer.begin is None else tokenizer.begin
    return {
        f"{KEY}model": "gpt2",
        f"{KEY}pre": "gpt-2",
        f"{KEY}tokens": tokens,
        f"{KEY}token_type": types,
        f"{KEY}merges": [f"{to_characters(a)} {to_characters(b)}" for a, b in merges_from_ranks(tokenizer.ranked_tokens())],
        f"{KEY}bos_token_id": start if start < config.vocab_size else ends[0],
        **_end_keys(ends),
        f"{KEY}add_bos_token": tokenizer.begin is not None,
    }


def _role(key: str, token: int | None) -> dict[str, Value]:
    return {} if token is None else {f"{KEY}{key}": token}


def _end_keys(ends: Sequence[int]) -> dict[str, Value]:
    """The keys of the ids that end a text. Raises PellucidError: more than the format has keys for."""
    if len(ends) > len(ENDS):
        raise PellucidError(
            f"GGUF has keys for {len(ENDS)} ids that end a text, and the model has {len(ends)}: leave {len(ENDS)} of "
            "eos_token_id in its config.json and generation_config.json"
        )
    return {f"{KEY}{key}": i for key, i in zip(ENDS, ends, strict=False)}


def end_ids(values: Mapping[str, Value], vocab_size: int) -> tuple[int, ...]:
    """The ids that end a text by a file's keys; none where no key names one of the vocabulary."""
    found = (values.get(f"{KEY}{key}") for key in ENDS)
    return tuple(i for i in found if type(i) is int and 0 <= i < vocab_size)


def read_tokenizer(values: Mapping[str, Value], config: GPTConfig, path: Path) -> tuple[Tokenizer | None, str]:
    """The tokenizer of a file's keys.

    Returns:
        (tokenizer, ""), or (None, the reason): there is none, or one that would be encoded otherwise.

    Raises:
        PellucidError: its keys are damaged.
    """
    kind = values.get(f"{KEY}model")
    if kind in (None, "no_vocab", "none"):
        return None, f"there is no tokenizer in {path}"
    try:
        return _read(values, config), ""
    except UnsupportedTokenizerError as error:
        return None, f"cannot use the tokenizer of {path}: {error}"
    except PellucidError as error:
        raise PellucidError(f"cannot use the tokenizer of {path}: {error}") from error


def _read(values: Mapping[str, Value], config: GPTConfig) -> Tokenizer:
    def key(name: str, default: Any = None) -> Any:
        return values.get(f"{KEY}{name}", default)

    if key("model") != "gpt2" or key("pre", PRE_TOKENIZERS[0]) not in PRE_TOKENIZERS:
        raise UnsupportedTokenizerError(f"it is {key('model')!r}, {key('pre')!r}; only gpt2's is read")
    for name in ("add_eos_token", "add_space_prefix"):
        if key(name):
            raise UnsupportedTokenizerError(f"{KEY}{name} is on")
    tokens, merges, types = key("tokens"), key("merges"), key("token_type")
    if not isinstance(tokens, list) or not isinstance(merges, list) or len(tokens) != config.vocab_size:
        raise PellucidError(f"its vocabulary is not complete: {config.vocab_size} tokens with merges are needed")
    if not isinstance(types, list) or len(types) != len(tokens):
        types = [CONTROL if token == END_OF_TEXT else NORMAL for token in tokens]
    used = {str(token): i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind != UNUSED}
    if len(used) != sum(kind != UNUSED for kind in types):
        raise PellucidError("one of its tokens is there twice")
    pairs = [str(merge).split(" ") for merge in merges]
    if wrong := [merge for merge in pairs if len(merge) != 2]:
        raise PellucidError(f"a merge is two tokens with a space between, not {' '.join(wrong[0])!r}")
    added = [
        AddedToken(id=i, text=str(token), special=kind != USER_DEFINED)
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]  # fmt: skip
    begin = _token(tokens, key("bos_token_id"), "bos_token_id") if key("add_bos_token") else None
    end = _token(tokens, key("eos_token_id", used.get(END_OF_TEXT)), "eos_token_id")
    table = build_token_table(used, [(a, b) for a, b in pairs], added, end=end, begin=begin)
    return Tokenizer.from_table(table).renumbered(vocab_size=config.vocab_size)


def _token(tokens: list[Any], i: Any, name: str) -> str:
    if type(i) is not int or not 0 <= i < len(tokens):
        raise PellucidError(f"{KEY}{name} is {i!r}, and ids go from 0 to {len(tokens) - 1}")
    return str(tokens[i])
