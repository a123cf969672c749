"""`pellucid.Record`: a record with `figure` and `verify`. Opening and drawing need no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pellucid import record as records


if TYPE_CHECKING:
    from pellucid.draw.film.film import Film
    from pellucid.generation.model import GPT
    from pellucid.interpret.verify.report import Report


class Record(records.Record):
    """An open record: a mapping of chunk names to arrays, its figures, and the comparison with its model or run.

    Reading (`record[name]`, `keys`, `items`, `entry`, `names`, `save`, ...) is `pellucid.record.Record`'s. `pellucid.open` and
    `pellucid.xray` return one.
    """

    def figure(self, name: str, *, width: float = 960, language: str | None = None) -> "Film":
        """Draws one figure from this record: `record.figure("tokens").save("tokens.gif")`.

        Args:
            name: one of `pellucid.draw.figures.FIGURES`.
            width: of the picture in pixels at scale 1; below 720 it is laid out for a phone, below 240 refused.
            language: of its words, "en" or "zh"; None for the current one (`pellucid.languages`), which is English at first.

        Raises:
            PellucidError: no such figure or language, a record of another kind, or a chunk that this record does not hold.
        """
        from pellucid.draw.figures import figure
        from pellucid.languages import language as in_language

        with in_language(language):
            return figure(self, name, width=width)

    def verify(self, model: "GPT | str | Path | None" = None) -> "Report":
        """Recomputes this record's numbers and compares them: `pellucid.verify(record, model)`.

        Args:
            model: of a generation or a priming, its model or anything that `load` takes; of a run, the run directory (default:
                the directory that the record's file is in).

        Raises:
            PellucidError: as `pellucid.verify`.
        """
        from pellucid.interpret.verify.verify import verify

        return verify(self, model)


def open(source: Path | str | bytes | BinaryIO) -> Record:
    """Opens a record file.

    Args:
        source: a path, a record's bytes, or a seekable binary file (closed with the record).

    Raises:
        PellucidError: no such file, not a record, truncated, damaged, or written by a newer Pellucid.
    """
    return Record.open(source)
