"""How the embedded default model is made. README.md in this folder lists the commands in order.

In: a folder of books. Out: a model directory.
`prepare` makes tokenizer, word lists and token shards; `windows` defines training window i as a pure function of (seed, i);
`train` trains; `evaluate` measures; `export` writes the model; `card` writes its model card.

Read in this order: `books`, `draws`, `words`, `forms`, `lexicon`; `family`, the `families_*`, `families`, `markup`, `groups`;
`windows`, `prepare`; `settings`, `checkpoints`, `train`; `evaluate`, `rounding`, `export`; `grammar`, `card_numbers`,
`manifest`, `card`; `task_file`, `react_file`.
"""
