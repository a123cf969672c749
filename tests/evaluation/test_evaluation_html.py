"""HTML as trees: what is written and read again, what is no tree, and how much two trees have in common."""

from html import escape

import pytest
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.evaluation.html_tree import VOID, Element, parse, similarity
from pellucid.evaluation.measure import SampleResult
from pellucid.evaluation.metrics import HTML_METRICS, metrics_of
from pellucid.evaluation.react import react_task
from pellucid.evaluation.task import Query, Task


TAGS = ("div", "p", "h1", "button", "ul", "li", "a")
TEXTS = st.text(alphabet="ab c<&'\"", min_size=1, max_size=6).map(lambda text: " ".join(text.split())).filter(bool)
STYLES = st.dictionaries(st.sampled_from(("color", "font-size", "border")), st.sampled_from(("red", "24px", "2px solid blue")))


def element(children: st.SearchStrategy[tuple[Element | str, ...]]) -> st.SearchStrategy[Element]:
    attributes = st.tuples(st.dictionaries(st.sampled_from(("href", "id")), TEXTS), STYLES).map(
        lambda both: tuple(sorted([*both[0].items(), *([("style", css(both[1]))] if both[1] else [])]))
    )
    return st.builds(Element, st.sampled_from(TAGS), attributes, children)


def css(style: dict[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in sorted(style.items()))


def no_two_texts(children: list[Element | str]) -> tuple[Element | str, ...]:
    """The children without a text after a text, which would be one when they are read."""
    return tuple(one for i, one in enumerate(children) if not (i and isinstance(one, str) and isinstance(children[i - 1], str)))


TREES = st.recursive(
    element(st.just(())),
    lambda below: element(st.lists(st.one_of(below, TEXTS), max_size=3).map(no_two_texts)),
    max_leaves=6,
)


def written(one: Element | str, *, react: bool, reverse: bool) -> str:
    """HTML of a tree, or React's, with the attributes and declarations in this order or the other."""
    if isinstance(one, str):
        return f" {escape(one)}\n"
    parts = []
    for name, value in reversed(one.attributes) if reverse else one.attributes:
        if name != "style":
            parts.append(f' {name}="{escape(value)}"')
            continue
        pairs = [tuple(pair.split(": ")) for pair in value.split("; ")]
        pairs = pairs[::-1] if reverse else pairs
        if react:
            names = ["fontSize" if key == "font-size" else key for key, _ in pairs]
            values = ["24" if found == "24px" else f"'{found}'" for _, found in pairs]
            parts.append(" style={{" + ", ".join(f"{a}: {b}" for a, b in zip(names, values, strict=True)) + "}}")
        else:
            parts.append(' style="' + ";".join(f"{a}:{b}" for a, b in pairs) + '"')
    inner = "".join(written(child, react=react, reverse=reverse) for child in one.children)
    return f"<{one.tag}{''.join(parts)}>{inner}</{one.tag}>"


@cases(60)
@given(TREES, st.booleans(), st.booleans())
def test_what_is_written_is_read_again(tree: Element, react: bool, reverse: bool) -> None:
    text = written(tree, react=react, reverse=reverse)
    assert parse(text) == (tree,)
    assert parse(f"{text} {text}") == (tree, tree)
    assert similarity(text, written(tree, react=not react, reverse=not reverse)) == 1.0
    assert parse(text[:-1]) is None and parse(text[text.index(">") + 1 :]) is None and parse(f"x{text}") is None


@cases(200)
@given(st.text(alphabet="<>/={}'\"!-?[]& abp:;", max_size=30))
def test_any_text_is_a_tree_or_none(text: str) -> None:
    assert parse(text) is None or similarity(text, text) == 1.0


def test_similarity_counts_the_parts_in_common() -> None:
    right = "<button style={{color: 'red', fontSize: 24}}>Stop</button>"  # 4 parts: tag, two declarations, text
    for other, common in (
        ('<button style="font-size: 24px; color: blue">Stop</button>', 3),
        ("<button style={{color: 'red' 24}}>Stop</button>", 2),
        ("<p style={{color: 'red', fontSize: 24}}>Stop</p>", 0),
    ):  # fmt: skip
        parts = 4 if "fontSize" in other or "font-size" in other else 3
        assert similarity(other, right) == pytest.approx(2 * common / (4 + parts))
    assert parse("<input disabled>") == (Element("input", (("disabled", ""),)),) and "input" in VOID


def test_code_is_scored_as_trees() -> None:
    query = Query(prompt="a", answers=("<p id='x'>b</p>",))
    assert Task(name="t", queries=[query], compare="html").compare == "html"

    def scored(output: str) -> dict[str, float]:
        return metrics_of(query, SampleResult(logprobs=(-1.0,), tokens=(2,), output=output), "html")

    same, other, broken = scored(' <p id="x"> b</p>'), scored("<p>b</p>"), scored("<p id='x'>b")
    assert tuple(same) == HTML_METRICS
    assert (same["html_match"], same["html_f1"], same["html_valid"], same["exact_match"]) == (1, 1, 1, 0)
    assert (other["html_match"], other["html_f1"], other["html_valid"]) == (0, pytest.approx(2 * 2 / 5), 1)
    assert (broken["html_match"], broken["html_f1"], broken["html_valid"]) == (0, 0, 0)
    with pytest.raises(PellucidError, match="t, query 1: the answer '<p>b' is not HTML with closed tags"):
        Task(name="t", queries=[Query(prompt="a", answers=("<p>b",))], compare="html")
    with pytest.raises(PellucidError, match="compared as text or html, not 'xml'"):
        Task(name="t", queries=[query], compare="xml")  # type: ignore[arg-type]


def test_queries_of_the_react_example_are_new() -> None:
    task = react_task()
    assert (len(task.queries), len(task.examples), task.compare, task.format) == (60, 400, "html", "code")
    queries, examples = (
        {(tree.tag, style) for query in part for tree in parse(query.answers[0]) or () for _, style in tree.attributes}
        for part in (task.queries, task.examples)
    )
    assert queries - examples  # in colours that they do not have there,
    assert {tag for tag, _ in queries} <= {tag for tag, _ in examples}  # of elements that the examples have
    assert not {query.prompt for query in task.queries} & {query.prompt for query in task.examples}


@pytest.mark.parametrize(("name", "value", "css"), [
    ("zIndex", "2", "z-index: 2"), ("opacity", "1", "opacity: 1"), ("fontWeight", "700", "font-weight: 700"),
    ("width", "0", "width: 0"), ("width", "7", "width: 7px"), ("width", "'7'", "width: 7"),
])  # fmt: skip
def test_numbers_of_react_have_the_units_that_they_have_there(name: str, value: str, css: str) -> None:
    assert parse(f"<p style={{{{{name}: {value}}}}}>a</p>") == parse(f'<p style="{css}">a</p>') != None  # noqa: E711
