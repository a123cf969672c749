"""The detokenizer: text from tokens, with UTF-8 characters and stop strings that span several tokens.

No torch here. The text is defined as if it arrived one character at a time, so that it does not depend on where
tokens are cut: the first moment at which it ends with a stop string, it is cut before that string (before the longest,
if several end there).
"""

from collections.abc import Sequence

from pellucid.text.pieces import Utf8Stream
from pellucid.text.tokenizer import Tokenizer


class StopScanner:
    """Passes text on until a stop string appears; holds back whatever may be the beginning of one.

    Args:
        stops: stop strings, none of them empty.

    Attributes:
        stopped: a stop string has appeared; nothing more will pass.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        assert all(stops)
        self.stops = sorted(stops, key=len, reverse=True)
        self.stopped = False
        self._pending = ""

    def push(self, text: str) -> str:
        """The text that is now certain to belong to the completion."""
        if not self.stops:
            return text
        passed = []
        for character in text:
            if self.stopped:
                break
            self._pending += character
            if ending := next((stop for stop in self.stops if self._pending.endswith(stop)), ""):
                self.stopped = True
                passed.append(self._pending[: -len(ending)])
                self._pending = ""
            else:
                free = len(self._pending) - self._may_start()
                passed.append(self._pending[:free])
                self._pending = self._pending[free:]
        return "".join(passed)

    def _may_start(self) -> int:
        """Length of the longest end of the held text with which a stop string begins: 'aa' of 'aaa' for 'aab'."""
        longest = min(len(self._pending), len(self.stops[0]) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(self._pending[-n:]) for s in self.stops)), 0)

    def finish(self) -> str:
        """No more text comes: what was held back was no stop string after all."""
        rest, self._pending = self._pending, ""
        return rest


class TextAssembler:
    """The text of one completion, token by token.

    Args:
        tokenizer: None for a model without one: the text is then empty.
        stops: stop strings, none of them empty.
    """

    def __init__(self, tokenizer: Tokenizer | None, stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._characters = Utf8Stream()
        self._scanner = StopScanner(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has appeared."""
        return self._scanner.stopped

    def push(self, token: int) -> str:
        """What this token makes certain."""
        if self._tokenizer is None:
            return ""
        return self._scanner.push(self._characters.push(self._tokenizer.token_bytes(token)))

    def finish(self) -> str:
        """The rest: U+FFFD for a character that never ended, and text that looked like a stop string's beginning."""
        return self._scanner.push(self._characters.finish()) + self._scanner.finish()
