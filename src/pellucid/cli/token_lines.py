"""Prints generated tokens on a terminal, a line each with its probability and the likeliest others. No torch here."""

import math
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from pellucid.engine.completion import Token
from pellucid.generation.mixin import GenerationMixin
from pellucid.languages import tr
from pellucid.text import piece
from pellucid.text.graphemes import padded


def print_tokens(model: GenerationMixin, tokens: Iterable[Token], console: Console | None = None) -> str:
    """A line a token as it comes: its piece, its probability as a bar, and the runners-up. Returns the text."""
    console = console or Console(highlight=False)
    about = tr("its probability before temperature and cuts; likeliest others")
    console.print(Text(f"  {padded(tr('token'), 14)}{about}", style="dim"))
    tokenizer = model.require_tokenizer()
    text = ""
    for token in tokens:
        text += token.text
        probability = math.exp(token.logprob)
        others = "  ".join(
            f"{piece(tokenizer.token_bytes(other))} {math.exp(logprob):.0%}"
            for other, logprob in token.top_logprobs or ()
            if other != token.id
        )
        bar = "█" * round(probability * 20)
        percent = f"{probability:>6.1%} " if probability >= 0.0005 else " <0.1% "
        console.print(
            Text.assemble(
                ("  ", ""), _cell(piece(token.piece), 14), (percent, "bold"),
                (f"{bar:<20}  ", "magenta"), (others, "dim"),
            ),
            overflow="ellipsis", no_wrap=True, crop=True,
        )  # fmt: skip
    return text


def _cell(label: str, width: int) -> Text:
    """A label in exactly `width` columns of the terminal, where a Chinese character or an emoji takes two."""
    cell = Text(label, style="magenta")
    cell.truncate(width - 1, overflow="ellipsis", pad=True)
    return cell.append(" ")
