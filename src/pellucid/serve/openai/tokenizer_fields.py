"""The fields of /tokenize and /detokenize, in the form of vLLM's server."""

from typing import Any

from pellucid.arguments import shown
from pellucid.serve.openai.errors import ApiError
from pellucid.serve.openai.fields import CompletionField


_MODEL = CompletionField(name="model", type="string", help="a model's id; the first that is served if left out")
TOKENIZE_FIELDS = (
    _MODEL,
    CompletionField(name="prompt", type="string", default="", help="the text"),
    CompletionField(
        name="add_special_tokens", type="boolean", default=True,
        help="begin with the token that begins every prompt, for models that have one",
    ),
    CompletionField(name="return_token_strs", type="boolean", default=False, help="also give each token as it is written"),
)  # fmt: skip
DETOKENIZE_FIELDS = (_MODEL, CompletionField(name="tokens", type="ids", default=(), help="token ids"))


def checked_tokens(tokens: Any, vocab_size: int) -> list[int]:
    """The token ids of a request to /detokenize.

    Raises:
        ApiError: ids outside the vocabulary (400).
    """
    for token in tokens:
        if token >= vocab_size:
            raise ApiError(
                400, f"Invalid token id {shown(token)} - 'tokens' (ids go from 0 to {vocab_size - 1})", param="tokens"
            )
    return list(tokens)
