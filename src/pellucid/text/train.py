"""Training a byte-level BPE tokenizer on text."""

import os
from collections.abc import Iterable, Iterator

from pellucid.errors import PellucidError
from pellucid.text.bytes_to_characters import to_bytes
from pellucid.text.merges import merges_from_ranks
from pellucid.text.split_pattern import chunks
from pellucid.text.tokenizer import Tokenizer


LEAST_COUNT = 2  # a pair seen once is not worth a token: nothing says that it will come again
CHUNK = 1 << 16  # characters given to the trainer at once; it counts pieces, so memory grows with distinct pieces only


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns byte-level BPE from texts, the same table from the same texts.

    texts: taken once and one at a time.
    vocab_size: the number of tokens wanted, the 256 bytes and end-of-text included, so at least 257. A text with fewer
        pairs to merge gives a smaller table: read `vocab_size` from what comes back.
    """
    if vocab_size < 257:
        raise PellucidError(f"a vocabulary holds at least the 256 bytes and end-of-text: 257 tokens, not {vocab_size}")
    from tokenizers import Tokenizer as Trained
    from tokenizers import models, pre_tokenizers, trainers

    trained = Trained(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # end-of-text comes last, as in GPT-2
        min_frequency=LEAST_COUNT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Where it is not set, the library warns on stderr whenever this process forks after training.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    trained.train_from_iterator(_chunks(texts), trainer)
    vocabulary = trained.get_vocab()
    tokens = [to_bytes(characters) for characters in sorted(vocabulary, key=vocabulary.__getitem__)]
    # What BPE learns can always be reached by rank (see merges.check_merges: each token was made, somewhere in
    # the text, from the pair that the merges before it had left). This would raise, naming the token, were it not so.
    merges_from_ranks(tokens)
    return Tokenizer(tokens)


def _chunks(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from chunks(text, CHUNK)
