"""The log-probability of each token of a text that is given, all of its tracks read together.

T tracks, C width, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pellucid.errors import PellucidError
from pellucid.generate.completion import Score, TopLogprobs
from pellucid.generate.reading import reading
from pellucid.generate.sampling import SamplingOptions, largest, log_softmax
from pellucid.gpt.decoder import Decoder


_TRACKS_AT_ONCE = 64  # of logits: 13 MB for GPT-3's vocabulary


def score(model: Decoder, ids: Sequence[int], logprobs: int | None) -> Score:
    """What the model gives each token after those before it. Arguments and errors as `GPT.score` has them."""
    SamplingOptions(max_tokens=0, logprobs=logprobs)  # refuses what is no number of tokens
    config = model.config
    for token in ids:
        if not 0 <= token < config.vocab_size:
            raise PellucidError(f"token id {token} is outside the vocabulary: ids go from 0 to {config.vocab_size - 1}")
    if len(ids) > config.n_ctx + 1:  # the last one is not read
        raise PellucidError(f"the text has {len(ids)} tokens, but {config.n_ctx + 1} can be scored at most: shorten it")
    if logprobs is not None and logprobs > config.vocab_size:
        raise PellucidError(f"logprobs is {logprobs}, but there are only {config.vocab_size} tokens")
    found: list[float | None] = [None]
    tops: list[TopLogprobs | None] = [None]
    with reading(model):
        read = torch.tensor([list(ids)], device=model.wte.weight.device)
        hidden = model.hidden(read[:, :-1])[0] if len(ids) > 1 else torch.empty(0)  # (T - 1, C)
        for start in range(0, len(ids) - 1, _TRACKS_AT_ONCE):
            part = log_softmax(model.logits(hidden[start : start + _TRACKS_AT_ONCE]).float().cpu().numpy())  # (t, V)
            following = ids[start + 1 : start + 1 + len(part)]
            found += part[np.arange(len(part)), following].tolist()
            for row in part if logprobs is not None else ():
                best = largest(row, logprobs or 0)
                tops.append(tuple(zip(best.tolist(), row[best].tolist(), strict=True)))
    return Score(list(ids), found, None if logprobs is None else tops)
