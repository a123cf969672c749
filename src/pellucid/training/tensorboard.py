"""An observer that writes a run's numbers as TensorBoard files into `RUN/tensorboard/`; needs the package tensorboard."""

from importlib import import_module
from pathlib import Path
from typing import Any

from pellucid import events
from pellucid.errors import PellucidError


FOLDER = "tensorboard"
STEP_VALUES = ("loss", "lr", "grad_norm", "tokens_per_s", "epoch", "waiting", "flops_per_s", "matmul_share")  # of `StepDone`


class TensorBoard:
    """An observer: loss, held-out loss, bits a byte, learning rate, gradient norm and speed over steps, and the samples.

    A run that resumes from a checkpoint hides what it wrote after that.

    Raises:
        PellucidError: the package tensorboard is not installed.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self.writer: Any = None  # made with the first event: the run's directory must not exist before the run does
        try:
            self.kind: Any = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise PellucidError("--tensorboard needs the package tensorboard: pip install tensorboard") from None

    def __call__(self, event: events.Event) -> None:
        """Writes the numbers of an event."""
        match event:
            case events.RunStarted():
                self.writer = self.kind(str(self.folder), purge_step=event.step + 1 if event.step else None)
            case events.StepDone():
                for name in STEP_VALUES:
                    self.writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
            case events.StepSkipped():
                self.writer.add_scalar("train/skipped", max(event.loss_score, event.grad_norm_score), event.step)
            case events.HeldOut():
                for name in ("held_out_loss", "bits_per_byte"):
                    self.writer.add_scalar(f"held_out/{name}", getattr(event, name), event.step)
                if event.right is not None and event.examples:
                    self.writer.add_scalar("held_out/accuracy", event.right / event.examples, event.step)
            case events.Sampled():
                self.writer.add_text("sample", event.prompt + event.text, event.step)
            case events.CheckpointSaved():
                self.writer.flush()
            case events.RunFinished() if self.writer is not None:
                self.writer.close()
            case _:
                pass
