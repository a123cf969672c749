"""A model with LoRA adapters: the base's weights are frozen, only the adapters are trained (`runs.lora`).

R rank, C columns of the adapted matrix.

It is a `GPT` whose adapted linear layers were replaced, so that training, evaluation and sampling need no changes. It saves a
plain model with the adapters merged in, which every tool opens, and beside it the adapters, from which a run resumes.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pellucid.arguments import path_of
from pellucid.errors import PellucidError
from pellucid.generation.model import GPT
from pellucid.gpt.decoder import Linear
from pellucid.gpt.initialization import fill_normal
from pellucid.gpt.safetensors_write import write_tensors
from pellucid.runs.files import ADAPTERS
from pellucid.runs.lora import Adapter, LoraSettings


SETTINGS = "lora"  # the key of the settings in the metadata of the adapters' file


class LoraLinear(Linear):
    """A frozen linear layer and its adapters: x W^T + bias, plus alpha / rank x A^T B^T in the output rows of each adapter.

    Args:
        linear: its weight and bias are shared. adapters: of this one matrix, no two of the same rows.
        settings: rank and alpha.
    """

    def __init__(self, linear: nn.Linear, adapters: Sequence[Adapter], settings: LoraSettings) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight, self.bias = linear.weight, linear.bias
        self.adapters, self.scale = tuple(adapters), settings.scale
        rank = settings.rank
        self.lora_A = nn.ParameterDict({_key(one): linear.weight.new_zeros(rank, one.columns) for one in adapters})
        self.lora_B = nn.ParameterDict({_key(one): linear.weight.new_zeros(one.out, rank) for one in adapters})

    def parts_of(self, adapter: Adapter) -> tuple[Tensor, Tensor]:
        """(A (R, C), B (out, R)) of one of the adapters."""
        return self.lora_A[_key(adapter)], self.lora_B[_key(adapter)]

    def forward(self, x: Tensor) -> Tensor:  # (..., C) -> (..., out)
        """The output of the layer and its adapters."""
        out = super().forward(x)
        for adapter in self.adapters:
            a, b = self.parts_of(adapter)
            change = F.linear(F.linear(x, a), b) * self.scale
            if adapter.out == self.out_features:
                out = out + change
            else:
                out = out + F.pad(change, (adapter.first, self.out_features - adapter.first - adapter.out))
        return out

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """(out, C) W + alpha / rank B A, added in float64 and rounded once. Where 0 is added, the bits of W stay."""
        weight = self.weight.clone()
        for adapter in self.adapters:
            a, b = self.parts_of(adapter)
            change = b.double() @ a.double() * self.scale
            rows = weight[adapter.first : adapter.first + adapter.out]
            rows.copy_(torch.where(change == 0, rows, (rows.double() + change).to(rows.dtype)))  # -0 + 0 would be +0
        return weight


class LoraModel(GPT):
    """A base model with adapters; only the adapters require gradients.

    Args:
        base: shares its weights with this model and is not changed.
        settings: rank, alpha, targets.
        seed: of the initial A: normal, of standard deviation 1 / sqrt(3 C), which is that of PEFT's uniform initialization.

    Raises:
        PellucidError: a rank above the model's width.
    """

    def __init__(self, base: GPT, settings: LoraSettings, *, seed: int = 0) -> None:
        with torch.device("meta"):
            super().__init__(base.config, tokenizer=base.tokenizer)
        self.no_tokenizer, self.settings = base.no_tokenizer, settings
        # Contiguous, as a product in 16 bits of a transposed view of a file is ten times slower (docs/log.md).
        self.load_state_dict({name: value.contiguous() for name, value in base.state_dict().items()}, assign=True)
        self.requires_grad_(False)
        of_matrix: dict[str, list[Adapter]] = defaultdict(list)
        for adapter in settings.adapters(base.config):
            of_matrix[adapter.matrix].append(adapter)
        for matrix, adapters in of_matrix.items():
            owner, _, name = matrix.rpartition(".")
            layer = LoraLinear(self.get_submodule(matrix), adapters, settings)  # type: ignore[arg-type]
            setattr(self.get_submodule(owner), name, layer)
        self._draw(seed)

    @torch.no_grad()
    def _draw(self, seed: int) -> None:
        for name, parameter in self.adapters():
            if ".lora_A." in name:
                values = torch.empty(parameter.numel(), dtype=torch.float32)
                fill_normal(values.numpy(), seed, name, 0, 1 / math.sqrt(3 * parameter.shape[1]))
                parameter.copy_(values.view(parameter.shape))

    def adapters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trained parameters by name, such as "h.0.attn.c_attn.lora_A.q"."""
        return ((name, parameter) for name, parameter in self.named_parameters() if ".lora_" in name)

    def lora_layers(self) -> Iterator[tuple[str, LoraLinear]]:
        """The adapted layers by the name of their matrix."""
        return ((name, module) for name, module in self.named_modules() if isinstance(module, LoraLinear))

    def merged(self) -> GPT:
        """A plain model with the adapters merged into its weights. Weights without adapters are shared."""
        weights = {name: value for name, value in self.state_dict().items() if ".lora_" not in name}
        weights |= {f"{name}.weight": layer.merged_weight() for name, layer in self.lora_layers()}
        with torch.device("meta"):
            plain = GPT(self.config, tokenizer=self.tokenizer)
        plain.no_tokenizer = self.no_tokenizer
        plain.load_state_dict(weights, assign=True)
        return plain.eval().requires_grad_(False)

    def save(self, directory: str | Path, *, storage: str = "float32") -> None:
        """Writes the merged model as `GPT.save` does, and the adapters, in float32, into `adapters.safetensors` beside it."""
        self.merged().save(directory, storage=storage)
        tensors = {name: parameter.detach().float().cpu().contiguous() for name, parameter in self.adapters()}
        write_tensors(Path(directory) / ADAPTERS, tensors, metadata={SETTINGS: json.dumps(self.settings.to_dict())})

    def restore(self, directory: str | Path) -> None:
        """Reads the adapters that `save` wrote; the base's weights are not changed.

        Raises:
            PellucidError: the file is missing or damaged, or has adapters of another rank or of other targets.
        """
        path = path_of("directory", directory) / ADAPTERS
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise PellucidError(f"{path} is missing or damaged ({error})") from None
        wanted = dict(self.adapters())
        if {name: value.shape for name, value in found.items()} != {name: p.shape for name, p in wanted.items()}:
            raise PellucidError(f"{path} holds other adapters than those of {self.settings.to_dict()}")
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(found[name])


def _key(adapter: Adapter) -> str:
    """The name of an adapter's parameters: no dot may be in it, and "attn.c_proj" is the only target of its matrix."""
    return adapter.target.rpartition(".")[2]
