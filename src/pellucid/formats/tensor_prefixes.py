"""Tensor names of a file without the prefixes of trainers and wrapper modules.

A model inside another module has that module's name before each of its tensors: `transformer.` (transformers), `module.`
(DistributedDataParallel, DataParallel), `_orig_mod.` (torch.compile), `model.` (Lightning), `base_model.model.` (PEFT). As a
file holds one model, whatever stands before the name of its first LayerNorm is such a prefix.
"""

from collections.abc import Iterable

from pellucid.errors import PellucidError
from pellucid.formats.families import Family


# Wrappers that may stand anywhere in a name: of DDP, torch.compile, Lightning with DeepSpeed, FSDP, activation checkpointing.
WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def plain_names(stored: Iterable[str], family: Family) -> dict[str, str | None]:
    """Maps each stored name to the name without prefix and wrappers, or to None if no logit depends on that tensor.

    Raises:
        PellucidError: tensors of two models, or of a LoRA that is not merged.
    """
    inner = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in stored}
    prefix = _prefix(inner.values(), family)
    if lora := next((name for name in sorted(inner) if ".lora_A." in name), None):
        raise PellucidError(f"it holds a LoRA that is not merged ({lora!r}): merge it with PEFT (merge_and_unload())")
    return {name: family.plain_name(one.removeprefix(prefix)) for name, one in inner.items()}


def _prefix(names: Iterable[str], family: Family) -> str:
    """What stands before the family's own prefix; "" where nothing does."""
    found = set()
    for name in names:
        before = name.removesuffix(family.first_norm)
        if before != name and (not before or before.endswith(".")):
            found.add(_without(before, family.prefixes))
    if len(found) > 1 and "" not in found:  # with "": the other's tensors are refused as extra ones
        one, other = sorted(found)[:2]
        raise PellucidError(f"it holds two models, under {one!r} and {other!r}: keep one")
    return "" if "" in found or not found else found.pop()


def _without(before: str, prefixes: tuple[str, ...]) -> str:
    for prefix in sorted(prefixes, key=len, reverse=True):
        rest = before.removesuffix(prefix)
        if rest != before and (not rest or rest.endswith(".")):
            return rest
    return before
