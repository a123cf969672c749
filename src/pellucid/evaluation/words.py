"""The paper's five word tasks (section 3.9.2, table 3.10), from their rules. No torch here.

- cycle_letters_in_word: the letters rotated. reversed_words: backwards.
- mid_word_1_anagrams: all letters but the first and the last shuffled; mid_word_2_anagrams: but the first two and the last two.
- random_insertion_in_word: a space, ".", "/" or "!", equally likely, between every two letters.

The paper takes the 10,000 most frequent words of 5 to 14 letters from a list that we may not copy. Here they are the words of
that length in the story books of the package that occur there twice at least and without a capital (some 4,000), in an order
drawn from the seed. Rotations and shuffles that leave a word as it is are drawn again, and words that have no other are left
out (a choice: of OpenAI's released items for the second anagram task 193 of 10,000 are not scrambled). The format is "equals".
"""

import re
from collections import Counter
from functools import cache

import numpy as np

from pellucid.corpus.stories import story_books
from pellucid.evaluation.task import Query, Task
from pellucid.hashing import mix, mix_array


DESCRIPTION = "Please unscramble the letters into a word, and write that word:"  # appendix G
EXAMPLES = 1_000  # words that are for prompts only
SHORTEST, LONGEST = 5, 14  # letters: "length more than 4 and less than 15"
INSERTED = " ./!"
_TWICE = 2
_WORD = re.compile(r"(?<![\w'’-])[a-z]+(?![\w'’-])")
NAMES = (
    "cycle_letters_in_word", "mid_word_1_anagrams", "mid_word_2_anagrams", "random_insertion_in_word", "reversed_words"
)  # fmt: skip


def word_task(name: str, *, seed: int = 0) -> Task:
    """One of `NAMES`.

    Raises:
        PellucidError: as `story_books`.
    """
    number, words = NAMES.index(name), frequent_words()
    made = list[Query]()
    order = np.argsort(mix_array(mix(seed, number), np.arange(len(words))), kind="stable")
    for index, word in enumerate(words[place] for place in order.tolist()):
        scrambled = scramble(name, word, mix(seed, number, index))
        if scrambled != word:
            made.append(Query(prompt=scrambled, answers=(word,)))
    return Task(name=name, queries=made[EXAMPLES:], examples=made[:EXAMPLES], description=DESCRIPTION, format="equals")


def scramble(name: str, word: str, key: int) -> str:
    """The word as the task shows it; the word itself where nothing else is possible."""
    if name == "reversed_words":
        return word[::-1]
    if name == "random_insertion_in_word":
        marks = [INSERTED[mix(key, place) % len(INSERTED)] for place in range(len(word) - 1)]
        return "".join(letter + mark for letter, mark in zip(word, [*marks, ""], strict=True))
    if name == "cycle_letters_in_word":
        first, count = mix(key) % (len(word) - 1), len(word) - 1
        places = (1 + (first + k) % count for k in range(count))
        return next((moved for place in places if (moved := word[place:] + word[:place]) != word), word)
    kept = 1 if name == "mid_word_1_anagrams" else 2
    middle = word[kept:-kept]
    if len(set(middle)) < 2:
        return word
    attempt = 0
    while (shuffled := _shuffled(middle, mix(key, attempt))) == middle:
        attempt += 1
    return word[:kept] + shuffled + word[-kept:]


def _shuffled(text: str, key: int) -> str:
    return "".join(text[place] for place in sorted(range(len(text)), key=lambda place: mix(key, place)))


@cache
def frequent_words() -> tuple[str, ...]:
    """The words, the most frequent first, of equals in the alphabet's order."""
    counts = Counter(word for book in story_books() for word in _WORD.findall(book.text) if SHORTEST <= len(word) <= LONGEST)
    return tuple(sorted((word for word, count in counts.items() if count >= _TWICE), key=lambda word: (-counts[word], word)))
