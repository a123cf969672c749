"""`pellucid generate` beside drawing: beam, score, priming, drafts; what is bad input is said in a line."""

import json
from pathlib import Path

import pytest

import pellucid
from pellucid.cli import main
from pellucid.text.bytes_to_characters import BYTE_ORDER
from pellucid.text.tokenizer import Tokenizer


def saved(directory: Path, *tokens: bytes) -> str:
    tokenizer = Tokenizer([bytes([b]) for b in BYTE_ORDER] + list(tokens))
    config = pellucid.GPTConfig(vocab_size=tokenizer.vocab_size, n_ctx=64, n_layers=1, d_model=24, n_heads=3)
    pellucid.GPT(config, tokenizer=tokenizer, seed=3).save(directory)
    return str(directory)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), b"ab", b"cd")


def ran(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    try:
        status = main(["generate", *map(str, arguments)])
    except SystemExit as left:
        assert isinstance(left.code, int)
        status = left.code
    return status, *capfd.readouterr()


def test_beam_is_the_librarys(directory: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = pellucid.load(directory)
    expected = model.beam("abcd", width=3, length_penalty=1.5, max_tokens=6)
    command = ("abcd", "-m", directory, "--beam", 3, "--length-penalty", 1.5, "--max-tokens", 6)
    for kernel in ("auto", "off"):
        status, out, _ = ran(capfd, *command, "--json", "--kernel", kernel)
        assert (status, json.loads(out)["ids"]) == (0, expected.ids)
    assert ran(capfd, *command)[:2] == (0, f"abcd{expected.text}\n")


def test_score_is_the_librarys(directory: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected = pellucid.load(directory).score("abcd x", logprobs=2)
    status, out, _ = ran(capfd, "abcd x", "-m", directory, "--score", "--json", "--logprobs", 2)
    found = json.loads(out)
    assert status == 0 and found["ids"] == expected.ids and found["logprobs"][0] is None
    assert found["logprobs"][1:] == pytest.approx(expected.logprobs[1:], abs=1e-4)
    assert found["total_logprob"] == pytest.approx(sum(found["logprobs"][1:]))
    assert len(found["top_logprobs"][1]) == 2 and found["pieces"][:2] == ["ab", "cd"]
    status, out, _ = ran(capfd, "abcd x", "-m", directory, "--score")
    assert status == 0 and len(out.splitlines()) == len(expected.ids) + 1
    assert f"{expected.logprobs[1]:.3f}" in out.splitlines()[1]


def test_priming_is_the_prompts(directory: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = pellucid.load(directory)
    prompt = pellucid.Prompt("Do:", [("a", "b"), ("c", "d")], "e", "qa")
    expected = model.generate(prompt.text, stop=prompt.stop, max_tokens=8, temperature=0, seed=1)
    command = ("e", "-m", directory, "--task", "Do:", "--format", "qa", "--max-tokens", 8, "--temperature", 0, "--json")
    status, out, err = ran(capfd, *command, "--example", "a => b", "--example", "c=>d")
    assert (status, err) == (0, "")
    assert json.loads(out)["prompt_ids"] == expected.prompt_ids and json.loads(out)["ids"] == expected.ids
    many = [word for n in range(9) for word in ("--example", f"in {n} => out {n}")]
    status, _, err = ran(capfd, *command, *many)
    assert status == 0 and "no room for the last" in err and "of 9 examples" in err


@pytest.mark.parametrize("how", [(), ("--json",), ("--n", 2)])
def test_drafts_change_nothing_but_the_passes(
    directory: str, how: tuple[object, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("abcdabcd", "-m", directory, "--max-tokens", 30, "--seed", 5, "--top-k", 2, *how)
    plain = ran(capfd, *command)
    for draft in ("lookup", directory):
        status, out, err = ran(capfd, *command, "--draft", draft, "-v")
        assert (status, out) == plain[:2]
        assert "tokens drafted in" in err and "of them accepted" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "--presence-penalty", 3), "presence_penalty must be"),
        (("a", "--repetition-penalty", 0), "repetition_penalty must be"),
        (("a", "--temperature", -1), "temperature must be"),
        (("a", "--temperature", "nan"), "temperature must be"),
        (("a", "--stop", ""), "a stop string must be text, and not empty"),
        (("a", "--logit-bias", "9999=1"), "logit_bias names token 9999, but ids go from 0 to"),
        (("a", "--draft", "nowhere at all"), "no such directory"),
        (("a", "--beam", 0), "width must be a whole number, 1 or more"),
        (("a", "--beam", 2, "--length-penalty", 11), "length_penalty must be from 0"),
        (("", "--score"), "there is no text to score"),
        (("a" * 99, "--score"), "but 65 can be scored at most"),
        (("a", "--task", "Do", "--format", "poem"), "unknown prompt format 'poem'"),
        (("a => b\nc", "--example", "a => b"), "which ends an answer in the format 'arrow'"),
    ],
)
def test_bad_input_fails_with_one_line(
    directory: str, arguments: tuple[object, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = ran(capfd, *arguments, "-m", directory)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("pellucid: ") and says in err


def test_a_draft_model_of_other_tokens_fails_with_one_line(
    directory: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = ran(capfd, "a", "-m", directory, "--draft", saved(tmp_path / "other", b"ab", b"ce"))
    assert (status, out) == (1, "")
    assert err.startswith("pellucid: the two tokenizers differ first at token 257") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "--length-penalty", 1), "--length-penalty goes with --beam"),
        (("a", "--format", "qa"), "--format goes with --task, --example or --examples"),
        (("a", "-k", 2), "--shots (-k) goes with --examples"),
        (("a", "--examples", "f", "--example", "a => b"), "not both"),
        (("a", "--examples", "f", "-k", "two"), "is no number of examples"),
        (("--task", "Do"), "need a PROMPT"),
        (("--score",), "--score needs a PROMPT"),
        (("a", "--score", "--temperature", 0, "--beam", 2), "--score writes nothing: leave out --temperature, --beam"),
        (("a", "--beam", 2, "--seed", 1, "--draft", "lookup"), "leave out --seed, --draft"),
        (("a", "--example", "nothing"), "is no input and output"),
    ],
)
def test_wrong_use_is_2(arguments: tuple[object, ...], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capfd, *arguments)
    assert (status, out) == (2, "")
    assert says in err


def test_examples_come_from_a_file(directory: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first k of them, or as many as fit, written as if they had been given one by one; a file's task and format hold."""
    pairs, path = [("a", "b"), ("c", "d"), ("e", "f")], tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs), encoding="utf-8")
    for asked, count in (([], 3), (["-k", 2], 2), (["--shots", 0], 0)):
        one_by_one = [word for p, c in pairs[:count] for word in ("--example", f"{p} => {c}")] or ["--task", ""]
        command = ["g", "-m", directory, "--max-tokens", 4, "--temperature", 0]
        _, expected, _ = ran(capfd, *command, *one_by_one)
        status, out, _ = ran(capfd, *command, "--examples", path, *asked)
        assert (status, out) == (0, expected) and out.startswith("".join(f"{p} => {c}\n" for p, c in pairs[:count]) + "g =>")
    status, out, err = ran(capfd, "g", "-m", directory, "--examples", path, "-k", 4)
    assert (status, out) == (1, "") and "4 shots need as many examples, and there are 3" in err
    listed = [{"prompt": p, "completion": c} for p, c in pairs]
    path.write_text(json.dumps({"task": "Do:", "format": "qa", "examples": listed, "query": "x", "answer": "y"}), "utf-8")
    _, out, _ = ran(capfd, "g", "-m", directory, "--examples", path, "-k", 1, "--max-tokens", 0)
    assert out == "Do:\n\nQ: a\nA: b\n\nQ: g\nA:\n"


def test_a_model_that_writes_nothing_says_so(directory: str, capfd: pytest.CaptureFixture[str]) -> None:
    end = pellucid.load(directory).config.end_id
    ends = ("a", "-m", directory, "--logit-bias", f"{end}=100")
    for flags in ((), ("--json",), ("--n", 2), ("--tokens",)):
        status, _, err = ran(capfd, *ends, *flags)
        assert status == 0 and err == "pellucid: the model wrote nothing: the text ended at once\n"
    assert ran(capfd, *ends, "--max-tokens", 0)[2] == ""  # nothing was asked for
    newline = pellucid.load(directory).require_tokenizer().encode("\n")[0]
    _, _, err = ran(capfd, "a", "-m", directory, "--logit-bias", f"{newline}=100", "--max-tokens", 3)
    assert err == "pellucid: the model wrote nothing but white space\n"
