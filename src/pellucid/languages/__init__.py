"""The language of texts that people read: figures, pages, the demo. English stands in the code; another language is one file.

In: an English text with named {placeholders}, and their values. Out: the text in the current language.

    with language("zh"):
        tr("step {step:,} of {steps:,}", step=3, steps=1000)

`zh.json` maps each English text to its translation; `tools/strings.py` finds the texts in the code, checks that the file has
all of them with the same placeholders, and lists what is missing. A third language is a third file.
"""

from pellucid.languages.translate import LANGUAGES, choose, counted, current, joined, language, listed, mark, plural, tr


__all__ = ["LANGUAGES", "choose", "counted", "current", "joined", "language", "listed", "mark", "plural", "tr"]
