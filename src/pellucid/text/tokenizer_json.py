"""Parsing `tokenizer.json`, the file format of Hugging Face's `tokenizers`, for GPT-2's kind of tokenizer.

The format has options that Pellucid does not implement (normalizers, templates, other models). A file that uses one would be
encoded differently than its maker meant, so it is refused, with the reason. What changes no token of any text is passed over,
and so is the same thing said in another form (a sequence of one part).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import UnsupportedTokenizerError
from pellucid.text.split_pattern import R50K_SPLIT


# GPT-2's regular expression as it is written in tokenizer.json files that spell it out: they split all text alike.
GPT2_PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    R50K_SPLIT,
)
# The parts of a file, and of its model, with their fate: see docs/formats.md.
IGNORED_KEYS = ("version", "truncation", "padding")  # `transformers` applies the last two only where a caller asks for them
READ_KEYS = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")
IGNORED_MODEL_KEYS = ("unk_token", "fuse_unk", "byte_fallback")  # for bytes that a vocabulary lacks
REFUSED_MODEL_KEYS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
READ_MODEL_KEYS = ("type", "vocab", "merges", "ignore_merges")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerJson:
    """The contents of a file.

    Attributes:
        merges: in order, each a pair of tokens. ignore_merges: whether what is a token whole is not merged.
        begin: text and id of a token put before every text, or None.
        prefix_space: whether a space is put before a text.
    """

    vocabulary: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    ignore_merges: bool
    begin: tuple[str, int] | None
    prefix_space: bool
    added_tokens: Sequence[Any]


def parse(data: dict[str, Any]) -> TokenizerJson:
    """The contents of a `tokenizer.json`.

    Raises:
        UnsupportedTokenizerError: it says what cannot be honoured; the message names the key.
        TypeError, KeyError, AttributeError, ValueError: it is no such file.
    """
    model = data["model"]
    # Older files leave the type out, as only BPE models have merges.
    kind = model.get("type", "BPE" if "merges" in model else None)
    named = kind if isinstance(kind, str) else shown(kind)
    _require(kind == "BPE", f"its model is {named}{' (SentencePiece)' * (kind == 'Unigram')}, not BPE")
    for name in REFUSED_MODEL_KEYS:
        _require(not model.get(name), f"its model has {name} = {shown(model.get(name))}")
    for name in (*data, *model):
        known = (*IGNORED_KEYS, *READ_KEYS, *IGNORED_MODEL_KEYS, *REFUSED_MODEL_KEYS, *READ_MODEL_KEYS)
        _require(name in known, f"it has a key {shown(name)}, which this version does not know")
    normalizers = [shown(part.get("type")) for part in _parts(data.get("normalizer"), "normalizers")]
    _require(not normalizers, f"its normalizer is {', '.join(normalizers)}, which would change what is encoded")
    decoders = [part.get("type") for part in _parts(data.get("decoder"), "decoders")]
    _require(decoders in ([], ["ByteLevel"]), f"its decoder is {', '.join(map(shown, decoders))}, not ByteLevel")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return TokenizerJson(
        vocabulary=model["vocab"],
        merges=[(a, b) for a, b in pairs],
        ignore_merges=bool(model.get("ignore_merges")),
        begin=_begin_token(data.get("post_processor")),
        prefix_space=_prefix_space(data.get("pre_tokenizer")),
        added_tokens=data.get("added_tokens") or [],
    )


def _parts(whole: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The parts of a sequence, sequences within it dissolved; of anything else, itself alone."""
    if not whole:
        return []
    if whole.get("type") == "Sequence":
        return [part for each in whole[name] for part in _parts(each, name)]
    return [whole]


def _prefix_space(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Whether the pre-tokenizer, which must be GPT-2's, puts a space before a text."""
    parts = _parts(pre_tokenizer, "pretokenizers")
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True) is True:
        return bool(parts[0].get("add_prefix_space"))
    if kinds == ["Split", "ByteLevel"]:
        split, byte_level = parts
        keeps_all = split.get("behavior") == "Isolated" or (split.get("behavior") == "Removed" and split.get("invert"))
        if (
            split.get("pattern") in [{"Regex": pattern} for pattern in GPT2_PATTERNS]
            and keeps_all and byte_level.get("use_regex") is False and not byte_level.get("add_prefix_space")
        ):  # fmt: skip
            return False
    raise UnsupportedTokenizerError(
        f"its pre-tokenizer is {', '.join(map(shown, kinds)) or 'missing'}, not GPT-2's (ByteLevel with its regular expression)"
    )


def _begin_token(processor: dict[str, Any] | None) -> tuple[str, int] | None:
    """The token that a post-processor puts before a text, if that is all that it does."""
    found = []
    for part in _parts(processor, "processors"):
        kind = part.get("type")
        _require(kind in ("ByteLevel", "TemplateProcessing"), f"its post-processor {shown(kind)} adds tokens")
        if kind == "ByteLevel":
            continue
        template = [next(iter(piece.items())) for piece in part.get("single") or ()]
        names = [(what, values.get("id") if what == "Sequence" else "") for what, values in template]
        whole = names in ([("Sequence", "A")], [("SpecialToken", ""), ("Sequence", "A")])
        _require(whole, "its post-processor adds tokens, not just one at the front")
        if len(names) == 2:
            text = template[0][1]["id"]
            token = part["special_tokens"][text]
            _require(len(token["ids"]) == 1, f"its post-processor puts {len(token['ids'])} tokens for {shown(text)}")
            found.append((str(text), token["ids"][0]))
    _require(len(found) < 2, "its post-processor adds several tokens")
    return found[0] if found else None


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnsupportedTokenizerError(otherwise)
