"""Generated training text for tests: words in a pseudo-random order."""


STORY = "the fox ran over a hill and saw one small bird that sang to no one at all while rain fell on stones"


def story(length: int, seed: int) -> str:
    """That many words in an order that depends on the seed alone: the same text on every machine."""
    words = STORY.split()
    state, written = seed, []
    for _ in range(length):
        state = (state * 1103515245 + 12345) % 2**31
        written.append(words[(state >> 16) % len(words)] + ("." if state % 7 == 0 else ""))
    return " ".join(written)
