"""A small task with known answers, for scoring a model before and after fine-tuning."""

from collections.abc import Iterable

from pellucid.finetuning.examples import Example


_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """A number below a thousand in English: 382 -> "three hundred eighty-two"."""
    assert 0 <= number < 1000
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{_ONES[hundreds]} hundred" + (f" {in_words(rest)}" if rest else "")
    tens, ones = divmod(rest, 10)
    if rest < 20:
        return _ONES[rest]
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def number_words(numbers: Iterable[int] = range(1000)) -> list[Example]:
    """Examples of numbers and their names, `382 =>` and ` three hundred eighty-two`, with the arrow of the paper's figure 2.1.

    The completion starts with a space, because the tokens of words include the space before the word.

    Args:
        numbers: each from 0 to 999.
    """
    return [Example(f"{number} =>", f" {in_words(number)}") for number in numbers]
