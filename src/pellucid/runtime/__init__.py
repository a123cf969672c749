"""The runtime, from token ids to logits: runners with a model's weights and the KV caches of its sequences.

In: token ids of one or several sequences and the positions they stand on (`runner.TokenSpan`). Out: logits as NumPy arrays.

Read `runner` (the protocol), `torch_runner` with `kv_cache` (PyTorch, any pattern, dtype and device), `kernel` (the C kernel,
which needs no PyTorch), then `runner_selection` (which of the two a model gets) and `device` (which device a name means).
"""
