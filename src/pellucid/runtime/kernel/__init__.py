"""The C kernel: the decoder's forward pass over tokens of many sequences, without PyTorch.

In: a model's shape, and its weights as NumPy arrays (`packed`). Out: a `Runner` (`runner`) that is batch-invariant: the bits of
a token's logits depend on the tokens of its own sequence alone.

It is compiled once, if there is a C compiler, into the user's cache (`native.shared_library`), bound by ctypes (`library`), and
never required: `runner.unavailable_reason` gives the reason why it cannot be used, and PyTorch's operators do the same work.
For a page it is compiled to WebAssembly, too (`wasm/exports.c`; `tools/wasm.py` builds `assets/wasm`), to the same bits.
Read `kernel.h`, then `forward.c`.
"""
