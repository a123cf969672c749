"""The model: the GPT-3 transformer decoder.

In: token ids. Out: logits, or a loss. `config`, `presets`, `published`, `pattern`, `costs`, `memory`, `config_json`
and `tensor_names` never import torch; `decoder`, `self_attention`, `attention`, `loss`, `kv_cache`, `tap`, `fingerprint` and
`directory` do. Read `config`, then `decoder`, `self_attention` and `attention`.
"""
