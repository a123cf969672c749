"""Predicting the held-out loss at the end of a training run: scaling laws, each with its source, unit and range of validity.

    L(N, D) = E + A / N^alpha + B / D^beta        N parameters, D tokens of training, each read once

The form and one set of constants are those of Hoffmann et al. 2022 (arXiv 2203.15556), equation 10, in nats a token of web
text with a vocabulary of about 32,000. Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5, is for training until held-out
loss rises again, which a run of a fixed number of tokens does not do. For models as small as a laptop trains both are far off
(docs/log.md, with our runs), so there the same form and exponents have constants of our own, in bits a byte of English story
books: within 0.06 of each run. Bits a byte of web text are nats a token / (ln 2 * 4.19): Kaplan et al., section 2.3, count
96 GB in 22.9 billion tokens.
"""

from dataclasses import dataclass
from math import log
from typing import Any

from pellucid.languages import mark, tr
from pellucid.runs.recipe import DEFAULT_OPTIMIZER


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingLaw:
    """Constants of the form above, and the range in which they hold.

    Attributes:
        constant, a, alpha, b, beta: E, A, alpha, B and beta.
        bytes_per_token: of the law's own text, if its unit is nats a token; None: it is in bits a byte.
        parameters, tokens: the smallest and the largest number among the runs that it was fitted to.
        source: where it is from, and of what text, in words.
    """

    constant: float
    a: float
    alpha: float
    b: float
    beta: float
    bytes_per_token: float | None
    parameters: tuple[float, float]
    tokens: tuple[float, float]
    source: str

    def loss(self, parameters: float, tokens: float) -> float:
        """L(N, D) in the law's own unit."""
        of_size, of_text = self.a * pow(parameters, -self.alpha), self.b * pow(tokens, -self.beta)
        return float(self.constant + of_size + of_text)

    def bits_per_byte(self, parameters: float, tokens: float) -> float:
        """The same in bits a byte."""
        loss = self.loss(parameters, tokens)
        return loss if self.bytes_per_token is None else loss / (log(2) * self.bytes_per_token)

    def holds(self, parameters: float, tokens: float) -> bool:
        """Whether both numbers lie in the range that it was fitted to."""
        return all(low <= n <= high for n, (low, high) in ((parameters, self.parameters), (tokens, self.tokens)))


MAX_EXTRAPOLATION = 10  # with so many times fewer tokens than the shortest run of our fit, nothing is predicted
REPEATED = 1.5  # epochs from which a prediction says that the text is read again
HOFFMANN = ScalingLaw(
    constant=1.69, a=406.4, alpha=0.34, b=410.7, beta=0.28, bytes_per_token=4.19, parameters=(70e6, 16e9), tokens=(5e9, 500e9),
    source=mark("Hoffmann et al. 2022, equation 10: web text"),
)  # fmt: skip
OURS = ScalingLaw(
    constant=1.13, a=9.09, alpha=HOFFMANN.alpha, b=49.4, beta=HOFFMANN.beta, bytes_per_token=None,
    parameters=(0.5e6, 6e6), tokens=(0.2e6, 25e6), source=mark("a fit to our own runs on English story books"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalLossPrediction:
    """The predicted held-out loss at the end of a run.

    Attributes:
        bits_per_byte: of held-out text like the law's. law: which predicts it.
        within: whether the run lies in the range that the law was fitted to.
        epochs: how often the run goes through its text. optimizer: the run's; all laws are of runs with AdamW.
    """

    bits_per_byte: float
    law: ScalingLaw
    within: bool
    epochs: float
    optimizer: str = DEFAULT_OPTIMIZER

    @property
    def in_range(self) -> bool:
        """Whether the run is like those that the law was fitted to: of a size in its range, its text read about once, AdamW."""
        return self.within and self.epochs < REPEATED and self.optimizer == DEFAULT_OPTIMIZER

    def as_sentence(self) -> str:
        """The law's source, and where the run lies outside its range."""
        sentence = tr(self.law.source)
        if not self.within:
            sentence += tr(
                ", {parameters} parameters, {tokens} tokens; this run lies outside",
                parameters=compact(self.law.parameters), tokens=compact(self.law.tokens),
            )  # fmt: skip
        if self.epochs >= REPEATED:
            sentence += tr("; a text read {epochs:.1f} times ends higher", epochs=self.epochs)
        if self.optimizer != DEFAULT_OPTIMIZER:
            sentence += tr("; of runs with {usual}, not {optimizer}", usual=DEFAULT_OPTIMIZER, optimizer=self.optimizer)
        return sentence

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "bits_per_byte": self.bits_per_byte, "law": self.law.source, "within": self.within, "times_read": self.epochs,
        }  # fmt: skip


def compact(span: tuple[float, float]) -> str:
    """(70e6, 16e9) -> "70M to 16B"."""

    def one(value: float) -> str:
        unit, letter = next((u, c) for u, c in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if value >= u)
        return f"{value / unit:.2g}{letter}" if value < 100 * unit else f"{value / unit:.0f}{letter}"

    return tr("{low} to {high}", low=one(span[0]), high=one(span[1]))


def predict_final_loss(
    parameters: int, tokens: int, text_tokens: int, optimizer: str = DEFAULT_OPTIMIZER
) -> FinalLossPrediction | None:
    """The held-out loss that a run is expected to end with.

    By Hoffmann's law from the smallest of its models and runs upwards; below that, by our own; None for a run of so few
    tokens that no law is near.

    Args:
        tokens: of training in all. text_tokens: in the text that they are taken from. optimizer: its name.
    """
    if tokens < OURS.tokens[0] / MAX_EXTRAPOLATION:
        return None
    large = parameters >= HOFFMANN.parameters[0] and tokens >= HOFFMANN.tokens[0]
    law = HOFFMANN if large else OURS
    return FinalLossPrediction(
        bits_per_byte=law.bits_per_byte(parameters, tokens), law=law, within=law.holds(parameters, tokens),
        epochs=tokens / text_tokens, optimizer=optimizer,
    )  # fmt: skip
