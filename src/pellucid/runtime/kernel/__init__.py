"""The C kernel: the decoder for tokens of many sequences at once, without PyTorch.

In: a model's shape, and its weights as NumPy arrays (`packed`). Out: a `Runner` (`runner`) whose bits depend on a token's text
alone.

It is compiled once, where a C compiler is there, into the user's cache (`native.build`), bound by ctypes (`library`), and never
required: `runner.unavailable_reason` says in a line why it cannot be had, and PyTorch's operators do the same work. Read `kernel.h`, then
`forward.c`.
"""
