"""An observer that logs a run's numbers to Weights & Biases; needs the package wandb, and an account unless it works offline.

Its own settings (WANDB_MODE=offline, WANDB_DIR, WANDB_PROJECT) apply. A resumed run resumes there, too.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from pellucid import events
from pellucid.errors import PellucidError
from pellucid.hashing import mix
from pellucid.training.tensorboard import STEP_VALUES


PROJECT = "pellucid"


class WeightsAndBiases:
    """An observer: the plan as the run's config, then the numbers of steps, held-out evaluations and samples.

    Args:
        run: the run's directory; its name is the run's name there.
        project: None: $WANDB_PROJECT, else "pellucid".

    Raises:
        PellucidError: the package wandb is not installed.
    """

    def __init__(self, run: Path, project: str | None = None) -> None:
        self.path = run
        self.project = project
        self.run: Any = None
        try:
            self.wandb: Any = import_module("wandb")
        except ImportError:
            raise PellucidError("--wandb needs the package wandb: pip install wandb") from None

    def __call__(self, event: events.Event) -> None:
        """Logs the numbers of an event."""
        match event:
            case events.RunStarted():
                place = str(self.path.resolve()).encode()
                self.run = self.wandb.init(
                    project=self.project or self.wandb.Settings().project or PROJECT, name=self.path.name, config=event.plan,
                    id=f"{mix(*place, event.plan['seed']):016x}", resume="allow",
                )  # fmt: skip
            case events.StepDone():
                self.run.log({f"train/{name}": getattr(event, name) for name in STEP_VALUES}, step=event.step)
            case events.StepSkipped():
                self.run.log({"train/skipped": max(event.loss_score, event.grad_norm_score)}, step=event.step)
            case events.HeldOut():
                numbers = {"held_out/held_out_loss": event.held_out_loss, "held_out/bits_per_byte": event.bits_per_byte}
                if event.right is not None and event.examples:
                    numbers["held_out/accuracy"] = event.right / event.examples
                self.run.log(numbers, step=event.step)
            case events.Sampled():
                self.run.log({"sample": event.prompt + event.text}, step=event.step)
            case events.RunFinished() if self.run is not None:
                self.run.finish()
            case _:
                pass
