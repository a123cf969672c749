"""Whether a completion request is taken: it fits its model, its answer is not too long, and its client's limits have room."""

from pellucid.serve.http.keys import Client
from pellucid.serve.http.limits import LimitReached
from pellucid.serve.openai.completion_request import CompletionRequest
from pellucid.serve.openai.errors import ApiError, busy
from pellucid.serve.openai.fields import field_named
from pellucid.serve.openai.models import ServedModel


def check_model_options(model: ServedModel, request: CompletionRequest) -> None:
    """Refuses options that do not fit a model.

    Raises:
        ApiError: a bias for a token that it has not, more logprobs than tokens, or text where it has no tokenizer (400).
    """
    generator = model.generator
    for token in request.options.get("logit_bias", ()):
        if token >= generator.config.vocab_size:
            raise field_named("logit_bias").wrong(
                f"Invalid token id {token}: ids go from 0 to {generator.config.vocab_size - 1}"
            )
    if request.logprobs is not None and request.logprobs > generator.config.vocab_size:
        raise field_named("logprobs").wrong(f"{request.logprobs} is more than there are tokens, {generator.config.vocab_size}")
    if request.options["stop"] and generator.tokenizer is None:
        raise field_named("stop").wrong("this model has no tokenizer, so that no text stops it")


def begin_limited(client: Client, tokens: int) -> None:
    """Counts a request for its client's limits.

    Raises:
        ApiError: one is reached (429). One that the request alone exceeds is for good: clients are told not to try again.
    """
    try:
        client.limits.begin(tokens)
    except LimitReached as reached:
        if reached.what == "concurrent":
            message = f"{client.name} has {reached.limit} requests at once already. Please try again later."
            error = busy(message, reached.seconds)
        elif reached.seconds == float("inf"):
            limit = f"Limit: {reached.limit} / min. Requested: {tokens}"
            message = f"Request too large for {client.name} on tokens per min. {limit}"
            error = ApiError(429, message, type="tokens", headers={"x-should-retry": "false"})
        else:
            message = (
                f"Rate limit reached for {client.name} on {reached.what} per min. Limit: {reached.limit} / min. Please try "
                f"again in {reached.seconds:.3g}s."
            )
            error = busy(message, reached.seconds, type=reached.what)
        error.headers |= client.limits.headers()
        raise error from None


def check_listed(listed: int, most: int) -> None:
    """Refuses an answer that would list too many tokens with their log-probabilities: a short request can ask for gigabytes.

    Raises:
        ApiError: more than `most` (400).
    """
    if listed > most:
        raise field_named("logprobs").wrong(
            f"{listed:,} tokens with log-probabilities in one answer are more than the maximum of {most:,}: ask for fewer "
            "choices or tokens at once"
        )
