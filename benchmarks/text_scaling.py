"""How the time of each function of text grows with one long text: prose, one letter, spaces, Chinese, and others of their kind.

    python benchmarks/text_scaling.py [--bytes 1000000] [--rounds 3] [--only encode,train]

For each function and kind of text: processor seconds for the whole text; `growth`, how many times what they are for a quarter
of it (4 where time grows with the text, 16 where it grows with its square; more than 6 is marked); and `to_prose`, how many
times what they are for as many bytes of prose. All kinds are timed in turn in every round, and the least of each counts. Prints
one JSON object; the peers of `train` and `encode` are `tokenizers` and `tiktoken` on the same text (`--peers`), whose seconds
are null where they fail.
"""

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pellucid.corpus import Document, build_corpus, read_documents, story_books
from pellucid.engine.detokenizer import TextAssembler
from pellucid.text import Tokenizer, piece, r50k, train_tokenizer
from pellucid.text.bpe.library import learn
from pellucid.text.train import count_words
from pellucid.training.machine import describe


CHINESE = (
    "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好"
    "都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面"
)
VOCAB_SIZE = 4096
GROWTH = 6  # more than this from a quarter to the whole is marked


def kinds(size: int) -> dict[str, str]:
    """Texts of about `size` bytes of UTF-8, prose first."""
    draw = random.Random(1)
    prose = "\n".join(document.text for document in story_books())
    while len(prose) < size:
        prose += prose
    texts = {
        "prose": prose, "one letter": "a" * size, "spaces": " " * (size - 1) + "x", "newlines": "\n" * size,
        "ab": "ab" * (size // 2), "digits": "".join(draw.choices("0123456789", k=size)),
        "letters": "".join(draw.choices("etaoinshrdlu", k=size)), "Chinese": "".join(draw.choices(CHINESE, k=size // 3)),
        "emoji": "".join(draw.choices("🙂😀👍", k=size // 4)), "combining marks": "e\u0301" * (size // 3),
        "invalid UTF-8": bytes(draw.choices(range(0x80, 0x100), k=size // 3)).decode("utf-8", "replace"),
        "mixed": "".join(draw.choices("ab1 -\n的🙂é", k=size // 2)),
    }  # fmt: skip
    return {kind: text.encode()[:size].decode("utf-8", "ignore") for kind, text in texts.items()}


class Functions:
    """What is timed: each takes a text, prepares, and gives back what is to be timed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def train(self, text: str) -> Callable[[], Any]:
        return lambda: train_tokenizer([text], VOCAB_SIZE)

    def encode(self, text: str) -> Callable[[], Any]:
        return lambda: r50k().encode(text)

    def encode_own(self, text: str) -> Callable[[], Any]:
        """With a tokenizer that was trained on this kind of text, whose tokens are long."""
        tokenizer = train_tokenizer([text[:100_000]], VOCAB_SIZE)
        tokenizer.encode("")
        return lambda: tokenizer.encode(text)

    def decode(self, text: str) -> Callable[[], Any]:
        ids = r50k().encode(text)
        return lambda: r50k().decode(ids)

    def stream(self, text: str) -> Callable[[], Any]:
        """Token by token, with a stop string that begins like the text."""
        ids = r50k().encode(text)
        assembler = TextAssembler(r50k(), [text[:30] + "\0", "\0"])
        return lambda: [assembler.push(token) for token in ids]

    def pieces(self, text: str) -> Callable[[], Any]:
        return lambda: piece(text.encode())

    def open_tokenizer(self, text: str) -> Callable[[], Any]:
        """A file with tokens of any length: of one letter, the longest is half of the text."""
        tokens = learn(count_words([text]), VOCAB_SIZE, len(text))
        file = Tokenizer(tokens).save(self.folder / "tokenizer.json")
        return lambda: Tokenizer.load(file)

    def read(self, text: str) -> Callable[[], Any]:
        """A text file of one line, with two documents."""
        file = self.folder / "text.txt"
        file.write_text(f"x{text}<|endoftext|>{text}", encoding="utf-8", newline="")
        return lambda: list(read_documents([file]))

    def read_jsonl(self, text: str) -> Callable[[], Any]:
        file = self.folder / "text.jsonl"
        file.write_text(json.dumps({"text": f"x{text}"}) + "\n", encoding="utf-8", newline="")
        return lambda: list(read_documents([file]))

    def build(self, text: str) -> Callable[[], Any]:
        """A corpus, with a tokenizer that is trained on it."""
        self.built = getattr(self, "built", 0) + 1
        out = self.folder / f"corpus-{self.built}"
        return lambda: build_corpus([Document("one", f"x{text}x")], 512, out)


PEERS = {"train": "tokenizers", "encode": "tiktoken"}


def peer(function: str, text: str) -> Callable[[], Any]:
    """The same with `tokenizers` or `tiktoken`."""
    if function == "encode":
        return lambda: encode_with_tiktoken(text)
    from tokenizers import Tokenizer as Trained
    from tokenizers import models, pre_tokenizers, trainers

    trained: Any = Trained(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE - 1, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    return lambda: trained.train_from_iterator([text], trainer)


def encode_with_tiktoken(text: str) -> None:
    """Raises MemoryError where tiktoken panics: 1 MB of spaces exhausts the stack of its regular expressions."""
    try:
        r50k()._encoding.encode_ordinary(text)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MemoryError(str(error)) from None


def seconds(work: Callable[[], Any]) -> float:
    """Processor time, which other processes do not change as they do wall time."""
    began = time.process_time()
    try:
        work()
    except MemoryError:
        return math.inf
    return time.process_time() - began


def measure(name: str, prepare: Callable[[str], Callable[[], Any]], texts: dict[str, str], rounds: int) -> list[dict[str, Any]]:
    """A row for each kind of text."""
    least: dict[tuple[str, int], float] = {}
    for _ in range(rounds):
        for kind, text in texts.items():
            for part in (4, 1):
                took = seconds(prepare(text[: len(text) // part]))
                least[kind, part] = min(took, least.get((kind, part), took))
    rows = []
    for kind in texts:
        whole, quarter = least[kind, 1], least[kind, 4]
        if whole == math.inf:
            rows.append({"name": f"{name}/{kind}", "s": None})
            print(f"{name:>16} {kind:<16} fails", file=sys.stderr)
            continue
        growth, to_prose = whole / max(quarter, 1e-4), whole / max(least["prose", 1], 1e-4)
        times = {"s": round(whole, 4), "growth": round(growth, 1), "to_prose": round(to_prose, 2)}
        rows.append({"name": f"{name}/{kind}"} | times)
        mark = "  <- growth" if growth > GROWTH and whole > 0.02 else ""
        print(f"{name:>16} {kind:<16} {whole:8.3f} s {growth:6.1f} {to_prose:8.2f}{mark}", file=sys.stderr)
    return rows


def main() -> None:
    """Times all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="functions, with commas")
    parser.add_argument("--kinds", default="", help="kinds of text beside prose, with commas")
    parser.add_argument("--peers", action="store_true", help="tokenizers and tiktoken, too, which take minutes to hours")
    chosen = parser.parse_args()
    named = [kind for kind in chosen.kinds.split(",") if kind]
    texts = {kind: text for kind, text in kinds(chosen.bytes).items() if not named or kind in ("prose", *named)}
    r50k().encode("warm up")
    train_tokenizer([texts["prose"][:200_000]], VOCAB_SIZE)  # compiles, if nothing did before
    with tempfile.TemporaryDirectory() as folder:
        functions = Functions(Path(folder))
        names = [name for name in vars(Functions) if not name.startswith("_")]
        rows = []
        for name in names:
            if not chosen.only or name in chosen.only.split(","):
                rows += measure(name, getattr(functions, name), texts, chosen.rounds)
                if chosen.peers and name in PEERS:
                    rows += measure(PEERS[name], lambda text, name=name: peer(name, text), texts, chosen.rounds)
    print(json.dumps({"rows": rows, "bytes": chosen.bytes, "machine": describe()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
