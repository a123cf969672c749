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
from pellucid.gpt.config import MAX_LAYERS, MAX_NAME_LENGTH, MAX_SIZE, GPTConfig
from pellucid.gpt.config_values import ConfigValues
from pellucid.gpt.pattern import Dense
from pellucid.gpt.quantize import BITS, GROUP
from pellucid.strict_json import Fields


CONFIG = "config.json"
GENERATION = "generation_config.json"  # whose tokens that begin and end a text count before those of config.json
WEIGHTS = "model.safetensors"
PRODUCER = "pellucid"
# Their names at Hugging Face. The tanh forms are one function, computed in different orders.
ACTIVATIONS = {
    "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh", "gelu": "gelu_erf", "gelu_python": "gelu_erf", "relu": "relu",
}  # fmt: skip
MAX_CONFIG_BYTES = 1 << 20
# What `transformers` takes a GPT-2's missing keys for, and the keys' other names (`GPT2Config`).
GPT2_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "bos_token_id": 50256, "eos_token_id": 50256, "tie_word_embeddings": True,
}  # fmt: skip
GPT2_SHAPE = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")  # our own kind of directory always says these
GPT2_ALIASES = {
    "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}  # fmt: skip
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
        "eos_token_id": eos_token_id(config),
        "tie_word_embeddings": True,
        "dtype": storage,
        "producer": PRODUCER,
    }
    if not config.attention_scale:
        values["scale_attn_weights"] = False
    return values


def eos_token_id(config: GPTConfig) -> int | list[int]:
    """The ids that end a text, as Hugging Face's files have them: a number, or a list of several."""
    return config.end_id if len(config.end_ids) == 1 else list(config.end_ids)


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
    defaults = GPT2_DEFAULTS if kind == "gpt2" else {k: v for k, v in GPT2_DEFAULTS.items() if k not in GPT2_SHAPE}
    found = ConfigValues(values, path, defaults=defaults, aliases=GPT2_ALIASES)
    ours = values.get("producer") == PRODUCER
    n_layers = found.integer("n_layer", minimum=1, maximum=MAX_LAYERS)
    vocab_size = found.integer("vocab_size", minimum=1, maximum=MAX_SIZE)
    name = values.get("name", "")
    shape = {
        "vocab_size": vocab_size,
        "n_ctx": found.integer("n_positions", minimum=1, maximum=MAX_SIZE),
        "n_layers": n_layers,
        **width_and_heads(found, "n_embd", "n_head"),
        "d_ff": found.integer("n_inner", None, maximum=MAX_SIZE) or 0,
        "activation": activation(found),
        "norm_eps": found.number("layer_norm_epsilon", minimum=0),
        # Choice: a GPT-2 from elsewhere is fine-tuned without its training's dropout; ours keep their own.
        "dropout": found.number("resid_pdrop", 0.0, minimum=0, maximum=1) if ours else 0.0,
        "attention_scale": found.flag("scale_attn_weights"),
        "start_of_text": found.token("bos_token_id", vocab_size),
        "end_of_text": found.tokens("eos_token_id", vocab_size),
        "pattern": found.value("pattern") if kind == "pellucid" else dense_pattern(n_layers),
        "name": name if ours or (isinstance(name, str) and len(name) <= MAX_NAME_LENGTH) else "",
    }
    if kind == "pellucid":
        shape |= {key: values[key] for key in OWN_KEYS if key in values}
    with errors_with_file(path):
        return GPTConfig.from_dict(shape)


def read_json(directory: Path) -> dict[str, Any]:
    """The values of a directory's config.json.

    Raises:
        PellucidError: there is none, or it is not a JSON object.
    """
    try:
        return _read_object(directory / CONFIG)
    except FileNotFoundError:
        raise PellucidError(f"no model in {directory}: it has no {CONFIG}") from None


def read_generation_json(directory: Path) -> dict[str, Any]:
    """The values of a directory's generation_config.json; none where there is no such file.

    Raises:
        PellucidError: it is not a JSON object.
    """
    try:
        return _read_object(directory / GENERATION)
    except FileNotFoundError:
        return {}


def _read_object(path: Path) -> dict[str, Any]:
    """The values of a JSON file; of a key that is there twice the last, as every reader of JSON has it."""
    try:
        return Fields(strict_json.read_json(path, max_bytes=MAX_CONFIG_BYTES, nan=True, unique=False), path).values
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PellucidError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def errors_with_file(path: Path) -> Iterator[None]:
    """A context manager that names the file in errors about its values.

    Raises:
        PellucidError: a value is not of its kind, or the shape is impossible.
    """
    try:
        yield
    except PellucidError as error:
        raise PellucidError(f"{path}: {error}") from None
    except (TypeError, ValueError) as error:
        raise PellucidError(f"{path}: a value is not of its kind: {error}") from None


def dense_pattern(n_layers: int) -> list[str]:
    """The pattern of an all-dense model, as text."""
    return [str(p) for p in all_dense(n_layers)]


def width_and_heads(found: ConfigValues, width: str, heads: str) -> dict[str, int]:
    """`d_model` and `n_heads` by the names of their keys.

    Raises:
        PellucidError: the one is not a multiple of the other.
    """
    d_model, n_heads = (found.integer(key, minimum=1, maximum=MAX_SIZE) for key in (width, heads))
    if d_model % n_heads:
        width, heads = found.name_of(width), found.name_of(heads)
        raise PellucidError(f"{found.where}: {width} ({d_model}) must be a multiple of {heads} ({n_heads})")
    return {"d_model": d_model, "n_heads": n_heads}


def activation(found: ConfigValues) -> str:
    """Our name of a config's `activation_function`.

    Raises:
        PellucidError: one that Pellucid does not implement.
    """
    name = found.value("activation_function")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        supported = ", ".join(ACTIVATIONS)
        raise PellucidError(f"{found.where}: activation_function {shown(name)} is not supported; these are: {supported}")
    return ACTIVATIONS[name]
