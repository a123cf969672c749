"""The special and added tokens that the files beside a vocabulary name, numbered as `tokenizers` numbers them.

Files: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`, and the `added_tokens` of `tokenizer.json`.
Where tokenizer_config.json has `added_tokens_decoder`, that replaces the other files (source: `transformers` 5,
`PreTrainedTokenizerBase._from_pretrained` and `TokenizersBackend.__init__`; `AddedVocabulary` of `tokenizers` 0.23).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.arguments import shown
from pellucid.errors import PellucidError, UnsupportedTokenizerError
from pellucid.text.token_table import END_OF_TEXT, AddedToken


ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
GPT2_DEFAULTS = dict.fromkeys(("unk_token", "bos_token", "eos_token"), END_OF_TEXT)
OPTIONS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_EXTRA, _OLD_EXTRA = "extra_special_tokens", "additional_special_tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokenFiles:
    """The files of a directory that name special and added tokens, parsed.

    Attributes:
        config: tokenizer_config.json. special_map: special_tokens_map.json. added: added_tokens.json, text to id.
        tokenizer_json: `added_tokens` of tokenizer.json; none where there is no such file.
        gpt2: whether `transformers` makes a GPT2Tokenizer of them: that takes a vocabulary and merges only, and
            `<|endoftext|>` for roles that no file names.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    special_map: Mapping[str, Any] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)
    tokenizer_json: Sequence[Any] = ()
    gpt2: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokens:
    """Added tokens with their ids, and the texts of the tokens that end and begin a text, None where no file says so."""

    added: tuple[AddedToken, ...]
    end: str | None
    begin: str | None


def token_of(value: Any, where: str, *, special: bool | None = None) -> AddedToken:
    """A token that a file gives as text, or as an object with `content` and options. Its id is not assigned yet (-1).

    Raises:
        UnsupportedTokenizerError: it is neither.
    """
    if isinstance(value, str):
        return AddedToken(id=-1, text=value)
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise UnsupportedTokenizerError(f"{where} is {shown(value)}, neither a text nor an object with a text as its content")
    options = {name: value[name] for name in OPTIONS if name in value}
    if wrong := [name for name, on in options.items() if not isinstance(on, bool)]:
        raise UnsupportedTokenizerError(f"{where} has {wrong[0]} = {shown(options[wrong[0]])}, not true or false")
    options["special"] = options.get("special", False) if special is None else special
    options.setdefault("normalized", not options["special"])
    return AddedToken(id=-1, text=value["content"], **options)


def assign_ids(vocabulary: Mapping[str, int], files: SpecialTokenFiles) -> SpecialTokens:
    """The added tokens with their ids: one that the vocabulary has keeps its id, any other takes the next free one.

    Raises:
        UnsupportedTokenizerError: a token is not of the format's form, or a file states another id than it gets.
    """
    listed, named, extra = _listed_and_named(files)
    numbered = _AddedVocabulary(vocabulary)
    from_tokenizer_json = [] if files.gpt2 else _from_tokenizer_json(files)
    for _, token in from_tokenizer_json:
        numbered.add(token)
    texts = {token.text for token in named.values()}
    later = [replace(listed[i], special=listed[i].special or listed[i].text in texts) for i in sorted(listed)]
    known = set(numbered.ids) | {token.text for token in later}
    later += [token for token in (*named.values(), *extra) if token.text not in known]
    for token in later:
        numbered.add(token)
    for i, token in [*listed.items(), *from_tokenizer_json]:
        if numbered.ids.get(token.text, i) != i:
            raise UnsupportedTokenizerError(
                f"the added token {shown(token.text)} is said to have id {i}, but the vocabulary and the tokens before it give "
                f"{numbered.ids[token.text]}"
            )
    end, begin = named.get("eos_token"), named.get("bos_token")
    return SpecialTokens(added=numbered.result(), end=end.text if end else None, begin=begin.text if begin else None)


def _from_tokenizer_json(files: SpecialTokenFiles) -> list[tuple[int, AddedToken]]:
    """The `added_tokens` of tokenizer.json: id and token."""
    return [(_integer(one["id"], "added_tokens"), token_of(one, "a token in added_tokens")) for one in files.tokenizer_json]


