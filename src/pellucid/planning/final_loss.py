"""What loss a training run is expected to end with: a law with its source, its unit and the runs that it was fitted to.

    L(N, D) = E + A / N^alpha + B / D^beta        N parameters, D tokens of training, each read once

The form and one set of constants are those of Hoffmann et al. 2022 (arXiv 2203.15556), equation 10, in nats a token of web
text with a vocabulary of about 32,000. Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5, is for training that goes on until
held-out loss rises again, which a run of so many tokens does not. For models as small as a laptop trains both are far off
(docs/log.md, with our runs), so there the same form and exponents have constants of our own, in bits a byte of English story
books: within 0.06 of each run. Bits a byte of web text are nats a token / (ln 2 * 4.19): Kaplan et al., section 2.3, count
96 GB in 22.9 billion tokens.
"""

from dataclasses import dataclass
from math import log
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """Constants of the form above, and what they hold for.

    Attributes:
        constant, a, alpha, b, beta: E, A, alpha, B and beta.
        bytes_a_token: of the law's own text, where its unit is nats a token; None: it is in bits a byte.
        parameters, tokens: the least and most of the runs that it was fitted to.
        of: source and text, in words.
    """

    constant: float
    a: float
    alpha: float
    b: float
    beta: float
    bytes_a_token: float | None
    parameters: tuple[float, float]
    tokens: tuple[float, float]
    of: str

    def loss(self, parameters: float, tokens: float) -> float:
        """L(N, D) in the law's own unit."""
        of_size, of_text = self.a * pow(parameters, -self.alpha), self.b * pow(tokens, -self.beta)
        return float(self.constant + of_size + of_text)

    def bits_per_byte(self, parameters: float, tokens: float) -> float:
        """The same in bits a byte."""
        loss = self.loss(parameters, tokens)
        return loss if self.bytes_a_token is None else loss / (log(2) * self.bytes_a_token)

    def holds(self, parameters: float, tokens: float) -> bool:
        """Whether both numbers lie among those it was fitted to."""
        return all(low <= n <= high for n, (low, high) in ((parameters, self.parameters), (tokens, self.tokens)))


FEW = 10  # so many times fewer tokens than the shortest run that our law was fitted to: nothing is said
AGAIN = 1.5  # times through its text from which a run is said to read it again
HOFFMANN = Law(
    constant=1.69, a=406.4, alpha=0.34, b=410.7, beta=0.28, bytes_a_token=4.19, parameters=(70e6, 16e9), tokens=(5e9, 500e9),
    of="Hoffmann et al. 2022, equation 10: web text",
)  # fmt: skip
OURS = Law(
    constant=1.13, a=9.09, alpha=HOFFMANN.alpha, b=49.4, beta=HOFFMANN.beta, bytes_a_token=None,
    parameters=(0.5e6, 6e6), tokens=(0.2e6, 25e6), of="a fit to our own runs on English story books",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Foretold:
    """A run's expected end.

    Attributes:
        bits_per_byte: of held-out text like the law's. law: where that comes from.
        within: whether the run lies among those that the law was fitted to.
        times: how often the run goes through its text.
    """

    bits_per_byte: float
    law: Law
    within: bool
    times: float

    def words(self) -> str:
        """Where the number comes from, and what it leaves out."""
        said = self.law.of
        if not self.within:
            said += f", {compact(self.law.parameters)} parameters, {compact(self.law.tokens)} tokens; this run lies outside"
        if self.times >= AGAIN:
            said += f"; a text read {self.times:.1f} times ends higher"
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "bits_per_byte": self.bits_per_byte, "law": self.law.of, "within": self.within, "times_read": self.times,
        }  # fmt: skip


def compact(span: tuple[float, float]) -> str:
    """(70e6, 16e9) -> "70M to 16B"."""

    def one(value: float) -> str:
        unit, letter = next((u, c) for u, c in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if value >= u)
        return f"{value / unit:.2g}{letter}" if value < 100 * unit else f"{value / unit:.0f}{letter}"

    return " to ".join(map(one, span))


def foretell(parameters: int, tokens: int, text_tokens: int) -> Foretold | None:
    """What held-out loss a run is expected to end with.

    Hoffmann's law from the smallest of its models and runs on; below that, our own; None for a run of so few tokens that
    no law is near.

    Args:
        tokens: of training in all. text_tokens: of the text that they are taken from.
    """
    if tokens < OURS.tokens[0] / FEW:
        return None
    large = parameters >= HOFFMANN.parameters[0] and tokens >= HOFFMANN.tokens[0]
    law = HOFFMANN if large else OURS
    return Foretold(
        bits_per_byte=law.bits_per_byte(parameters, tokens), law=law, within=law.holds(parameters, tokens),
        times=tokens / text_tokens,
    )  # fmt: skip
