"""The cost of recording: generating with and without a tap, training with and without a recorder.

The peer is Pellucid without recording, so a ratio of 1 means that recording costs nothing, and 0.9 that it costs a tenth.
"""

import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import pellucid
from pellucid import events
from pellucid.bench.compare import Comparison, interleaved
from pellucid.corpus import Document
from pellucid.engine.engine import run_to_completion
from pellucid.finetuning.tasks import number_words
from pellucid.generation.model import GPT
from pellucid.gpt.config import GPTConfig
from pellucid.interpret.capture import KEEP, capture_generation
from pellucid.runtime.torch_runner import TorchRunner


ABOUT = "what recording costs: generation with and without it, training with and without it"
PROMPT, TOKENS = 16, 24
STEPS = 100
CANDIDATES = 20


def comparisons(rounds: int) -> Sequence[Comparison]:
    """Generation with a random model of GPT-2's smallest shape, training of the preset `tiny`."""
    return [*_generation(rounds), _training(rounds)]


def _generation(rounds: int) -> Sequence[Comparison]:
    model = GPT(GPTConfig.preset("gpt2"), seed=0).eval().requires_grad_(False)
    prompt = [(7919 * place) % model.config.vocab_size for place in range(PROMPT)]

    def plain() -> None:
        # The runner that a recorded generation uses too.
        deque(run_to_completion(TorchRunner(model), [model.new_sequence(prompt, max_tokens=TOKENS, seed=1)]), 0)

    def capture() -> None:
        capture_generation(model, model.new_sequence(prompt, max_tokens=TOKENS, seed=1), KEEP, CANDIDATES)

    def whole() -> None:
        pellucid.xray(model, prompt, max_tokens=TOKENS, seed=1, candidates=CANDIDATES)

    name, peer = "xray/gpt2-124m/generate", "generate, not recorded"
    return [
        interleaved(capture, plain, rounds=rounds).rate(name, peer, work=TOKENS),
        interleaved(whole, plain, rounds=rounds).rate(f"{name}/views", peer, work=TOKENS),
    ]


def _training(rounds: int) -> Comparison:
    text = "\n".join(f"{example.prompt} {example.completion}" for example in number_words())
    document = Document("numbers", 4 * text)
    with tempfile.TemporaryDirectory() as folder:

        def train(record: bool) -> float:
            """Seconds from the run's start to its end: preparing the text is left out, checkpoints and records are not."""
            times = {}

            def note(event: events.Event) -> None:
                if isinstance(event, events.RunStarted | events.RunFinished):
                    times[type(event)] = perf_counter()

            with tempfile.TemporaryDirectory(dir=folder) as run:
                out = Path(run) / "run"
                pellucid.train(document, out, preset="tiny", steps=STEPS, record=record, observers=[note])
            return times[events.RunFinished] - times[events.RunStarted]

        found = interleaved(lambda: train(True), lambda: train(False), rounds=rounds, warm_ups=0)
    tokens = STEPS * pellucid.GPTConfig.preset("tiny").n_ctx * 16
    return found.rate("xray/tiny/train", "train, not recorded", work=tokens)
