"""Learning the merges of byte-level BPE: from word counts to tokens, in time that grows with the text and not with its words.

In: distinct words with their counts. Out: the tokens, in the order of merging.

Read in this order: `words` (splitting and counting), `learn` (the algorithm, in Python), `library` and `learn.c` (the same,
compiled).
"""
