"""Training the merges of byte-level BPE: from word counts to tokens, in O(n log n) time for n bytes of distinct words.

In: distinct words with their counts (`text.train.count_words`). Out: the tokens, in the order of merging.

Read in this order: `learn` (the algorithm, in Python), `library` and `learn.c` (the same, compiled).
"""
