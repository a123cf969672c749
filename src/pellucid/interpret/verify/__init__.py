"""Verifying a record: every derived and replayed number recomputed and compared.

In: a record and its model or run directory. Out: a `Report`, one `ChunkResult` a chunk.

Read `verify` (the entry point), `generation`, `training` and `finetuning` (one module a kind of record), `replay` (training
steps run again from checkpoints), `difference` (values against tolerances), `report`.
"""
