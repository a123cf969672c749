"""Reading and writing `config.json`: a model's config in GPT-2's keys and a few of our own. No torch here.

`directory` writes the weights beside it, and documents the format.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid import strict_json
from pellucid.arguments import shown
from pellucid.errors import PellucidError
from pellucid.gpt.arrangements import all_dense
from pellucid.gpt.config import MAX_LAYERS, GPTConfig
from pellucid.gpt.pattern import Dense
from pellucid.gpt.quantize import BITS, GROUP
from pellucid.strict_json import Fields


CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PRODUCER = "pellucid"
# Their names at Hugging Face. The three tanh forms are one function, computed in different orders.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu_erf", "gelu_python": "gelu_erf", "relu": "relu",
}  # fmt: skip
MAX_CONFIG_BYTES = 1 << 20
GPT2_END = 50256  # <|endoftext|>, GPT-2's and GPT-Neo's start and end
# Settings that GPT-2's config.json has no key for.
OWN_KEYS = ("qkv_bias", "norm", "final_norm", "d_embed")
ACTIVATION_NAMES = {"gelu_tanh": "gelu_new", "gelu_erf": "gelu", "relu": "relu"}


def is_gpt2(config: GPTConfig) -> bool:
    """Whether GPT-2's own code computes this shape: all dense, normalised before each branch and at the end, all biases."""
    dense = all(isinstance(p, Dense) for p in config.pattern)
    usual = config.qkv_bias and config.norm == "pre" and config.final_norm and config.d_embed == config.d_model
    return dense and usual


def gpt2_json(config: GPTConfig, storage: str = "float32") -> dict[str, Any]:
    """config.json's values in GPT-2's keys, for any shape; those that are not `is_gpt2` need more keys."""
    values: dict[str, Any] = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.n_ctx,
        "n_ctx": config.n_ctx,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": ACTIVATION_NAMES[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": 0.0,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "bos_token_id": config.start_id,
        "eos_token_id": config.end_id,
        "tie_word_embeddings": True,
        "dtype": storage,
        "producer": PRODUCER,
    }
    if not config.attention_scale:
        values["scale_attn_weights"] = False
    return values


def to_json(config: GPTConfig, storage: str) -> dict[str, Any]:
    """config.json's values of a directory of our own."""
    written = gpt2_json(config, storage)
    if storage in BITS:
        written["quantization"] = {"numbers": storage, "group": GROUP, "scale": "float16", "bits": BITS[storage]}
    if not is_gpt2(config) or storage in BITS:
        written |= {"model_type": "pellucid", "architectures": ["PellucidGPT"]}
        written["pattern"] = [str(p) for p in config.pattern]
        written |= {key: value for key, value in config.to_dict().items() if key in OWN_KEYS}
    if config.name:
        written["name"] = config.name
    return written


def read_config(directory: Path, values: dict[str, Any] | None = None) -> GPTConfig:
    """The shape of the model in `directory`.

    Args:
        values: its config.json, if that has been read.

    Raises:
        PellucidError: no config.json, not JSON, another kind of model, or a key missing; the message names the file.
    """
    values = read_json(directory) if values is None else values
    path = directory / CONFIG
    kind = values.get("model_type")
    if kind not in ("gpt2", "pellucid"):
        raise PellucidError(f"{path}: model_type {shown(kind)} is not one this version reads (gpt2, pellucid)")
    for key in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"):
        if values.get(key):
            raise PellucidError(f"{path}: {key} is not supported; it would change the model's answers")
    ours = values.get("producer") == PRODUCER
    with errors_with_file(path):
        pattern = values["pattern"] if kind == "pellucid" else dense_pattern(values, "n_layer")
        own = {key: values[key] for key in OWN_KEYS if key in values} if kind == "pellucid" else {}
        return GPTConfig.from_dict(
            {
                "vocab_size": values["vocab_size"],
                "n_ctx": values.get("n_positions") or values["n_ctx"],
                "n_layers": values["n_layer"],
                "d_model": values["n_embd"],
                "n_heads": values["n_head"],
                "d_ff": values.get("n_inner") or 0,
                "activation": activation(values.get("activation_function", "gelu_new")),
                "norm_eps": values.get("layer_norm_epsilon", 1e-5),
                # Choice: a GPT-2 from elsewhere is fine-tuned without its training's dropout; ours keep their own.
                "dropout": values.get("resid_pdrop", 0.0) if ours else 0.0,
                "attention_scale": values.get("scale_attn_weights", True),
                "start_of_text": token_id(values, "bos_token_id", GPT2_END),
                "end_of_text": token_id(values, "eos_token_id", GPT2_END),
                "pattern": pattern,
                "name": values.get("name", ""),
            }
            | own
        )


def read_json(directory: Path) -> dict[str, Any]:
    """The values of a directory's config.json.

    Raises:
        PellucidError: there is none, or it is not a JSON object.
    """
    path = directory / CONFIG
    try:
        return Fields(strict_json.read_json(path, max_bytes=MAX_CONFIG_BYTES), path).values
    except FileNotFoundError:
        raise PellucidError(f"no model in {directory}: it has no {CONFIG}") from None
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def errors_with_file(path: Path) -> Iterator[None]:
    """A context manager that names the file in errors about its values.

    Raises:
        PellucidError: a key is missing, a value is not of its kind, or the shape is impossible.
    """
    try:
        yield
    except KeyError as error:
        raise PellucidError(f"{path} lacks {error.args[0]!r}") from None
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
    except (TypeError, ValueError) as error:
        raise PellucidError(f"{path}: a value is not of its kind: {error}") from None


def dense_pattern(values: dict[str, Any], key: str) -> list[str]:
    """The pattern of an all-dense model, as text, whose number of blocks is the value of a key.

    Raises:
        PellucidError: no number of blocks.
    """
    return [str(p) for p in all_dense(Fields(values, CONFIG).integer(key, least=1, most=MAX_LAYERS))]


def activation(name: object) -> str:
    """Our name of an activation function as Hugging Face's configs name it.

    Raises:
        PellucidError: one that Pellucid does not implement.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise PellucidError(f"activation {shown(name)} is not supported: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def token_id(values: dict[str, Any], key: str, default: int) -> int:
    """A special token's id as Hugging Face's configs name it.

    Args:
        default: the family's, where the key is not there at all. Where it is there and null, there is no such token: the id
            is then the first outside the vocabulary, which never comes.

    Raises:
        PellucidError: several ids, or no whole number.
    """
    value = values.get(key, default)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        value = values["vocab_size"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PellucidError(f"{key} is {shown(value)}, not one token id")
    return value
