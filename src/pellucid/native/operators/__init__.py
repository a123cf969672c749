"""Operators of a bfloat16 training step on a CPU, compiled where there is a C compiler.

In: tensors that may require gradients (`functions`). Out: what PyTorch's own operators would give, up to rounding, with fewer
passes over memory. Matrix products stay PyTorch's. They are used only inside `library.compiled_operators`, and never required:
a run's plan records whether it uses them.
"""
