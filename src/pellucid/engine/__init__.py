"""From requests to tokens: scheduling, sampling, prefix caching, speculative decoding and detokenization. No torch here.

In: a `runtime.runner.Runner`, prompts as token ids and sampling options. Out: tokens with their log-probabilities, one step
at a time, and finished completions.

Read `engine` (the step), `sequence` (one completion being generated), `sampling` (logits to a token), `detokenizer` (tokens to
text), `prefix_cache`, `speculation`, `completion` (the result types).
"""
