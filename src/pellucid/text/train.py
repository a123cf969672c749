"""Training a byte-level BPE tokenizer on text."""

from collections.abc import Iterable, Mapping

from pellucid.errors import PellucidError
from pellucid.text.merges import merges_from_ranks
from pellucid.text.split_pattern import chunks
from pellucid.text.split_words import split_words
from pellucid.text.tokenizer import Tokenizer, check_text


# Choice. GPT-2's longest token has 128 bytes. Without a limit a page of text without white space (Chinese, say) that occurs
# twice would be one token, and so would half of a long run of spaces.
MAX_TOKEN_BYTES = 256
CHUNK = 1 << 16  # characters that are split at once
# Choice: once the distinct words have this many bytes, new ones are not counted. Training's memory grows with them, to 2 GB.
# A million distinct English words have 10 MB.
MAX_DISTINCT_BYTES = 1 << 25
SMALL = 1 << 14  # bytes of distinct words that Python trains on in a tenth of a second: nothing is compiled for so few


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains byte-level BPE on texts; the same texts give the same table.

    texts: iterated once, one at a time.
    vocab_size: the number of tokens wanted, the 256 bytes and end-of-text included, so at least 257. Texts with fewer
        pairs to merge give a smaller one: read the result's `vocab_size`.

    Raises PellucidError for a smaller vocabulary, for a text with half a character (a lone surrogate), as `encode` does, or
    where there is not enough memory.
    """
    if vocab_size < 257:
        raise PellucidError(f"a vocabulary holds at least the 256 bytes and end-of-text: 257 tokens, not {vocab_size}")
    counts = count_words(part for text in texts for part in chunks(check_text(text), CHUNK))
    tokens = _learn(counts, vocab_size - 1)  # end-of-text comes last, as in GPT-2
    # What BPE learns can always be reached by rank (see merges.check_merges: each token was made, somewhere in
    # the text, from the pair that the merges before it had left). This would raise, naming the token, were it not so.
    merges_from_ranks(tokens)
    return Tokenizer(tokens)


def count_words(texts: Iterable[str], max_bytes: int = MAX_DISTINCT_BYTES) -> dict[bytes, int]:
    """How often each word occurs in the texts, in UTF-8.

    max_bytes: of the distinct words together; new ones after that are left out.
    """
    counts: dict[str, int] = {}
    room = max_bytes
    for text in texts:
        for word in split_words(text):
            if word in counts:
                counts[word] += 1
            elif room > 0:
                counts[word] = 1
                room -= len(word.encode())
    return {word.encode(): count for word, count in counts.items()}


def _learn(counts: Mapping[bytes, int], vocab_size: int) -> list[bytes]:
    """Trains with the compiled library, or in Python where the words are few or there is no library."""
    from pellucid.text.bpe.learn import learn  # here: nothing else needs it

    if sum(map(len, counts)) > SMALL:
        from pellucid.native.errors import Unavailable
        from pellucid.text.bpe import library

        try:
            return library.learn(counts, vocab_size, MAX_TOKEN_BYTES)
        except Unavailable:
            pass
    return learn(counts, vocab_size, MAX_TOKEN_BYTES)
