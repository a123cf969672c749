"""GPT-3's scores on the paper's own tasks, by number of examples. No torch here.

Tables 3.9 and 3.10 of Brown et al. 2020 (arXiv 2005.14165), of the model with 175 billion parameters, in percent. For three
word tasks the running text says 38.6, 40.2 and 66.9 where the table says 37.9, 39.7 and 67.2: these are the table's.
"""

ARITHMETIC_SHOTS, WORD_SHOTS = 50, 100  # "few-shot", appendix G
# By task: zero-shot, one-shot, few-shot, in percent.
ARITHMETIC: dict[str, tuple[float, float, float]] = {
    "two_digit_addition": (76.9, 99.6, 100.0),
    "two_digit_subtraction": (58.0, 86.4, 98.9),
    "three_digit_addition": (34.2, 65.5, 80.4),
    "three_digit_subtraction": (48.3, 78.7, 94.2),
    "four_digit_addition": (4.0, 14.0, 25.5),
    "four_digit_subtraction": (7.5, 14.0, 26.8),
    "five_digit_addition": (0.7, 3.5, 9.3),
    "five_digit_subtraction": (0.8, 3.8, 9.9),
    "two_digit_multiplication": (19.8, 27.4, 29.2),
    "single_digit_three_ops": (9.8, 14.3, 21.3),
}
# By task: few-shot, in percent.
WORDS: dict[str, float] = {
    "cycle_letters_in_word": 37.9,
    "mid_word_1_anagrams": 15.1,
    "mid_word_2_anagrams": 39.7,
    "random_insertion_in_word": 67.2,
    "reversed_words": 0.44,
}


def curve(task: str) -> list[tuple[int, float]]:
    """GPT-3 175B's (number of examples, share of right answers from 0 to 1); [] for a task that the paper does not have."""
    if task in ARITHMETIC:
        return [(shots, score / 100) for shots, score in zip((0, 1, ARITHMETIC_SHOTS), ARITHMETIC[task], strict=True)]
    return [(WORD_SHOTS, WORDS[task] / 100)] if task in WORDS else []
