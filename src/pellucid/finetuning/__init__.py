"""Fine-tuning: trains a model further on examples or text, into a run directory with the model before and after.

In: prompt and completion pairs (JSON or CSV), or plain text, and any model that `load` takes. Out: a run directory as training
makes it, with `base/` (the model before) and `model/` (the best on held-out examples). Read `examples`, `example_files`,
`split`, `job`, then `lora` and `peft_format`; `preparation` checks a file of examples without a run.
"""

from pellucid.finetuning.example_files import read_examples, write_examples
from pellucid.finetuning.examples import Example
from pellucid.finetuning.job import finetune
from pellucid.finetuning.tasks import number_words


__all__ = ["Example", "finetune", "number_words", "read_examples", "write_examples"]
