"""The model: GPT-3's transformer decoder, its config, attention patterns, costs and files.

In: token ids. Out: logits, or a loss. `config`, `presets`, `published`, `pattern`, `arrangements`, `costs`, `memory`,
`config_json` and `tensor_names` never import torch; `decoder`, `self_attention`, `attention`, `loss`, `kv_cache`, `tap`,
`fingerprint` and `directory` do. Read `config`, then `decoder`, `self_attention` and `attention`.
"""
