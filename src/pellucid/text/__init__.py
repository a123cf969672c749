"""Tokenizers: text to token ids and back.

In: text, or a token table (`tokenizer.json`, the packaged r50k, or trained here). Out: token ids from text, bytes and text from
token ids, and labels for display.

Read in this order: `token_table`, `tokenizer` (encoding and decoding), `split_pattern` and `split_words` (pre-tokenization),
`added_tokens`, `long_words`, `train` and `bpe/`, `merges`, `r50k`; reading files: `tokenizer_files`, `tokenizer_json`,
`special_tokens`, `vocabulary`, `bytes_to_characters`; `tokenizer_write`; `pieces` (display).
"""

from pellucid.text.pieces import Utf8Stream, piece
from pellucid.text.r50k import r50k
from pellucid.text.tokenizer import END_OF_TEXT, Tokenizer
from pellucid.text.train import train_tokenizer


__all__ = ["END_OF_TEXT", "Tokenizer", "Utf8Stream", "piece", "r50k", "train_tokenizer"]
