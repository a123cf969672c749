"""Checks that a record was made from the model or run that it is verified with, and with the options that it states."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import uniform
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.fingerprint import fingerprint
from pellucid.interpret.capture import SAMPLE_INDEX
from pellucid.interpret.verify.difference import same_json
from pellucid.record import Record
from pellucid.runs.plan import Plan


# Relative error of a logit by the dtype in which the recorded model computed. A choice: measured on the embedded and on random
# models, float32 stays below a tenth of its allowance. None: of fewer bits the error depends on the model; it is measured as
# the difference between computing in that dtype and in float32.
UPCAST_NOISE = 2.0**-15  # of float32
NOISE = {"float64": 2.0**-15, "float32": 2.0**-15, "float16": None, "bfloat16": None}


def recorded_model(record: Record, model: GPT) -> GPT:
    """The recorded model, in the dtype that it computed in.

    Raises:
        PellucidError: `model` is not the one that the record names.
    """
    named = record.provenance
    if named.dtype not in NOISE:
        raise PellucidError(f"the record was made in {named.dtype!r}: verify knows {', '.join(NOISE)}")
    dtype: torch.dtype = getattr(torch, named.dtype)
    recorded = model if model.wte.weight.dtype == dtype else model.copy().to(dtype)
    found = fingerprint(recorded)
    if found != named.model:
        raise PellucidError(
            f"the record was made with another model: it names {named.model[:12]}, and this one is {found[:12]} in "
            f"{named.dtype}; give the recorded one (on the command line -m)"
        )
    if not same_json(dict(named.config), _plain(model.config.to_dict() | {"name": named.config.get("name", "")})):
        raise PellucidError("the record states another shape than its model has: it was changed")
    if named.parameters != model.config.parameters():
        raise PellucidError(f"the record states {named.parameters:,} parameters, but its model has another number of them")
    if model.tokenizer is not None and named.tokenizer != model.tokenizer.fingerprint:
        raise PellucidError("the record was made with another tokenizer than this model's")
    return recorded


def tokens_and_options(record: Record, model: GPT) -> tuple[list[int], SamplingOptions]:
    """All tokens of a generation record, prompt first, and the sampling options that its provenance states.

    Raises:
        PellucidError: prompt, seed or options contradict each other, or a token is not in the vocabulary.
    """
    named = record.provenance
    prompt = record["generation/prompt_ids"].tolist()
    if named.prompt_ids is None or list(named.prompt_ids) != prompt:
        raise PellucidError("the record holds another prompt than its provenance names: one of the two was changed")
    if named.seed is None or named.sampling is None:
        raise PellucidError("the record names no seed or no sampling options: its draws cannot be recomputed")
    try:
        options = SamplingOptions.from_record(named.sampling, named.seed)
    except KeyError as error:
        raise PellucidError(f"the record's sampling options lack {error}") from None
    except PellucidError as error:
        raise PellucidError(f"the record's sampling options are not valid: {error}") from None
    draws = record["generation/steps/draw"]
    if len(draws) > options.max_tokens:
        raise PellucidError(f"the record drew {len(draws)} tokens, more than its max_tokens of {options.max_tokens}")
    expected = [uniform(named.seed, SAMPLE_INDEX, len(prompt) + i) for i in range(len(draws))]
    if options.temperature > 0 and len(draws) and not np.any(draws == np.array(expected)):
        raise PellucidError(f"the record was made with another seed: its draws are not those of seed {named.seed}")
    ids = [*prompt, *record["generation/steps/drawn_ids"].tolist()]
    for token in [*ids, *(token for token, _ in options.logit_bias)]:
        if not 0 <= token < model.config.vocab_size:
            raise PellucidError(f"the record names the token {token}, which its model does not have: it was changed")
    if len(prompt) < 1 or len(ids) - 1 > model.config.n_ctx:
        raise PellucidError(f"the record's {len(ids)} tokens do not fit into its model's context of {model.config.n_ctx}")
    return ids, options


def check_same_run(record: Record, stated: Any, plan: Plan, run: Path) -> None:
    """Checks that a record's provenance and plan are those of `run`.

    Args:
        stated: the plan that the record holds. plan: the run's own.

    Raises:
        PellucidError: they differ; the message names the first difference.
    """
    named = record.provenance
    own = _plain(plan.to_dict() | {"seed": str(plan.seed)})
    if not isinstance(stated, dict):
        raise PellucidError(f"the record's {record.kind}/plan is not a plan: it was changed")
    for key in [*own, *stated]:
        if (key in stated) != (key in own) or not same_json(stated.get(key), own.get(key)):
            raise PellucidError(
                f"the record is of another run than {run}: its plan says {key} {str(stated.get(key))[:60]}, the run's says "
                f"{str(own.get(key))[:60]}"
            )
    recorded = {
        "config": dict(named.config), "parameters": named.parameters, "dtype": named.dtype, "tokenizer": named.tokenizer,
        "seed": named.seed,
    }  # fmt: skip
    expected = {
        "config": _plain(plan.config.to_dict()), "parameters": plan.config.parameters(), "dtype": plan.dtype,
        "tokenizer": plan.source.get("tokenizer"), "seed": plan.seed,
    }  # fmt: skip
    for key, value in expected.items():
        if not same_json(recorded[key], value):
            raise PellucidError(f"the record names another {key} than its run's plan does: it was changed")


def _plain(values: dict[str, Any]) -> Any:
    """As a JSON file holds them."""
    return json.loads(json.dumps(values))
