"""Cached, batched and streamed answers against one that recomputes everything at every token."""

import pytest
import torch
from cases import cases
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.options import SamplingOptions
from pellucid.engine.sampling import draw, uniform
from pellucid.generation.model import GPT
from pellucid.gpt.arrangements import all_dense, alternating
from pellucid.gpt.config import GPTConfig
from pellucid.runtime.torch_runner import TorchRunner
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


BAND, N_CTX, VOCAB = 8, 64, 97
TOLERANCE = 1e-4  # float32 sums in another order


def make(vocab_size=VOCAB, *, pattern=None, tokenizer=None, seed=3) -> GPT:
    """Random weights, larger than at a training's start, so that the next tokens are neither flat nor certain."""
    config = GPTConfig(
        vocab_size=vocab_size, n_ctx=N_CTX, n_layers=4, d_model=32, n_heads=4,
        pattern=pattern or alternating(4, band=BAND),
    )  # fmt: skip
    model = GPT(config, tokenizer=tokenizer, seed=seed).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(40 if name.endswith("c_proj.weight") else 12)
    return model


@pytest.fixture(scope="module")
def banded() -> GPT:
    return make()


@pytest.fixture(scope="module")
def speaking() -> GPT:
    """A model with a tokenizer, whose random text is full of unfinished characters."""
    tokens = [bytes([b]) for b in BYTE_ORDER] + [b"ab", b"ba", b"\xc3\xa9", b"\xa9a", b" the"]
    return make(262, tokenizer=Tokenizer(tokens))


def prompt_ids(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, VOCAB - 1, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def naive(model: GPT, prompt: list[int], options: SamplingOptions, sample: int = 0):
    """The oracle: no cache, no batch; the whole text is read again for every token."""
    ids, logprobs = list(prompt), []
    for _ in range(options.max_tokens):
        drawn = draw(model(torch.tensor([ids]))[0, -1].numpy(), options, uniform(options.seed, sample, len(ids)))
        ids.append(drawn.id)
        logprobs.append(drawn.logprob)
        if drawn.id == model.config.vocab_size - 1:
            break
    return ids[len(prompt) :], logprobs


def assert_same(completion, ids, logprobs):
    assert completion.ids == ids
    assert completion.logprobs == pytest.approx(logprobs, abs=TOLERANCE)


# Past the band (8) inside the prompt and after it, past every wrap of the banded blocks, and up to the last position.
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 40, 63, 64])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_is_the_whole_text_read_again(banded, length, temperature):
    options = SamplingOptions(max_tokens=N_CTX + 1 - length, temperature=temperature, seed=4)
    prompt = prompt_ids(length)
    completion = banded.generate(prompt, max_tokens=options.max_tokens, temperature=temperature, seed=4)
    assert_same(completion, *naive(banded, prompt, options))
    assert completion.prompt_ids == prompt
    assert completion.finish_reason == ("stop" if completion.ids[-1] == VOCAB - 1 else "length")


def test_the_oracle_cases_are_not_trivial(banded):
    """Answers run long past the band, and differ from those of an all-dense model with the same weights."""
    dense = make(pattern=all_dense(4))
    written = [m.generate(prompt_ids(5), max_tokens=60, seed=4).ids for m in (banded, dense)]
    assert len(written[0]) > 3 * BAND
    assert written[0] != written[1]
    assert len(set(written[0])) > 20
    assert len(set(banded.generate(prompt_ids(5), max_tokens=60, temperature=0).ids)) > 5


def test_prompts_of_different_lengths_together_are_each_alone(banded):
    prompts = [prompt_ids(n, seed=n) for n in (3, 30, 1, 8, 17, 9)] + [[]]
    options = {"max_tokens": 34, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "seed": 12, "logprobs": 2}
    together = banded.generate(prompts, **options)
    lengths = set()
    for prompt, completion in zip(prompts, together, strict=True):
        alone = banded.generate(prompt or None, **options)
        assert_same(completion, alone.ids, alone.logprobs)
        assert [[i for i, _ in top] for top in completion.top_logprobs] == [[i for i, _ in t] for t in alone.top_logprobs]
        assert completion.prompt_ids == alone.prompt_ids == (prompt or [VOCAB - 1])
        lengths.add(len(completion.ids))
    assert len(lengths) > 1, "no row left the batch before another"


