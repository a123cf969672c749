"""Training a byte-level BPE tokenizer on text.

The library that trains cannot be interrupted while it merges, which takes seconds for some megabytes of text: so it works in a
process of its own, which is ended when this one is interrupted. A short text is trained on in this process.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import IO

from pellucid.errors import PellucidError
from pellucid.text.added_tokens import without_surrogates
from pellucid.text.bytes_to_characters import to_bytes
from pellucid.text.merges import merges_from_ranks
from pellucid.text.split_pattern import chunks
from pellucid.text.tokenizer import Tokenizer


LEAST_COUNT = 2  # a pair seen once is not worth a token: nothing says that it will come again
CHUNK = 1 << 16  # characters given to the trainer at once; it counts pieces, so memory grows with distinct pieces only
SHORT = 1 << 20  # characters that are trained on in this process: less than a second
_WAIT = 0.1  # seconds between two looks at whether the process has ended
_LENGTH = 4  # bytes of a text's length on its way to the process


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns byte-level BPE from texts, the same table from the same texts.

    texts: taken once and one at a time.
    vocab_size: the number of tokens wanted, the 256 bytes and end-of-text included, so at least 257. A text with fewer
        pairs to merge gives a smaller table: read `vocab_size` from what comes back.

    Raises PellucidError for a smaller vocabulary, or if the process that trains was ended (by want of memory, say).
    """
    if vocab_size < 257:
        raise PellucidError(f"a vocabulary holds at least the 256 bytes and end-of-text: 257 tokens, not {vocab_size}")
    parts = (without_surrogates(part) for text in texts for part in chunks(text, CHUNK) if part)
    first: list[str] = []
    length = 0
    for part in parts:
        first.append(part)
        length += len(part)
        if length > SHORT:
            break
    tokens = learn(first, vocab_size) if length <= SHORT else _learn_elsewhere(chain(first, parts), vocab_size)
    # What BPE learns can always be reached by rank (see merges.check_merges: each token was made, somewhere in
    # the text, from the pair that the merges before it had left). This would raise, naming the token, were it not so.
    merges_from_ranks(tokens)
    return Tokenizer(tokens)


def learn(parts: Iterable[str], vocab_size: int) -> list[bytes]:
    """The tokens that BPE learns, in the order of merging, without end-of-text."""
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
    trained.train_from_iterator(iter(parts), trainer)
    vocabulary = trained.get_vocab()
    return [to_bytes(characters) for characters in sorted(vocabulary, key=vocabulary.__getitem__)]


def _learn_elsewhere(parts: Iterator[str], vocab_size: int) -> list[bytes]:
    """`learn` in another process, which is ended if this one is interrupted."""
    import subprocess  # as tempfile not imported to read a tokenizer
    import tempfile

    path = os.pathsep.join(place for place in sys.path if place)
    code = f"from pellucid.text.train import serve; serve({vocab_size})"
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=answer, stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # where it has ended the exit code says how
                for part in parts:
                    process.stdin.write(_framed(part.encode()))
                process.stdin.write(_framed(b""))
                process.stdin.flush()
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_WAIT)
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            why = f"signal {-process.returncode}" if process.returncode < 0 else (lines or ["no message"])[-1]
            raise PellucidError(f"the process that trains the tokenizer ended ({why}): give it more memory, or less text")
        answer.seek(0)
        return list(_frames(answer))


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH, "little") + data


def _frames(stream: IO[bytes]) -> Iterator[bytes]:
    """What `_framed` made, up to an empty one.

    Raises:
        EOFError: the stream ends before.
    """
    while True:
        length = stream.read(_LENGTH)
        data = stream.read(int.from_bytes(length, "little"))
        if len(length) < _LENGTH or len(data) < int.from_bytes(length, "little"):
            raise EOFError
        if not data:
            return
        yield data


def serve(vocab_size: int) -> None:
    """What the other process runs: reads texts from stdin up to an empty one, learns, and writes the tokens to stdout."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other ends this one
    texts = sys.stdin.buffer

    def end_with_parent() -> None:
        if not texts.read(1):  # closed: the other process has ended
            os._exit(1)

    def parts() -> Iterator[str]:
        yield from (data.decode("utf-8") for data in _frames(texts))
        threading.Thread(target=end_with_parent, daemon=True).start()

    for token in [*learn(parts(), vocab_size), b""]:
        sys.stdout.buffer.write(_framed(token))
    sys.stdout.buffer.flush()
    os._exit(0)  # not waiting for the thread
