"""`ServiceSettings`: limits and choices of a service, one for all its models."""

from dataclasses import dataclass

from pellucid.serve.openai.fields import MAX_LOGPROBS


RECORDS = "records"  # the folder of records within that of the service's data


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Limits and choices of a service.

    Attributes:
        max_logprobs: likeliest tokens that a request may ask for at each position.
        max_choices: completions that a request may ask for, all its prompts together.
        max_listed: tokens with their log-probabilities in one answer, those of echoed prompts included.
        max_body: bytes of a request's body.
        max_connections: open at once.
        ignore_unknown: whether fields that the table lacks are ignored; else they are refused, as in the API.
        log_requests: whether each request is logged as a line of JSON on stderr. log_prompts: whether that holds its prompt.
        drain_seconds: for which a server that is told to end lets running requests go on.
        keys_needed: whether requests need a key.
    """

    max_logprobs: int = MAX_LOGPROBS
    max_choices: int = 1024
    max_listed: int = 1 << 17
    max_body: int = 4 << 20
    max_connections: int = 1024
    ignore_unknown: bool = False
    log_requests: bool = False
    log_prompts: bool = False
    drain_seconds: float = 30.0
    keys_needed: bool = False
