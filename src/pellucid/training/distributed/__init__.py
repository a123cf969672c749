"""A run on several processes: the steps of `training.loop` on PyTorch's distributed engines.

In: a plan, a mesh (`training.mesh`) and torchrun's environment. Out: the same losses and the same run directory as one process
gives. Read `run` (a run from joining to the last checkpoint), `process_group` (ranks, their signs of life, one line when one is
lost), `stage` (a rank's part of the decoder), `training.parallelize` (which tensor is divided how), `execution` (a step), then
`context`, `vocabulary` and `pipeline` (positions, vocabulary and blocks on several ranks) and `storage` (sharded checkpoints).
Nothing here is imported where a run has one process.
"""
