"""The model API for users: loading, generating, streaming, scoring and priming.

In: what `load` takes (the embedded model, a directory, a run, a hub id), prompts as text or token ids. Out: `Completion`s,
`Token`s one by one, `Score`s.

Read `resolve` (which directory a name means), `load` and `model` (`GPT`: a decoder with its tokenizer), `open_runner` and
`text_generator` (the same without PyTorch), `inputs` (prompts in any form), `mixin` (the methods both share), `beam` (beam
search), `compatibility` (tokenizers and draft models of another vocabulary), `prompt` (few-shot prompts).
"""
