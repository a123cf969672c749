"""The tokens of a record as text: `Pieces`."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.languages import tr
from pellucid.record import Record
from pellucid.text.pieces import piece


@dataclass(frozen=True, slots=True)
class Pieces:
    """The bytes of the tokens that a record names (chunks `pieces/*`, given).

    A token without bytes, as those of a model without a tokenizer, is written as its id.

    Attributes:
        ids: of the tokens, ascending. data: all bytes. starts: where in `data` the bytes of each begin, and the last end.
    """

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    data: bytes

    def bytes_of(self, token: int) -> bytes | None:
        """The token's bytes; None if the record does not hold them."""
        place = bisect_left(self.ids, token)
        if place == len(self.ids) or self.ids[place] != token:
            return None
        return self.data[self.starts[place] : self.starts[place + 1]]

    def shown(self, token: int) -> str:
        """The token as text with spaces and control bytes made visible (`text.pieces`)."""
        found = self.bytes_of(token)
        return f"#{token}" if found is None else piece(found) or f"#{token}"

    def described(self, token: int) -> str:
        """The token with its id, for hover and alt text: token 262 "·the"."""
        if self.bytes_of(token) is None:
            return tr("token {token}", token=token)
        return tr('token {token} "{piece}"', token=token, piece=self.shown(token))

    def sentence(self, tokens: Sequence[int]) -> str:
        """Consecutive tokens as text, decoded together, so that a character made of several tokens is whole."""
        found = [self.bytes_of(token) for token in tokens]
        if any(part is None for part in found):
            return " ".join(self.shown(token) for token in tokens)
        return b"".join(part for part in found if part is not None).decode("utf-8", "replace")

    def characters(self, tokens: Sequence[int]) -> list[tuple[int, int, str]]:
        """Runs of tokens that only together are characters: (first, one past the last, the text) of each.

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


def read_pieces(record: Record) -> Pieces:
    """The pieces that the record holds; none where it holds none."""
    if "pieces/ids" not in record:
        return Pieces((), (0,), b"")
    ids, starts = record["pieces/ids"].tolist(), record["pieces/starts"].tolist()
    return Pieces(tuple(ids), tuple(starts), record["pieces/bytes"].tobytes())
