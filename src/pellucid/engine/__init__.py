"""The engine: continuous batching, sampling, prefix caching, speculative decoding and detokenization. No torch here.

In: a `runtime.runner.Runner` and requests (token ids, sampling options). Out: tokens with their log-probabilities, one step
at a time, and finished completions.

Read `request` (what is asked), `options` (the table of sampling options), `engine` (the step: admit, plan, run, apply),
`scheduler` (what a step reads), `kv_memory` and `prefix_cache` (where keys and values are), `sequence` (one completion),
`running` (how much of it is computed), `sampling` (logits to a token), `detokenizer` (tokens to text), `speculation` (drafts),
`driver` (a thread that owns an engine), `completion` and `stats` (what comes back).
"""
