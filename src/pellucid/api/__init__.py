"""The functions of `import pellucid` that need several packages: training with a recorder, records that draw figures.

In: what a user gives. Out: a `Run`, a `Record`. No logic of its own: each function calls one package and hands it what
another provides.

Read `records` (`Record`, `open`: imports no torch), `inspection` (`xray`, `verify`), `runs` (`train`, `finetune`, `open_run`).
"""
