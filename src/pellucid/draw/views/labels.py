"""What a record says of itself, in the words that stand on pictures: its model, its tokens' pieces, numbers with units."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from pellucid.gpt.config import GPTConfig
from pellucid.record import Record
from pellucid.text.pieces import piece


DIGITS = 8  # of a fingerprint


def config(record: Record) -> GPTConfig:
    """The shape of the record's model."""
    return GPTConfig.from_dict(record.provenance.config)


def model_name(record: Record) -> str:
    """The preset's name, or the shape in words."""
    shape = config(record)
    return shape.name or f"{shape.n_layers} blocks, {shape.d_model} wide"


def footer_lines(record: Record) -> list[str]:
    """Which model this is: in two lines, so that a phone has room for them."""
    known = record.provenance
    parts = [] if known.seed is None else [f"seed {known.seed}"]
    if known.checkpoint is not None:
        parts.append(f"checkpoint {known.checkpoint}" if known.step is None else f"step {known.step:,}")
    parts.append(f"model {known.model[:DIGITS]}")
    return [f"{model_name(record)}: {known.parameters:,} parameters", " · ".join(parts)]


@dataclass(frozen=True, slots=True)
class Pieces:
    """The bytes of the tokens that a record names; a token without bytes (a model without a tokenizer) is shown as its id."""

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, record: Record) -> "Pieces":
        """Those of the record, none if it has none."""
        if "pieces/ids" not in record:
            return cls((), (0,), b"")
        ids, starts = record["pieces/ids"].tolist(), record["pieces/starts"].tolist()
        return cls(tuple(ids), tuple(starts), record["pieces/bytes"].tobytes())

    def bytes_of(self, token: int) -> bytes | None:
        """The token's bytes; None if the record does not hold them."""
        place = bisect_left(self.ids, token)
        if place == len(self.ids) or self.ids[place] != token:
            return None
        return self.data[self.starts[place] : self.starts[place + 1]]

    def shown(self, token: int) -> str:
        """The token as it is to be read: spaces and bytes can be seen (`text.pieces`)."""
        found = self.bytes_of(token)
        return f"#{token}" if found is None else piece(found) or f"#{token}"

    def told(self, token: int) -> str:
        """The token in words, for hover and alt text."""
        return f"token {token}" if self.bytes_of(token) is None else f'token {token} "{self.shown(token)}"'

    def sentence(self, tokens: Sequence[int]) -> str:
        """Tokens in a row as text: decoded together, so that a character of several tokens is whole."""
        found = [self.bytes_of(token) for token in tokens]
        if any(part is None for part in found):
            return " ".join(self.shown(token) for token in tokens)
        return b"".join(part for part in found if part is not None).decode("utf-8", "replace")

    def characters(self, tokens: Sequence[int]) -> list[tuple[int, int, str]]:
        """Tokens that make one or more characters only together: (first, after the last, the text) of each such run.

        A run begins where the bytes so far end inside a character, and ends where they no longer do.
        """
        runs, waiting, first = [], b"", 0
        for i, token in enumerate(tokens):
            if not waiting:
                first = i
            waiting += self.bytes_of(token) or b""
            try:
                text = waiting.decode("utf-8")
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data":  # bytes that are no text, whatever follows
                    waiting = b""
                continue
            if i > first:
                runs.append((first, i + 1, text))
            waiting = b""
        return runs


def start_of(text: str, most: int = 160) -> str:
    """As much of a text as alt text has room for, in one line."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most].rstrip()} …"


def end_of(text: str, most: int = 160) -> str:
    """The same from its end: of a prompt that is what is continued."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"… {text[-most:].lstrip()}"


def percent(share: float) -> str:
    """A probability: 42%, 3.1%, 0.02%; below that, what it is less than."""
    if 0.9945 <= share < 1:
        return f"{share * 100:.1f}%" if share < 0.9995 else ">99.9%"
    if share >= 0.0995:
        return f"{floor(share * 100 + 0.5)}%"
    if share >= 0.00995:
        return f"{share * 100:.1f}%"
    return f"{share * 100:.2f}%" if share >= 0.00005 else ("<0.01%" if share > 0 else "0%")


def in_bytes(count: float) -> str:
    """An amount of memory, in powers of 1000: 512 bytes, 12.3 kB, 9.66 GB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{three_digits(count)} {unit}"


def in_seconds(seconds: float) -> str:
    """A time: 12.3 ms, 1.85 s."""
    return f"{three_digits(seconds * 1000)} ms" if seconds < 0.9995 else f"{three_digits(seconds)} s"


def in_short(count: float) -> str:
    """A large number in three digits: 5.92 M, 175 B; exact below ten thousand."""
    if count < 10_000:
        return f"{count:,.0f}"
    for unit in ("k", "M", "B", "T"):
        count /= 1000
        if count < 999.5 or unit == "T":
            break
    return f"{three_digits(count)} {unit}"


def three_digits(value: float) -> str:
    """Three digits that count; more before the point where there are more: 1234, 12.3, 0.456."""
    if value == 0:
        return "0"
    decimals = 2 - floor(log10(abs(value)))
    text = f"{value:.{min(max(decimals, 0), 6)}f}"
    if len(text.replace(".", "").lstrip("-0")) > 3 and "." in text:  # 9.996 became 10.00
        text = text[:-1].rstrip(".")
    return text