@pytest.mark.long
@cases(12)
@given(st.lists(st.integers(1, 45), min_size=1, max_size=4), st.integers(0, 20), st.integers(1, 3), st.integers(0, 99))
def test_any_batch_is_its_oracle(banded, lengths, max_tokens, n, seed):
    prompts = [prompt_ids(length, seed=i) for i, length in enumerate(lengths)]
    options = SamplingOptions(max_tokens=max_tokens, top_k=20, seed=seed)
    completions = banded.generate(prompts, max_tokens=max_tokens, top_k=20, seed=seed, n=n)
    assert len(completions) == n * len(prompts)
    for index, completion in enumerate(completions):  # all answers to the first prompt come first
        prompt, sample = prompts[index // n], index % n
        assert completion.prompt_ids == prompt
        assert_same(completion, *naive(banded, prompt, options, sample))


def test_samples_differ_and_do_not_depend_on_how_many_there_are(banded):
    prompt = prompt_ids(11)
    four = banded.generate(prompt, max_tokens=20, seed=1, n=4)
    assert len({tuple(c.ids) for c in four}) == 4
    two = banded.generate(prompt, max_tokens=20, seed=1, n=2)
    one = banded.generate(prompt, max_tokens=20, seed=1)
    assert [c.ids for c in two] == [c.ids for c in four[:2]]
    assert one.ids == four[0].ids


def test_samples_share_one_reading_of_their_prompt(banded, monkeypatch):
    read = []
    forward = TorchRunner._forward
    monkeypatch.setattr(TorchRunner, "_forward", lambda self, spans, n, tap: read.append(n) or forward(self, spans, n, tap))
    projected = []
    logits = TorchRunner._logits
    monkeypatch.setattr(TorchRunner, "_logits", lambda self, h: projected.append(h.shape) or logits(self, h))
    banded.generate([prompt_ids(11), prompt_ids(5)], max_tokens=2, seed=1, n=3)
    # The second prompt is the beginning of the first: its last token alone is read, beside three answers that go on.
    assert read == [11, 3 + 1, 3]
    assert projected == [(1, 32), (3 + 1, 32), (3, 32)]  # only the last position of a prompt


def test_going_on_from_an_answer_is_the_same_answer(banded):
    """A draw belongs to its position, so a text can be cut anywhere and continued with the same seed."""
    prompt = prompt_ids(6)
    whole = banded.generate(prompt, max_tokens=30, seed=8)
    rest = banded.generate(prompt + whole.ids[:10], max_tokens=20, seed=8)
    assert rest.ids == whole.ids[10:]


def test_seeds(banded):
    assert banded.generate(seed=5, max_tokens=30) == banded.generate(seed=5, max_tokens=30)
    assert banded.generate(seed=5, max_tokens=30).ids != banded.generate(seed=6, max_tokens=30).ids
    fresh = banded.generate(max_tokens=30)
    assert banded.generate(max_tokens=30, seed=fresh.seed) == fresh
    assert len({banded.generate(max_tokens=1).seed for _ in range(4)}) > 1


def test_the_global_generator_is_neither_read_nor_moved(banded):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    banded.generate(max_tokens=5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", range(6))
def test_stream_is_generate(speaking, seed):
    for stop in ((), ("a", "the"), ("\ufffd\ufffd\ufffd",)):
        options = {"max_tokens": 40, "seed": seed, "logprobs": 1, "stop": stop}
        completion = speaking.generate("ab é", **options)
        tokens = list(speaking.stream("ab é", **options))
        assert "".join(t.text for t in tokens) == completion.text
        assert [t.id for t in tokens] == completion.ids
        assert [t.logprob for t in tokens] == completion.logprobs
        assert [t.top_logprobs for t in tokens] == completion.top_logprobs
        first = len(completion.prompt_ids)
        assert [t.position for t in tokens] == list(range(first, first + len(tokens)))
        assert [t.finish_reason for t in tokens] == [None] * (len(tokens) - 1) + [completion.finish_reason]
        assert b"".join(t.piece for t in tokens) == speaking.tokenizer.decode_bytes(completion.ids)
        if not stop:
            drawn = completion.ids if completion.ids[-1] != speaking.end_of_text else completion.ids[:-1]
            assert completion.text == speaking.tokenizer.decode(drawn)


def test_stop_strings_end_an_answer_and_stay_out_of_it(speaking):
    whole = speaking.generate("ab", max_tokens=40, seed=2)
    assert whole.finish_reason == "length"
    stop = whole.text[10:13]
    at = whole.text.index(stop)
    cut = speaking.generate("ab", max_tokens=40, seed=2, stop=stop)
    assert cut.text == whole.text[:at]
    assert cut.finish_reason == "stop"
    assert cut.ids == whole.ids[: len(cut.ids)] and len(cut.ids) < 40
    assert stop in speaking.tokenizer.decode(cut.ids)


@pytest.mark.long
def test_end_of_text_ends_an_answer(banded):
    """Every seed until one draws end-of-text: it is in ids and logprobs, and nothing follows it."""
    ended = [c for c in (banded.generate(max_tokens=60, seed=s) for s in range(40)) if c.finish_reason == "stop"]
    assert ended
    for completion in ended:
        assert completion.ids.index(VOCAB - 1) == len(completion.ids) - 1 == len(completion.logprobs) - 1
        assert completion.text == ""  # no tokenizer


def test_end_of_text_adds_no_text(speaking):
    model = speaking.copy()
    with torch.no_grad():  # end-of-text, wherever it is asked
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(model.wte.weight[-1])
    (token,) = model.stream("a", temperature=0)
    assert (token.id, token.text, token.piece, token.finish_reason) == (261, "", b"<|endoftext|>", "stop")


def test_no_tokens_wanted(banded):
    completion = banded.generate([1, 2], max_tokens=0, logprobs=1, seed=3)
    assert (completion.ids, completion.logprobs, completion.top_logprobs) == ([], [], [])
    assert (completion.text, completion.finish_reason, completion.seed) == ("", "length", 3)
    assert list(banded.stream([1, 2], max_tokens=0)) == []


def test_generating_leaves_no_trace_on_the_model_or_its_user(banded):
    model = make()
    model.config = model.config.replace(dropout=0.5)
    for block in model.h:
        block.dropout = 0.5
    model.train()
    expected = banded.generate(max_tokens=20, seed=1)
    stream = model.stream(max_tokens=20, seed=1)
    tokens = [next(stream)]
    # Between two tokens the user's own work goes on as if nothing were generating.
    assert model.training and not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    model(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])).backward()
    tokens += stream
    assert [t.id for t in tokens] == expected.ids, "dropout must not touch an answer"
    assert model.training and all(p.requires_grad and not p.is_inference() for p in model.parameters())


def test_bfloat16_and_the_log_probabilities_it_gives(banded):
    model = banded.copy().bfloat16()
    completion = model.generate(prompt_ids(10), max_tokens=30, temperature=0, logprobs=97)
    for chosen, top in zip(completion.logprobs, completion.top_logprobs, strict=True):
        assert chosen == top[0][1]
        # They are a distribution in float32, whatever the weights are.
        assert torch.tensor([p for _, p in top], dtype=torch.float64).exp().sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.long
def test_greedy_is_transformers_greedy(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make(pattern=all_dense(4))
    model.save(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    for length in (1, 9, 30):
        prompt = prompt_ids(length, seed=length)
        out = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, length, dtype=torch.int64), max_new_tokens=34,
            do_sample=False, pad_token_id=VOCAB - 1, eos_token_id=VOCAB - 1, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        completion = model.generate(prompt, max_tokens=34, temperature=0)
        expected = out.sequences[0, length:].tolist()
        logprobs = torch.stack(out.logits)[:, 0].log_softmax(-1)
        assert_same(completion, expected, [float(row[i]) for row, i in zip(logprobs, expected, strict=True)])
