"""The chapters of `pellucid demo`, as the article tells them: each trains, generates or records, and prints what it did."""

import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from pellucid import finetune, prime, train, xray
from pellucid.cli.display import RunDisplay, stop_on_signals
from pellucid.cli.output import print_json
from pellucid.cli.prime import shots_rows, shots_table
from pellucid.cli.reports import SHOWN, TEMPERATURE, TOP_P, print_answers, print_completion, run_json
from pellucid.cli.studio import serve
from pellucid.cli.summary import write_summary
from pellucid.command_lines import command, prompt_words, shown_path
from pellucid.corpus import story_books
from pellucid.corpus.windows import ShortTextError
from pellucid.draw.figure_files import DrawnFigure
from pellucid.draw.figures import FIGURES, ONE_PARAMETER
from pellucid.errors import PellucidError
from pellucid.events import StopReason
from pellucid.finetuning.answers import AnsweredExample, held_out_answers
from pellucid.finetuning.examples import Example
from pellucid.finetuning.tasks import in_words, number_words
from pellucid.generation.load import load
from pellucid.generation.model import GPT
from pellucid.generation.prompt import Prompt
from pellucid.gpt.config import GPTConfig
from pellucid.languages import tr
from pellucid.runs.overfitting import overfitting
from pellucid.serve import Studio, write_page
from pellucid.serve.model_page.write import write_live_page
from pellucid.serve.studio.folder import PICTURES, draw_folder
from pellucid.training.run import Run


# What gave the best text after a minute on one core, of the settings tried (docs/log.md, "The demo's minute").
VOCAB_SIZE = 4096
TRAINING: dict[str, Any] = {"optimizer": "muon", "learning_rate": 0.01, "batch_tokens": 1024}
# In steps, not in minutes: what is learned must not depend on how busy the machine is. Some 25 s on two quiet cores.
FINETUNING: dict[str, Any] = {"steps": 80, "batch": 32, "learning_rate": 1e-3}
FEWEST_STEPS, PATIENCE = 40, 180.0  # after so many seconds fine-tuning may end early, but not before so many steps
PROMPT = "Once upon a time"
RECORDED = 24  # tokens of the recorded completion
QUESTION = 777  # never among the examples
SHOTS = (0, 1, 8)
OF_PLANS = [name for name, spec in FIGURES.items() if spec.kind == "plan"]  # a demo has no plan to draw, and needs none
TIME_LIMIT = 1.3  # of the training run, relative to its planned time


class Deadline:
    """A `stop` for `train` and `finetune`: stops a run that takes much longer than planned, as on a machine that became busy.

    The run is saved and can be resumed; the demo continues with what was trained. The time starts at the run's first step.

    Args:
        stop_requested: whether the user wants the run to stop. seconds: that it may take. fewest: steps that it takes anyway.
    """

    def __init__(self, stop_requested: Callable[[], bool], seconds: float, *, fewest: int = 0) -> None:
        self.stop_requested, self.seconds, self.fewest = stop_requested, seconds, fewest
        self.end, self.steps = math.inf, 0

    def __call__(self) -> bool | StopReason:
        """Whether to stop now, or why; called after each step."""
        self.steps += 1
        self.end = min(self.end, time.monotonic() + self.seconds)
        over = self.steps >= self.fewest and time.monotonic() >= self.end
        return self.stop_requested() or ("out of time" if over else False)