def _integer(value: Any, where: str) -> int:
    if type(value) is not int and not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10):
        raise PellucidError(f"an id in {where} is {shown(value)}, not a whole number")
    return int(value)


def _listed_and_named(files: SpecialTokenFiles) -> tuple[dict[int, AddedToken], dict[str, AddedToken], list[AddedToken]]:
    """Tokens that are listed with ids; tokens by their role; special tokens without a role."""
    values = dict(files.config)
    _rename_extra(values, wanted=not values.get(_EXTRA))
    of_roles = _take_roles(values)
    listed: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in values:
        for i, one in _object(values["added_tokens_decoder"], "added_tokens_decoder").items():
            if isinstance(one, str):
                raise UnsupportedTokenizerError(f"added_tokens_decoder has the text {shown(one)} where an object is needed")
            listed[_integer(i, "added_tokens_decoder")] = token_of(one, f"added_tokens_decoder's {i}")
    else:
        for key, value in files.special_map.items():
            values[key] = [*(values.get(_EXTRA) or ()), *value] if key == _EXTRA and isinstance(value, list) else value
        of_roles |= _take_roles(values)
    _rename_extra(values, wanted=_EXTRA not in values)
    named = {role: token_of(value, role, special=True) for role, value in _named(values, of_roles, files.gpt2).items()}
    extra = values.get(_EXTRA)
    extra = [token_of(one, _EXTRA, special=True) for one in (extra if isinstance(extra, list) else ())]
    if "added_tokens_decoder" not in values:
        special = {token.text for token in (*named.values(), *extra)}
        for text, i in _object(files.added, "added_tokens.json").items():
            is_special = text in special
            number = _integer(i, "added_tokens.json")
            listed[number] = AddedToken(id=-1, text=text, special=is_special, normalized=not is_special)
        listed |= dict(_from_tokenizer_json(files))
    by_text = {token.text: token for token in listed.values()}
    return listed, {role: by_text.get(token.text, token) for role, token in named.items()}, extra


def _rename_extra(values: dict[str, Any], *, wanted: bool) -> None:
    if wanted and _OLD_EXTRA in values:
        values[_EXTRA] = values.pop(_OLD_EXTRA)


def _take_roles(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the tokens of roles out of `extra_special_tokens`, where that is an object."""
    extra = values.get(_EXTRA)
    return values.pop(_EXTRA) if isinstance(extra, dict) else {}


def _named(values: Mapping[str, Any], of_roles: Mapping[str, Any], gpt2: bool) -> dict[str, Any]:
    """The roles and what stands for them, in the order in which they are added."""
    found = (GPT2_DEFAULTS if gpt2 else {}) | {role: values[role] for role in ROLES if role in values}
    found = {role: found[role] for role in ROLES if found.get(role) is not None}
    others = {key: value for key, value in values.items() if key.endswith("_token") and key not in ROLES}
    return found | {key: value for key, value in others.items() if isinstance(value, str | dict)} | dict(of_roles)


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PellucidError(f"{name} is {shown(value)}, not an object")
    return value


class _AddedVocabulary:
    """Added tokens and their ids, kept as the class of that name in `tokenizers` keeps them."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary
        self.ids: dict[str, int] = {}
        self.options: dict[str, AddedToken] = {}  # by text, as it was added last
        self.special: set[str] = set()
        self.unnormalized: set[str] = set()  # found by the first search
        self.largest = -1

    def add(self, token: AddedToken) -> None:
        text = token.text
        if not text:
            return
        again = text in self.special
        if token.special and not again:
            self.special.add(text)
            self._look_for(token)
        if self.options.get(text) == token:
            return
        if text not in self.ids:
            size = len(self.vocabulary)
            self.ids[text] = self.vocabulary.get(text, max(self.largest + 1, size))
            self.largest = max(self.largest, self.ids[text])
        self.options[text] = token
        if not token.special and text not in self.special:
            self._look_for(token)

    def _look_for(self, token: AddedToken) -> None:
        if not token.normalized:
            self.unnormalized.add(token.text)

    def result(self) -> tuple[AddedToken, ...]:
        return tuple(
            replace(token, id=self.ids[text], special=text in self.special, normalized=text not in self.unnormalized)
            for text, token in self.options.items()
        )
