"""How many cases a property test generates: the number written beside it, and a multiple of that in `.ci/full`."""

import os
from typing import Any

from hypothesis import settings


TIMES = int(os.environ.get("PELLUCID_TEST_CASES", "1"))


def cases(count: int = 100, **others: Any) -> settings:
    """Hypothesis settings for `count` cases; PELLUCID_TEST_CASES=20 in the environment makes that 20 times as many."""
    return settings(max_examples=TIMES * count, **others)
