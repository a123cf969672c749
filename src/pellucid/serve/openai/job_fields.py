"""The tables of fields of fine-tuning requests: the jobs of today's API and the fine-tunes of 2021 to 2023."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.arguments import shown
from pellucid.serve.openai.errors import ApiError
from pellucid.serve.openai.fields import CompletionField, FieldType


AUTO = "auto"
MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512  # of metadata
MAX_JOB_SEED = 2**31 - 1
MAX_CHECKS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class JobField(CompletionField):
    """A row of these tables.

    Further types: "auto_integer" and "auto_number" ("auto" is the default), "fields" (an object with the fields of `inner`),
    "metadata" (an object of short texts), "choice" (one of `choices`), "names" (an array of short texts).
    """

    inner: tuple["JobField", ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What a value must be, in words."""
        match self.type:
            case "auto_integer" | "auto_number":
                return f'"auto", or {self._plain.requirement}'
            case "fields":
                return f"an object of {', '.join(row.name for row in self.inner)}"
            case "metadata":
                return f"an object of at most {MAX_PAIRS} texts, each of at most {MAX_VALUE} characters"
            case "choice":
                return " or ".join(f'"{choice}"' for choice in self.choices)
            case "names":
                return "an array of strings"
        return super(JobField, self).requirement

    @property
    def _plain(self) -> CompletionField:
        kind: FieldType = "integer" if self.type == "auto_integer" else "number"
        return CompletionField(name=self.name, type=kind, help=self.help, minimum=self.minimum, maximum=self.maximum)

    def check(self, value: Any) -> Any:
        """The checked value; of "fields" a dict. See `CompletionField.check`."""
        if value is None:
            return self.default
        if self.treatment == "refused":
            if value in (False, []):
                return None
            raise self.wrong(f"{shown(value)} is not supported here: leave it out")
        match self.type:
            case "auto_integer" | "auto_number":
                return None if value == AUTO else self._plain.check(value)
            case "fields":
                return self._fields(value)
            case "metadata":
                return self._metadata(value)
            case "choice":
                if value not in self.choices or not isinstance(value, str):
                    raise self.wrong(f"{shown(value)} is not one of {list(self.choices)}")
                return value
            case "names":
                if not isinstance(value, list) or len(value) > MAX_CHECKS or not all(isinstance(one, str) for one in value):
                    raise self.wrong(f"{shown(value)} is not of type 'array'")
                return value
        return super(JobField, self).check(value)

    def _fields(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(f"{shown(value)} is not of type 'object'")
        known = {row.name for row in self.inner}
        if unknown := [name for name in value if name not in known]:
            raise self.wrong(f"{shown(unknown[0])} is no field of it")
        for row in self.inner:
            if row.required and value.get(row.name) is None:
                raise self.wrong(f"'{row.name}' is missing")
        return {row.name: row.check(value.get(row.name)) for row in self.inner}

    def _metadata(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.wrong(f"{shown(value)} is not of type 'object'")
        texts = all(isinstance(text, str) and len(text) <= MAX_VALUE for text in value.values())
        if not texts or len(value) > MAX_PAIRS or any(len(key) > MAX_KEY for key in value):
            raise self.wrong(f"{shown(value)} has other values, or too many")
        return value

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the field."""
        about = {"description": self.help}
        if self.treatment == "refused":
            return {"type": "null", **about}
        match self.type:
            case "auto_integer" | "auto_number":
                plain = {name: one for name, one in self._plain.schema().items() if name != "description"}
                return {"anyOf": [{"const": AUTO}, plain], **about}
            case "fields":
                inner: dict[str, Any] = {
                    "type": ["object", "null"], "properties": {row.name: row.schema() for row in self.inner},
                    "additionalProperties": False,
                }  # fmt: skip
                if needed := [row.name for row in self.inner if row.required]:
                    inner["required"] = needed
                return {**inner, **about}
            case "metadata":
                return {
                    "type": ["object", "null"], "maxProperties": MAX_PAIRS,
                    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
                    "propertyNames": {"type": "string", "maxLength": MAX_KEY}, **about,
                }  # fmt: skip
            case "choice":
                choices: list[str | None] = [*self.choices]
                return {"enum": choices if self.required else [*choices, None], **about}
            case "names":
                return {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": MAX_CHECKS, **about}
        return super(JobField, self).schema()


_EPOCHS = JobField(name="n_epochs", type="auto_integer", minimum=1, maximum=50, help="times through the examples; auto: 4")
_BATCH = JobField(
    name="batch_size", type="auto_integer", minimum=1, maximum=256,
    help="examples in a step; auto: 16, fewer of few examples",
)  # fmt: skip
_RATE = JobField(
    name="learning_rate_multiplier", type="auto_number", minimum=0.0001, maximum=100,
    help="the peak rate, as a share of that of training from nothing; auto: 0.2",
)  # fmt: skip
_HYPERPARAMETERS = (_EPOCHS, _BATCH, _RATE)
_TRAINING_FILE = JobField(
    name="training_file", type="string", required=True, help="the id of a file of the purpose fine-tune"
)  # fmt: skip
_VALIDATION_FILE = JobField(
    name="validation_file", type="string", help="the id of another; without one a part of the first is held out"
)  # fmt: skip
JOB_FIELDS: tuple[JobField, ...] = (
    JobField(name="model", type="string", required=True, help="a model of this server, or one of your own to go on with"),
    _TRAINING_FILE,
    _VALIDATION_FILE,
    JobField(name="hyperparameters", type="fields", inner=_HYPERPARAMETERS, help="the older place of those in method"),
    JobField(
        name="method", type="fields", help="supervised fine-tuning",
        inner=(
            JobField(name="type", type="choice", choices=("supervised",), required=True, help="supervised"),
            JobField(
                name="supervised", type="fields", help="its settings",
                inner=(JobField(name="hyperparameters", type="fields", inner=_HYPERPARAMETERS, help="see hyperparameters"),),
            ),
        ),
        openai="also dpo, reinforcement",
    ),
    JobField(
        name="seed", type="integer", minimum=0, maximum=MAX_JOB_SEED,
        help="of the order of examples, and of which are held out; 0 if not given", openai="random if not given",
    ),
    JobField(name="suffix", type="string", maximum=64, help="a part of the new model's name"),
    JobField(name="metadata", type="metadata", help="up to 16 texts of your own, by which jobs can be listed"),
    JobField(name="integrations", type="names", treatment="refused", help="unless null or empty", openai="Weights and Biases"),
    JobField(
        name="x_prompt_loss_weight", type="number", minimum=0, maximum=1,
        help="the weight of prompts in the training loss, 0 if not given", openai="not there",
    ),
    JobField(
        name="x_lora_rank", type="integer", minimum=1, maximum=64,
        help="train adapters of this rank beside frozen weights (LoRA), merged into the model at the end", openai="not there",
    ),
)  # fmt: skip
FINE_TUNE_FIELDS: tuple[JobField, ...] = (
    _TRAINING_FILE,
    _VALIDATION_FILE,
    JobField(name="model", type="string", help="as above; the server's first model if not given", openai="curie if not given"),
    JobField(name="n_epochs", type="integer", minimum=1, maximum=50, help="times through the examples; 4 if not given"),
    JobField(
        name="batch_size", type="integer", minimum=1, maximum=256, help="0.2 % of the examples if not given, at most 256"
    ),
    JobField(
        name="learning_rate_multiplier", type="number", minimum=0.0001, maximum=100,
        help="0.05, 0.1 or 0.2 by the batch size if not given",
    ),
    JobField(name="prompt_loss_weight", type="number", minimum=0, maximum=1, help="0.01 if not given"),
    JobField(
        name="compute_classification_metrics", type="boolean", treatment="refused",
        help="unless null or false: events and results have the held-out examples that are answered exactly",
        openai="accuracy, F1",
    ),
    JobField(name="classification_n_classes", type="integer", treatment="refused", help="unless null", openai="for the above"),
    JobField(name="classification_positive_class", type="string", treatment="refused", help="unless null", openai="likewise"),
    JobField(name="classification_betas", type="names", treatment="refused", help="unless null or empty", openai="likewise"),
    JobField(name="suffix", type="string", maximum=40, help="a part of the new model's name"),
)  # fmt: skip
MEND_FIELDS: tuple[JobField, ...] = (
    JobField(name="checks", type="names", help="the checks whose mends are applied, by name; all if not given"),
)


def required_fields(values: dict[str, Any], fields: Sequence[JobField]) -> None:
    """Refuses an object without a field that is needed.

    Raises:
        ApiError: it lacks one (400).
    """
    for row in fields:
        if row.required and values.get(row.name) is None:
            raise ApiError(400, f"you must provide a {row.name} parameter", param=row.name)
