"""A run's numbers in TensorBoard's files, `RUN/tensorboard/`: an observer, for those who have that package."""

from importlib import import_module
from pathlib import Path
from typing import Any

from pellucid import events
from pellucid.errors import PellucidError


FOLDER = "tensorboard"
STEP = ("loss", "lr", "grad_norm", "tokens_per_s", "epoch", "waiting", "flops_per_s", "matmul_share")  # of a step


class TensorBoard:
    """An observer. Curves over steps: loss, held-out loss, bits a byte, learning rate, gradient norm, tokens a second; samples.

    A run that goes on from a checkpoint hides what it wrote after that.

    Raises:
        PellucidError: the package tensorboard is not installed.
    """

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER
        self.writer: Any = None  # the run's directory must not be there before the run is
        try:
            self.kind: Any = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError:
            raise PellucidError("--tensorboard needs the package tensorboard: pip install tensorboard") from None

    def __call__(self, event: events.Event) -> None:
        """Writes what the event tells."""
        match event:
            case events.RunStarted():
                self.writer = self.kind(str(self.folder), purge_step=event.step + 1 if event.step else None)
            case events.StepDone():
                for name in STEP:
                    self.writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
            case events.StepSkipped():
                self.writer.add_scalar("train/skipped", max(event.loss_score, event.grad_norm_score), event.step)
            case events.HeldOut():
                for name in ("held_out_loss", "bits_per_byte"):
                    self.writer.add_scalar(f"held_out/{name}", getattr(event, name), event.step)
            case events.Sampled():
                self.writer.add_text("sample", event.prompt + event.text, event.step)
            case events.CheckpointSaved():
                self.writer.flush()
            case events.RunFinished() if self.writer is not None:
                self.writer.close()
            case _:
                pass
