"""Verifying a record: every derived and replayed number recomputed and compared, every word compared with its source.

In: a record and its model or run directory. Out: a `Report`, one `ChunkResult` a chunk and one `WordResult` a word.

Read `verify` (the entry point), `generation`, `priming`, `training` and `finetuning` (one module a kind of record), `steps` and
`sampling_words` (a generation's distributions, draws and options), `replay` (training steps run again from checkpoints),
`words` (the header and the chunk table), `difference` (values against tolerances), `report`.
"""
