"""The functions of `import pellucid` that need several rooms: training with a recorder, records that draw figures.

In: what a user gives. Out: a `Run`, a `Record`. No logic of its own: each function calls one room and hands it what another
room provides.

Read `records` (`Record`, `open`: imports no torch), `inspection` (`xray`, `verify`), `runs` (`train`, `finetune`, `open_run`).
"""
