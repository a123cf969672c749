"""Measures a trained model and writes its model card, in the form of Mitchell et al. 2019 (arXiv 1810.03993).

    python -m recipes.default_model.card MODEL --data DATA --corpus CORPUS [--beside default] [--name small]

MODEL is a directory that `export` wrote; its `training.json` tells how it was trained. Writes MODEL/MODEL_CARD.md and prints
what is being measured; `--json FILE` keeps all numbers. `--beside` names another model to compare with.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pellucid.api.reproduce import RECIPES
from pellucid.files import write_whole
from pellucid.generation.load import load
from recipes.default_model import card_numbers
from recipes.default_model.card_numbers import PROMPTS, TEMPERATURE, TOP_P, clear_gains, measure, passages
from recipes.default_model.evaluate import SHOTS
from recipes.default_model.grammar import known_words
from recipes.default_model.grammar import measure as grammar_of
from recipes.default_model.manifest import name_of
from recipes.default_model.prepare import DATA
from recipes.default_model.rounding import losses


CARD, TRAINING, ROUNDING = "MODEL_CARD.md", "training.json", "rounding.json"


def render(
    numbers: dict[str, Any], training: dict[str, Any], books: dict[str, Any], *, name: str, begun_with: str | None = None,
    titles: bool = True,
) -> str:  # fmt: skip
    """The card.

    Args:
        numbers: {"model": `measure`, "beside": the same of another model or None, "beside_name": its name, "people": {"parsed":
            ...} of the test books' own passages, "rounding": `rounding.losses` or None}.
        training: the model's `training.json`. books: `data.json`.
        begun_with: what `pellucid reproduce` calls the model whose weights it began with; None: no entry is known.
        titles: whether all books are listed.
    """
    return "\n".join([
        *_details(numbers["model"], training, books, name, begun_with), *_use(), *_scores(numbers),
        *_few_shot(numbers["model"]), *_inside(numbers["model"]), *_text(numbers), *_samples(numbers),
        *_data(books, titles=titles), *_again(training),
    ]) + "\n"  # fmt: skip


def _details(
    model: dict[str, Any], training: dict[str, Any], books: dict[str, Any], name: str, begun_with: str | None
) -> Iterator[str]:
    shape = model["shape"]
    yield from (f"# The model `{name}`", "")
    yield "A small language model of GPT-3's architecture, trained on older stories in English and on tasks made by programs."
    yield from ("", "## Details", "")
    yield (
        f"- **Shape**: {model['parameters']:,} parameters; {shape['n_layers']} blocks "
        f"({', '.join(map(str, shape['pattern']))}), width {shape['d_model']}, {shape['n_heads']} heads, context of "
        f"{shape['n_ctx']} positions, vocabulary of {shape['vocab_size']:,} tokens (byte-level BPE of "
        f"{'a part of the books' if training.get('begun_with') else 'the same text'}), output matrix tied."
    )
    share = {kind: training[kind] for kind in ("tasks", "markup")}
    if training.get("begun_with"):
        yield (
            f"- **Begun with** the weights and the tokenizer of an earlier model (fingerprint `{training['begun_with'][:16]}`"
            f"{f', `pellucid reproduce {begun_with}`' if begun_with else ''})."
        )
    yield (
        f"- **Training**: {training['tokens']:,} tokens; of every 20 windows {20 - sum(share.values())} of books, "
        f"{share['tasks']} of tasks, {share['markup']} of descriptions with code{_eot(training)}. Muon for matrices "
        f"of blocks, AdamW for the rest, peak rate {training['learning_rate']:g}, {training['batch']} windows a step, "
        f"{_schedule(training)}; products in {training['dtype']}. Averaged weights ({training['average']:g} a step). "
        f"Seed {training['seed']}."
    )
    yield (
        f"- **Text**: {_count(books, 'train')} books to train on ({books['train_bytes'] / 1e6:.1f} MB, "
        f"{books['train_tokens']:,} tokens), {_count(books, 'validation')} to choose between recipes, "
        f"{_count(books, 'test')} to measure the result."
    )


def _eot(training: dict[str, Any]) -> str:
    """When windows of tasks and code began with end-of-text."""
    if training.get("eot_from") is None:
        return ""
    when = f" from token {training['eot_from']:,} on" if training["eot_from"] else ""
    return f" ({'both' if training['markup'] else 'tasks'} begin with end-of-text{when})"


def _schedule(training: dict[str, Any]) -> str:
    warm = f"linear rise over {training['warmup_tokens']:,} tokens, then flat"
    if training["decay_from"] is None:
        return f"{warm}, without a decay"
    end = training["decay_from"] + training["decay_tokens"]
    fall = f"{warm}, then from token {training['decay_from']:,} a linear fall to {training['final_fraction']:.0%}"
    return fall if training["tokens"] >= end else f"{fall} at token {end:,}, before which it was stopped"


def _count(books: dict[str, Any], part: str) -> int:
    return sum(book["part"] == part for book in books["books"])


def _use() -> Iterator[str]:
    yield from ("", "## Intended use, and what it is not for", "")
    yield "- **For**: seeing how a language model works, sentences in the style of its books, priming and short fine-tuning."
    yield "- **Not for**: facts, advice, or any decision. It makes things up, follows no instructions beyond the kinds of small"
    yield "  tasks that it was trained on, and knows no language but English."
    yield "- **Bias**: the books are old and hold views of their time about peoples, women and class; the model repeats them."
    yield "  A few words are left out of the tasks (`lexicon.LEFT_OUT`), none out of the books."
    yield "- **Rights**: books whose author and translator are believed dead for 70 years, in the public domain in the US, most"
    yield "  as edited by Standard Ebooks (CC0) or Project Gutenberg volunteers (GITenberg). The weights are under this"
    yield "  project's licence."


def _scores(numbers: dict[str, Any]) -> Iterator[str]:
    model, beside = numbers["model"], numbers["beside"]
    yield from ("", "## Bits per byte of the test books", "")
    head = ["book", "this model", *([f"`{numbers['beside_name']}`"] if beside else [])]
    yield from _table(head, [
        [Path(path).stem if path != "all" else "all five", f"{bits:.4f}",
         *([f"{beside['bits_per_byte'][path]:.4f}"] if beside else [])]
        for path, bits in model["bits_per_byte"].items()
    ])  # fmt: skip
    if numbers["rounding"]:
        yield from ("", "What rounding costs, on validation books (eight windows of each):", "")
        yield from _table(["storage", "bits a weight", "bits per byte", "lost"], [
            [storage, f"{row['bits_a_weight']:g}", f"{row['bits_per_byte']:.4f}", f"{row['lost']:+.4f}"]
            for storage, row in numbers["rounding"].items()
        ])  # fmt: skip


def _few_shot(model: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Learning from examples in the prompt", "")
    yield "Share of queries whose answer is the likeliest, token by token, after 0, 1 and 8 examples, and the gain of eight"
    yield "over none in nats of the answer's log-probability, with 1.96 standard errors of the paired differences. The rule is"
    yield f"drawn anew for each query. Seed 0, {model['queries']} queries a family, the first of those of"
    yield "`pellucid evaluate --tasks families_held_out`."
    yield f"Gains whose interval is above 0: {_gains(model)}."
    said = {"held_out": "Families never trained on", "frequent": "The most frequent trained families", "markup": "Code"}
    for part, heading in said.items():
        yield from ("", f"{heading}:", "")
        yield from _table(["family", *(f"{shots}" for shots in SHOTS), "gain of 8"], [
            [family, *(f"{score['accuracy'][shots]:.0%}" for shots in SHOTS),
             f"{score['gain']:+.2f} ± {score['gain_interval']:.2f}"]
            for family, score in model["families"][part].items()
        ])  # fmt: skip


def _gains(model: dict[str, Any]) -> str:
    return ", ".join(
        f"{len(clear_gains(scores))} of {len(scores)} ({part.replace('_', ' ')})" for part, scores in model["families"].items()
    )


def _inside(model: dict[str, Any]) -> Iterator[str]:
    heads = model["heads"]
    yield from ("", "## Known heads", "")
    yield "On 50 random tokens that come twice (`pellucid.interpret.heads`; a name from a mean weight of 0.3 that is five times"
    yield "that of even attention):"
    yield ""
    for one in heads["named"]:
        yield f"- block {one['block']}, head {one['head']}: {one['kind'].replace('_', ' ')}, {one['score']:.2f}"
    if not heads["named"]:
        yield "- none has a name"
    for kind, one in heads["highest"].items():
        if not any(named["kind"] == kind for named in heads["named"]):
            yield f"- highest of {kind.replace('_', ' ')}: block {one['block']}, head {one['head']}, {one['score']:.2f}"
    yield (
        f"- loss of the tokens, first time {heads['loss_first']:.2f} nats, second time {heads['loss_second']:.2f} "
        f"(ln V = {heads['uniform_loss']:.2f})"
    )


def _text(numbers: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Its text", "")
    yield "Sentences that parse by a local grammar, words unknown to the training books, words in stretches of four that"
    yield "came before, different stretches of n words (`grammar.py` states the procedure, which is no parser), of the"
    yield "samples below; beside them passages of the test books, whose sentences people wrote."
    yield ""
    rows = [["this model", numbers["model"]["grammar"]]]
    if numbers["beside"]:
        rows.append([f"`{numbers['beside_name']}`", numbers["beside"]["grammar"]])
    rows.append(["test books", numbers["people"]])
    yield from _table(["", "parse", "unknown", "repeated", "distinct-1", "-2", "-3"], [
        [who, f"{g['parsed']:.0%} of {g['sentences']}", f"{g['unknown']:.1%}", f"{g['repeated']:.1%}",
         *(f"{g['distinct'][n]:.2f}" for n in (1, 2, 3))]
        for who, g in rows
    ])  # fmt: skip
    yield ""
    model = numbers["model"]
    shared, count = model["shared"], len(model["samples"])
    yield (
        f"Of {count} samples {len(shared)} have a stretch of {model['least_shared']} tokens or more in common with the "
        f"training books{'; the longest:' if shared else '.'}"
    )
    if shared:
        yield ""
        for one in shared[:3]:
            yield f"- {one['tokens']} tokens ({one['prompt']}, seed {one['seed']}): {_quoted(one['text'])}"


def _samples(numbers: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Samples", "")
    yield f"Ten seeds of each prompt, temperature {TEMPERATURE}, top_p {TOP_P}, none left out."
    sets = [("this model", numbers["model"])]
    if numbers["beside"]:
        sets.append((f"`{numbers['beside_name']}`", numbers["beside"]))
    for who, model in sets:
        for prompt in PROMPTS:
            yield from ("", f"**{prompt}** ({who})", "")
            for one in model["samples"]:
                if one["prompt"] == prompt:
                    yield f"{one['seed'] + 1}. {_quoted(prompt + one['text'])}"


def _quoted(text: str) -> str:
    """Text in a line of Markdown, as code, with its line breaks as |."""
    return "`" + " ".join(text.replace("`", "'").replace("\n", " | ").split()) + "`"


def _data(books: dict[str, Any], *, titles: bool) -> Iterator[str]:
    yield from ("", "## Data", "")
    yield f"Tokenizer `{books['tokenizer'][:16]}`, word lists `{books['lexicon'][:16]}`, seed {books['seed']}."
    yield "`pellucid reproduce default` names each book with its SHA-256."
    for part, said in (("test", "Test"), ("validation", "Validation"), ("train", "Training")):
        if titles or part == "test":
            yield from ("", f"{said} ({_count(books, part)} books):", "")
            yield from (f"- {book['author']}: *{book['title']}*" for book in books["books"] if book["part"] == part)


def _again(training: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Making it again", "")
    yield "The commands are in `recipes/default_model/README.md`; with the same books and seeds the text, its order and the"
    yield f"recipe are the same. Shape `{training['config']['name']}`, seed {training['seed']}, {training['tokens']:,} tokens."


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(head) - 1)])}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--beside", help="another model, whose samples and numbers stand beside these")
    parser.add_argument("--name", default="default", help="what `-m` calls the model (default: default)")
    parser.add_argument("--titles", action=argparse.BooleanOptionalAction, default=True, help="list all books")
    parser.add_argument("--queries", type=int, default=card_numbers.QUERIES, help="of each family")
    parser.add_argument("--json", type=Path, help="a file for all numbers")
    chosen = parser.parse_args()

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    # Before anything is measured, which takes minutes: a model that began with one of no entry is refused.
    training = json.loads((chosen.model / TRAINING).read_text(encoding="utf-8"))
    entries = json.loads(RECIPES.read_text(encoding="utf-8"))
    begun_with = name_of(training["begun_with"], entries) if training.get("begun_with") else None
    report("words of the books")
    known = known_words(chosen.data)
    people = asdict(grammar_of(passages(chosen.data), known))
    numbers: dict[str, Any] = {"people": people, "beside": None, "beside_name": chosen.beside and Path(chosen.beside).name}
    model = load(chosen.model)
    numbers["model"] = measure(model, chosen.data, chosen.corpus, known, queries=chosen.queries, report=report)
    if chosen.beside:
        beside = load(chosen.beside)
        numbers["beside"] = measure(beside, chosen.data, chosen.corpus, known, queries=chosen.queries, report=report)
    file = chosen.model / ROUNDING
    numbers["rounding"] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else losses(model, chosen.corpus)
    books = json.loads((chosen.data / DATA).read_text(encoding="utf-8"))
    if chosen.json:
        write_whole(chosen.json, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    card = render(numbers, training, books, name=chosen.name, begun_with=begun_with, titles=chosen.titles)
    write_whole(chosen.model / CARD, card)
    print(chosen.model / CARD)


if __name__ == "__main__":
    main()
