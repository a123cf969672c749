"""The keys of config.json in docs/formats.md, each with its fate: read, refused, or without effect on a logit.

    python tools/config_keys.py            prints the tables
    python tools/config_keys.py --write    puts them into docs/formats.md, between <!-- config keys --> and its end
    python tools/config_keys.py --check    exit 1 if docs/formats.md has others (CI)

What is read and refused comes from `formats/families.py`. A test compares all of it with the classes of `transformers`.
"""

import json
import sys

from pellucid.formats.families import GPT2, GPT_NEO, OPT, Family


FAMILIES: dict[str, Family] = {"GPT-2, Cerebras-GPT": GPT2, "GPT-Neo": GPT_NEO, "OPT": OPT}
# Keys that change no logit, by what they are about. `transformers` knows them; those that it does not know change none either.
CHANGES_NOTHING: dict[str, tuple[str, ...]] = {
    "training": (
        "attention_dropout", "attn_pdrop", "classifier_dropout", "dropout", "embd_pdrop", "embed_dropout", "init_std",
        "initializer_range", "layerdrop", "resid_dropout", "resid_pdrop",
    ),
    "other outputs than the next token's": (
        "id2label", "label2id", "num_labels", "problem_type", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj",
    ),
    "attention to an encoder, which no text model has": (
        "add_cross_attention", "cross_attention_hidden_size", "is_encoder_decoder",
    ),
    "number formats, and the order of operations": (
        "attn_implementation", "chunk_size_feed_forward", "dtype", "experts_implementation", "reorder_and_upcast_attn",
        "torch_dtype",
    ),
    "what a call returns": ("output_attentions", "output_hidden_states", "return_dict", "use_cache"),
    "descriptions, and code that is never run": (
        "_name_or_path", "auto_map", "n_ctx", "name_or_path", "pad_token_id", "pruned_heads", "task_specific_params",
        "transformers_version",
    ),
    "options of a request, given with it here": (
        "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty",
        "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "epsilon_cutoff",
        "eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty",
        "max_length", "min_length", "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty",
        "return_dict_in_generate", "suppress_tokens", "target_lookbehind", "temperature", "top_k", "top_p", "typical_p",
    ),
}  # fmt: skip
# Read by `hf_config` itself, for all families.
READ_BY_ALL = {"model_type": "read", "architectures": "read where there is no `model_type`"}


def fates(family: Family) -> dict[str, str]:
    """What becomes of each key that is read or refused, in a few words."""
    found = dict(READ_BY_ALL)
    for key, value in family.defaults.items():
        found[key] = f"read; {json.dumps(value)} if missing"
    for alias, key in family.aliases.items():
        found[alias] = f"`{key}` by another name"
    for key, (harmless, _) in family.refused.items():
        found[key] = f"refused unless {json.dumps(harmless)}"
    return found


def tables() -> str:
    """Both tables in Markdown."""
    columns = {name: fates(family) for name, family in FAMILIES.items()}
    keys = [*READ_BY_ALL, *sorted({key for found in columns.values() for key in found} - set(READ_BY_ALL), key=str.lower)]
    lines = [f"| key | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| `{key}` | {' | '.join(found.get(key, '') for found in columns.values())} |" for key in keys]
    lines += ["", "| these change no logit, and may say anything | keys |", "|---|---|"]
    lines += [f"| {about} | {', '.join(f'`{key}`' for key in keys)} |" for about, keys in CHANGES_NOTHING.items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    from page_section import run  # here, since tests import this module from elsewhere

    sys.exit(run(__doc__, "formats.md", "config keys", tables()))
