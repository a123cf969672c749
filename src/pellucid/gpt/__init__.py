"""The model: the GPT-3 transformer decoder.

In: token ids. Out: logits, or a loss. `config`, `presets`, `published`, `pattern`, `costs`, `memory`, `config_json` and
`sources` are plain Python and never import torch; `attention`, `decoder`, `loss`, `cache`, `tap`, `fingerprint` and
`directory` do. Read `config`, then `decoder`, then `attention`.
"""
