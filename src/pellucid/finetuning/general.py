"""The general text of a fine-tuning run, which is not of its task: its loss before and after fine-tuning shows forgetting.

Z windows of G + 1 tokens. The tokens are chosen once and kept in `RUN/general.json`, so that both models, and a verification of
the record, read the same ones.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.corpus.shards import open_corpus
from pellucid.corpus.tokens import Tokens
from pellucid.corpus.windows import evenly_spaced, sequential
from pellucid.errors import PellucidError
from pellucid.files import write_whole
from pellucid.languages import mark
from pellucid.runs.files import CORPUS, GENERAL
from pellucid.strict_json import Fields, read_json
from pellucid.text import Tokenizer


WINDOW = 128  # the most tokens predicted in a window: G
WINDOWS = 8  # the most windows: Z
MAX_BYTES = 1 << 20
HELD_OUT_TEXT = mark("held-out text of the run that the model was trained in")
PASSAGE_TEXT = mark("a passage of a story, part of Pellucid")

PASSAGE = """\
The rain had stopped before sunrise, and the whole village smelled of wet grass. Anna opened the shutters and looked down the
road. Nobody was about yet, only the baker's cat, which sat on the wall and washed its face. She had slept badly. All night she
had heard the river, and once she had thought that somebody called her name.

"It was the wind," said her grandmother at breakfast. "The wind knows everybody's name at this time of the year." She cut the
bread, gave the girl the larger piece, and poured the milk. "But if it troubles you, go and see. Take the lantern, for it is
dark under the bridge even by day."

So Anna put on her coat and walked down to the water. The path was soft, and her boots left deep prints behind her. At the
bridge she stopped and listened. There was the voice again, small and thin, and it did not come from the wind. Between two
stones, half in the water, lay a wooden box with a lid. She pulled it out and opened it. Inside, on a piece of grey blanket,
sat a young owl with one wing bent, and it looked at her as if she had come too late.

"I am here now," she told it. She carried the box home in both arms, and she did not once look at the road. Her grandmother
said nothing at all. She moved the kettle to one side, warmed a cloth, and showed the girl how to hold the bird without hurting
it. Then they sat by the fire, and the old woman told her about another owl, many years ago, that had lived in the barn for
three winters and had come back every spring to the same window.

By evening the small owl had eaten a little meat and had closed its eyes. Anna wrote the day into her book. Outside it began to
rain again, but she did not hear the river, and nobody called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralText:
    """The general text of a run.

    Attributes:
        ids: (Z, G + 1) int32; in each window every token but the first is predicted from those before it.
        origin: where the text comes from, in words.
    """

    ids: NDArray[np.int32]
    origin: str

    def save(self, run: Path) -> None:
        """Writes `RUN/general.json`."""
        values = {"origin": self.origin, "window": self.ids.shape[1], "ids": self.ids.ravel().tolist()}
        write_whole(run / GENERAL, json.dumps(values) + "\n")


def read_general(run: Path, vocab_size: int) -> GeneralText | None:
    """The general text of a run; None for a run that was begun without one.

    Raises:
        PellucidError: the file is damaged.
    """
    path = run / GENERAL
    try:
        found = Fields(read_json(path, max_bytes=MAX_BYTES), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None
    wide = found.integer("window", minimum=2, maximum=WINDOW + 1)
    ids = found.integers("ids", maximum=vocab_size - 1)
    if not ids or len(ids) % wide or len(ids) // wide > WINDOWS:
        raise PellucidError(f"{path}: {len(ids):,} ids are not 1 to {WINDOWS} windows of {wide} tokens")
    return GeneralText(ids=np.array(ids, np.int32).reshape(-1, wide), origin=found.text("origin", max_length=200))


def general_text(source: Path | None, tokenizer: Tokenizer, n_ctx: int) -> GeneralText:
    """The general text for fine-tuning a model.

    For a model from a training run it is held-out text of that run, in windows spread evenly over it; for one from a
    fine-tuning run, the general text of that run; otherwise `PASSAGE`.

    Args:
        source: the directory of the model, if it has one. tokenizer: the model's. n_ctx: the most positions it reads.
    """
    if source is not None and (known := read_general(source, tokenizer.vocab_size)) is not None:
        return known
    if source is not None and (source / CORPUS).is_dir() and (ids := _held_out_text(source, n_ctx)) is not None:
        return GeneralText(ids=ids, origin=HELD_OUT_TEXT)
    paragraphs = [" ".join(lines.split("\n")) for lines in PASSAGE.split("\n\n")]
    tokens = Tokens([np.array([tokenizer.eot, *tokenizer.encode("\n\n".join(paragraphs))])], len(PASSAGE))
    long = min(n_ctx, WINDOW, len(tokens) - 1)
    return GeneralText(ids=_whole(sequential(tokens, long), long), origin=PASSAGE_TEXT)


def _held_out_text(source: Path, n_ctx: int) -> NDArray[np.int32] | None:
    """Windows of a training run's held-out text; None where it has none, or none that can be read."""
    try:
        tokens = open_corpus(source / CORPUS, verify=False).held_out
    except PellucidError:
        return None
    long = min(n_ctx, WINDOW, len(tokens) - 1)
    return _whole(evenly_spaced(tokens, long, WINDOWS), long) if long >= 1 else None


def _whole(windows: Iterator[NDArray[np.int64]], n_ctx: int) -> NDArray[np.int32]:
    """The first windows of full length, `WINDOWS` at most, (Z, G + 1)."""
    return np.stack([window for window in windows if len(window) == n_ctx + 1][:WINDOWS]).astype(np.int32)
