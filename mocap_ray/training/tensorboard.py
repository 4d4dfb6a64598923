"""TensorBoard files: scalars, histograms of parameters, pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from mocap_ray.training.callbacks import Callback, EpochReport, TrainStart

Picture = Callable[[nn.Module], UInt8[np.ndarray, "H W 3"] | None]
"""Draws samples of a model, or returns None."""


class TensorBoardFiles(Callback):
    """Writes event files for `tensorboard --logdir`; a resumed training continues the same curves."""

    def __init__(self, folder: Path, *, picture: Picture | None = None) -> None:
        self.folder, self.picture = folder, picture
        self.writer: Any = None

    def on_start(self, start: TrainStart) -> None:
        """Open the file; events after the resumed checkpoint are purged."""
        from torch.utils.tensorboard import SummaryWriter

        purge = start.step + 1 if start.step else None
        self.writer = SummaryWriter(str(self.folder), purge_step=purge)  # type: ignore[no-untyped-call]

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Write scalars after each epoch, histograms and pictures after each validation."""
        step = report.step
        for name, value in report.train.items():
            self.writer.add_scalar(f"train/{name}", value, step)
        for name, value in report.val.items():
            self.writer.add_scalar(f"val/{name}", value, step)
        for name in ("learning_rate", "grad_norm", "grad_norm_max", "samples_per_s", "waiting"):
            self.writer.add_scalar(f"training/{name}", getattr(report, name), step)
        if report.val:
            for name, p in model.named_parameters():
                if torch.isfinite(p).all():
                    self.writer.add_histogram(name, p.detach().float().cpu(), step)
            picture = None if self.picture is None else self.picture(model)
            if picture is not None:
                self.writer.add_image("samples", picture, step, dataformats="HWC")
        self.writer.flush()

    def on_end(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


def write_text(folder: Path, tag: str, text: str, *, step: int) -> None:
    """Write a line of text at a step, from outside a training."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        writer.add_text(tag, text, step)  # type: ignore[no-untyped-call]
