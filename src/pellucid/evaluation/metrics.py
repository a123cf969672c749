"""The metrics of one sample: the paper's (section 2.4), and comparison of HTML. No torch here.

Multiple choice, 1 where the right choice has the highest:
- accuracy: log-probability. accuracy_token: log-probability / tokens. accuracy_byte: log-probability / bytes of UTF-8.
- accuracy_context: log-probability - log-probability after "Answer:", the paper's P(completion | context) /
  P(completion | answer context) of ARC, OpenBookQA and RACE.
Of equal values the first counts, as in lm-eval: accuracy is its acc, accuracy_byte its acc_bytes, and accuracy_context, but for
the context, its acc_mutual_info.

Free form, the best over all right answers:
- exact_match: the text that was written, without white space around it, is the answer.
- f1: of the words in common, as SQuAD counts them: lower case, without punctuation and articles. It ignores minus signs.

Free form whose answers are HTML or React elements (`Task.compare` is "html"), before these two, by `html_tree`:
- html_match: the trees are equal. html_f1: F1 of the tags, attributes, declarations and texts that they have in common.
- html_valid: what was written parses.

Both: logprob_token and logprob_byte, the log-probability of the right answer per token and per byte, natural logarithm.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from pellucid.evaluation.html_tree import parse, similarity
from pellucid.evaluation.measure import SampleResult
from pellucid.evaluation.task import Compare, Query


CHOICE_METRICS = ("accuracy_token", "accuracy", "accuracy_byte", "accuracy_context", "logprob_token", "logprob_byte")
FREE_METRICS = ("exact_match", "f1", "logprob_token", "logprob_byte")
HTML_METRICS = ("html_match", "html_f1", "html_valid", *FREE_METRICS)
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def metrics_of(query: Query, measured: SampleResult, compare: Compare = "text") -> dict[str, float]:
    """Each metric of a sample, in the order of `CHOICE_METRICS`, `FREE_METRICS` or `HTML_METRICS`."""
    texts = query.choices or query.answers[:1]
    lengths = [len(text.encode()) for text in texts]
    right = texts.index(query.answers[0])
    likelihood = {
        "logprob_token": measured.logprobs[right] / measured.tokens[right],
        "logprob_byte": measured.logprobs[right] / lengths[right],
    }
    if not query.choices:
        written = measured.output or ""
        code = {
            "html_match": max_over_answers(html_match, written, query.answers),
            "html_f1": max_over_answers(similarity, written, query.answers), "html_valid": float(parse(written) is not None),
        } if compare == "html" else {}  # fmt: skip
        words = {
            "exact_match": max_over_answers(exact_match, written, query.answers),
            "f1": max_over_answers(f1, written, query.answers),
        }
        return code | words | likelihood

    def chosen(values: Sequence[float]) -> float:
        return float(texts[values.index(max(values))] in query.answers)

    logprobs = measured.logprobs
    return {
        "accuracy_token": chosen([logprob / tokens for logprob, tokens in zip(logprobs, measured.tokens, strict=True)]),
        "accuracy": chosen(logprobs),
        "accuracy_byte": chosen([logprob / length for logprob, length in zip(logprobs, lengths, strict=True)]),
        "accuracy_context": chosen([a - b for a, b in zip(logprobs, measured.context_logprobs, strict=True)]),
    } | likelihood


def max_over_answers(metric: Callable[[str, str], float], written: str, answers: Sequence[str]) -> float:
    """The highest value of a metric over all right answers."""
    return max(metric(written, answer) for answer in answers)


def exact_match(written: str, answer: str) -> float:
    """1 where the text is the answer; white space around either is ignored."""
    return float(written.strip() == answer.strip())


def html_match(written: str, answer: str) -> float:
    """1 where both parse to the same tree."""
    tree = parse(written)
    return float(tree is not None and tree == parse(answer))


def f1(written: str, answer: str) -> float:
    """The harmonic mean of precision and recall over words; a word in common counts as often as both texts have it."""
    a, b = _words(written), _words(answer)
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
