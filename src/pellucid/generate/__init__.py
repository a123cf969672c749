"""Writing text: a model and a prompt go in, tokens with their probabilities come out.

In: a model directory (`load`) or a `GPT`, a prompt (text, token ids, or a list of those) and how to draw.
Out: a `Completion`, or `Token`s one by one.

Read `model` (what a user holds) and `writes` (what it is asked), `engine` (many answers at once, a token of each a step),
`runner` (what an engine runs on: `torch_runner`, or the `kernel`), `row` (one answer), `sampling` (from logits to a token),
`stopping` (from tokens to text), `completion` (what comes back). `beam` searches where the others draw, `scoring` reads texts
that are given. `load` finds models; `prompt` primes them.
"""
