"""Operators of a training step in bfloat16 on a CPU, compiled where a C compiler is there.

In: tensors as autograd has them (`functions`). Out: what PyTorch's own operators would give, up to rounding, with fewer passes
over memory. Matrix products stay PyTorch's. They are used only inside `library.compiled_operators`, and never required: a run
says which it takes, and keeps to that.
"""
