"""Corpora, from text files to training windows.

In: text files and folders, or the story books inside the package; a tokenizer.
Out: documents; a corpus on disk (token ids in checksummed shards, a part held out); windows of tokens to train on, the k-th a
pure function of (seed, k).

Read in this order: `documents` (with `folder_files` and `utf8`), `stories`, `document_index`, `split`, `segments`, `encoder`
(with `shard_writer`), `build`, `shards`, `tokens`, `windows`.
"""

from pellucid.corpus.build import build_corpus
from pellucid.corpus.documents import Document, read_documents
from pellucid.corpus.shards import TokenCorpus, open_corpus
from pellucid.corpus.stories import story_books
from pellucid.corpus.tokens import Tokens
from pellucid.corpus.windows import Windows, evenly_spaced, sequential


__all__ = [
    "Document",
    "TokenCorpus",
    "Tokens",
    "Windows",
    "build_corpus",
    "evenly_spaced",
    "open_corpus",
    "read_documents",
    "sequential",
    "story_books",
]
