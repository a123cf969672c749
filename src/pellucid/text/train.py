"""Training a byte-level BPE tokenizer on text."""

from collections.abc import Iterable, Mapping

from pellucid.errors import PellucidError
from pellucid.text.merges import merges_from_ranks
from pellucid.text.split_pattern import chunks
from pellucid.text.tokenizer import Tokenizer


# Choice: the most bytes of a token. GPT-2's longest has 128. Without a bound a page that stands twice in a text without white
# space (Chinese, say) is a token, and so are half of the spaces of a long run of them.
LONGEST_TOKEN = 256
CHUNK = 1 << 16  # characters that are split at once
# Choice: words that are new are not counted any more when the distinct ones have this many bytes. The memory of learning grows
# with them: 2 GB. A million distinct words of English have 10 MB.
MOST_BYTES = 1 << 25
SMALL = 1 << 14  # bytes of distinct words, from which Python learns in a tenth of a second: nothing is compiled for them


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns byte-level BPE from texts, the same table from the same texts.

    texts: taken once and one at a time.
    vocab_size: the number of tokens wanted, the 256 bytes and end-of-text included, so at least 257. A text with fewer
        pairs to merge gives a smaller table: read `vocab_size` from what comes back.

    Raises PellucidError for a smaller vocabulary, or where there is not enough memory.
    """
    if vocab_size < 257:
        raise PellucidError(f"a vocabulary holds at least the 256 bytes and end-of-text: 257 tokens, not {vocab_size}")
    counts = count_words(part for text in texts for part in chunks(text, CHUNK))
    tokens = _learn(counts, vocab_size - 1)  # end-of-text comes last, as in GPT-2
    # What BPE learns can always be reached by rank (see merges.check_merges: each token was made, somewhere in
    # the text, from the pair that the merges before it had left). This would raise, naming the token, were it not so.
    merges_from_ranks(tokens)
    return Tokenizer(tokens)


def count_words(texts: Iterable[str], most_bytes: int = MOST_BYTES) -> dict[bytes, int]:
    """How often each word stands in the texts, in UTF-8.

    most_bytes: of the distinct words; new ones that come when there are as many are left out.
    """
    # As below: what only training needs is not imported to read a tokenizer.
    from pellucid.text.split_words import split_words, without_surrogates

    counts: dict[str, int] = {}
    room = most_bytes
    for text in texts:
        for word in split_words(without_surrogates(text)):
            if word in counts:
                counts[word] += 1
            elif room > 0:
                counts[word] = 1
                room -= len(word.encode())
    return {word.encode(): count for word, count in counts.items()}


def _learn(counts: Mapping[bytes, int], vocab_size: int) -> list[bytes]:
    """Learns with the compiled library, or with Python where the words are few or there is no library."""
    from pellucid.text.bpe.learn import learn

    if sum(map(len, counts)) > SMALL:
        from pellucid.native.errors import Unavailable
        from pellucid.text.bpe import library

        try:
            return library.learn(counts, vocab_size, LONGEST_TOKEN)
        except Unavailable:
            pass
    return learn(counts, vocab_size, LONGEST_TOKEN)