class Demo:
    """The demo in one folder.

    Args:
        console: for its words. out: the folder. seed: of training and sampling.
        live: whether the page holds the embedded model.

    Attributes:
        runs: those begun, in order. lesson: sentences about the training, where its text was learned by heart.
        answers: held-out examples with the answers before and after fine-tuning.
    """

    def __init__(self, *, console: Console, out: Path, seed: int, live: bool = False) -> None:
        self.console, self.out, self.seed, self.live = console, out, seed, live
        self.runs: list[Run] = []
        self.lesson: list[str] = []
        self.answers: list[AnsweredExample] = []

    @cached_property
    def base(self) -> GPT:
        """The embedded model."""
        return load()

    def train(self, texts: Sequence[str] | None, seconds: float) -> Run | None:
        """Chapter 1: trains a model on text. None if the user stopped it."""
        self._heading(tr("1. Training: expose it to lots of text"))
        books = list(story_books())
        names = ", ".join(map(shown_path, texts)) if texts else ", ".join(book.name for book in books)
        self._say(tr("text: {names}", names=names))

        with RunDisplay(console=self.console) as live, stop_on_signals(live) as stop_requested:
            try:
                trained = train(
                    texts or books, self.out / "run", config=GPTConfig.preset("tiny", vocab_size=VOCAB_SIZE), **TRAINING,
                    minutes=seconds / 60, seed=self.seed, prompt=None if texts else PROMPT, observers=[live],
                    stop=Deadline(stop_requested, TIME_LIMIT * seconds),
                )  # fmt: skip
            except ShortTextError as short:  # its advice names options of `pellucid train`
                raise PellucidError(f"{short.lack}: name longer texts, or more of them, with --text") from None
        self.runs.append(trained)
        if not trained.finished and stop_requested():
            return None
        if not trained.finished:
            self._say(tr(
                "stopped after {step:,} of {steps:,} steps, {factor:g} times the planned {seconds:g} s: this machine is busier "
                "than when a step was timed. What follows uses the model as it is now.", step=trained.step,
                steps=trained.plan.total_steps, factor=TIME_LIMIT, seconds=seconds,
            ), style="yellow")  # fmt: skip
        self.lesson = overfitting_lesson(trained)
        for line in self.lesson:
            self._say(line)
        return trained

    def write(self, trained: Run) -> None:
        """Chapter 2: generates with the new model and with the embedded one."""
        self._heading(tr("2. Writing: one token at a time"))
        prompt = trained.plan.sample_prompt
        print_completion(self.console, trained.model(), prompt, tr("the model you just trained"), seed=self.seed)
        told = tr("the embedded model, trained longer, on stories")
        print_completion(self.console, self.base, PROMPT, told, seed=self.seed)

    def look_inside(self) -> None:
        """Chapter 3: records what happens inside of the embedded model while it generates."""
        self._heading(tr("3. Looking inside: the same words, recorded"))
        tale = xray(self.base, PROMPT, max_tokens=RECORDED, temperature=TEMPERATURE, top_p=TOP_P, seed=self.seed)
        path = self.out / "tale.pellucid"
        tale.save(path)
        config = self.base.config
        self._say(tr(
            "{path}: {tokens} tokens, each as {width} numbers at {levels} levels, {heads} attention heads in each of {blocks} "
            "blocks: {size:,} bytes", path=shown_path(path), tokens=len(tale["generation/prompt_ids"]) + RECORDED,
            width=config.d_model, levels=config.n_layers + 1, heads=config.n_heads, blocks=config.n_layers,
            size=path.stat().st_size,
        ))  # fmt: skip

    def prime(self) -> None:
        """Chapter 4: asks the embedded model the same question after no, one and eight examples."""
        self._heading(tr("4. Priming: examples in the prompt"))
        shown = self._examples()[:: 1000 // max(SHOTS)][: max(SHOTS)]
        pairs = [(one.prompt.removesuffix(" =>"), one.completion.strip()) for one in shown]
        prompt, answer = Prompt("", pairs, str(QUESTION)), in_words(QUESTION)
        record = prime(self.base, prompt, answer=answer, shots=SHOTS)
        record.save(self.out / "priming.pellucid")
        self._say(shots_table(prompt, answer, shots_rows(record, self.base.require_tokenizer())))

    def finetune(self) -> Run | None:
        """Chapter 5: trains the embedded model on such examples. None if the user stopped it."""
        self._heading(tr("5. Fine-tuning: better at one task"))

        with RunDisplay(console=self.console) as live, stop_on_signals(live) as stop_requested:
            tuned = finetune(
                self._examples(), self.out / "tuned", model=self.base, **FINETUNING, seed=self.seed, observers=[live],
                stop=Deadline(stop_requested, PATIENCE, fewest=FEWEST_STEPS),
            )  # fmt: skip
        self.runs.append(tuned)
        if not tuned.finished:
            if stop_requested():
                return None
            self._say(tr(
                "stopped after {step:,} of {steps:,} steps, as its time was over: this machine is busy. What follows uses the "
                "model as it is now.", step=tuned.step, steps=tuned.plan.total_steps,
            ), style="yellow")  # fmt: skip
        self.answers = held_out_answers(tuned.path)
        print_answers(self.console, self.answers[:SHOWN], tuned)
        completion = tuned.model().generate(f"{QUESTION} =>", max_tokens=12, temperature=0, stop="\n")
        self._say(tr(
            "the question of chapter 4, which was not among the examples: {question} =>{answer}", question=QUESTION,
            answer=completion.text,
        ))  # fmt: skip
        return tuned

    def show(self, trained: Run, tuned: Run, *, json: bool, serves: bool) -> int:
        """Draws the figures, writes the page and the summary, names the next commands, and serves the folder."""
        self._heading(tr("The pictures, drawn from what was recorded"))
        page, drawn, absent = draw_folder(
            self.out, title=tr("Pellucid: a demo"), runs=(trained.path, tuned.path), command=command("studio", self.out),
            write=write_live_page if self.live else write_page,
        )  # fmt: skip
        self._list_figures(page, drawn)
        for lack in absent:
            if lack.figure not in OF_PLANS:
                self._say(str(lack), whole=True)
        summary = write_summary(self.out, trained, tuned, self.answers, self.lesson)
        self._heading(tr("Yours"))
        self._say(tr(
            "{page} shows all of it, without a server; {summary} says what happened; go on with", page=shown_path(page),
            summary=shown_path(summary),
        ))  # fmt: skip
        if self.live:
            self._say(tr("the page holds the embedded model: it writes, and recomputes what it shows, without a network"))
        for line in (
            ("generate", "-m", trained.path, *prompt_words(trained.plan.sample_prompt)),
            ("generate", "-m", tuned.path, f"{QUESTION} =>", "--temperature", 0),
            ("generate", PROMPT, "--tokens"),
            ("verify", self.out / "tale.pellucid"),
        ):
            self._say("  " + command(*line), whole=True)
        told = {"out": str(self.out), "page": str(page), "trained": run_json(trained), "tuned": run_json(tuned)}
        if not serves:
            if json:
                print_json(told)
            return 0

        def announce(studio: Studio) -> None:
            if json:
                print_json(told | {"url": studio.url})
            self._say(tr("and with a prompt box, live: {url}", url=studio.url), whole=True)

        return serve(Studio([self.out]), announce, browser=True)

    def _list_figures(self, page: Path, drawn: Sequence[DrawnFigure]) -> None:
        stems = [ONE_PARAMETER, *(one.planned.stem for one in drawn)]
        self._say(tr("{count} figures in {folder}: {names}", count=len(stems), folder=shown_path(page.parent / PICTURES),
                     names=", ".join(stems)))  # fmt: skip

    def _examples(self) -> list[Example]:
        """Numbers and their names, without the question."""
        return number_words(number for number in range(1000) if number != QUESTION)

    def _heading(self, words: str) -> None:
        self.console.rule(Text(words, style="bold"))

    def _say(self, words: str, style: str = "", *, whole: bool = False) -> None:
        """Prints a sentence, or with `whole` a line that is to be copied and has no line breaks of its own."""
        self.console.print(Text(words, style=style), soft_wrap=whole)


def overfitting_lesson(run: Run) -> list[str]:
    """What a run that learned its text by heart teaches, in sentences; none for others."""
    found = overfitting(run.metrics(), run.plan.source["train_tokens"])
    if found is None:
        return []
    return [
        tr(
            "This text is short: it was read {epochs:,.0f} times. On it the loss fell to {training:.2f} nats a token; on the "
            "part that was held out it was lowest, {lowest:.2f}, after step {step:,}, and then rose to {held_out:.2f}.",
            epochs=found.epochs,
            training=found.training,
            lowest=found.lowest,
            step=found.step,
            held_out=found.held_out,
        ),
        tr(
            "So the model learned this text by heart (overfitting): it repeats it and predicts other text worse. More text "
            "helps, or fewer steps; more steps do not."
        ),
    ]
