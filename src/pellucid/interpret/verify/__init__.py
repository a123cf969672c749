"""Verifying a record: every derived and replayed number computed again and compared.

In: a record and its model or run directory. Out: a `Report`, chunk by chunk.

Read `verify` (the entry point), `generation`, `training` and `finetuning` (one module a kind of record), `replay` (training
steps run again), `difference` (values, tolerances), `report`.
"""
