"""The public functions that need several packages: training with a recorder, records that draw figures and verify themselves.

In: arguments of the public functions. Out: a `Run`, a `Record`. No logic of its own: each function calls one package and passes
it what another provides.

Read `records` (`Record`, `open`: imports no torch), `inspection` (`xray`, `verify`), `runs` (`train`, `finetune`, `open_run`),
`reproduce` (what a model of the package was made from),
`finetuned_scores` (a task with examples in the prompt, and after fine-tuning on them).
"""
