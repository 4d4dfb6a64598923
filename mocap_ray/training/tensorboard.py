"""TensorBoard files: scalars, settings (HParams), pictures, histograms of parameters.

TensorBoard sorts by the part of a tag before its first slash: `loss` comes first, then `metrics`, `optimiser`,
`samples` and `speed`, and last `weights`, the histograms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from mocap_ray.options import flat
from mocap_ray.training.callbacks import Callback, EpochReport, StepLosses, TrainStart

Picture = Callable[[nn.Module], UInt8[np.ndarray, "H W 3"] | None]
"""Draws samples of a model, or returns None."""
POINTS = 100
"""About how many points of the loss an epoch has; each is the mean of the steps since the last one."""
NOT_SETTINGS = ("output", "ray")
"""Sections of a config that do not affect the result."""


class TensorBoardFiles(Callback):
    """Writes event files for `tensorboard --logdir`; a resumed training continues the same curves."""

    def __init__(
        self,
        folder: Path,
        *,
        picture: Picture | None = None,
        settings: Mapping[str, str | int | float] | None = None,
    ) -> None:
        """Take the folder to write, and the settings for the tab HParams; see `hparams`."""
        self.folder, self.picture = folder, picture
        self.settings = dict(settings or {})
        self.writer: Any = None
        self.losses: list[float] = []

    def on_start(self, start: TrainStart) -> None:
        """Open the file; events after the resumed checkpoint are purged."""
        from torch.utils.tensorboard import SummaryWriter

        purge = start.step + 1 if start.step else None
        self.writer = SummaryWriter(str(self.folder), purge_step=purge)  # type: ignore[no-untyped-call]
        self._write_settings()

    def on_steps(self, steps: StepLosses) -> None:
        """Write means of the loss over a few steps each."""
        few = max(1, (steps.of or POINTS) // POINTS)
        first = steps.step - len(steps.losses) + 1
        for step, loss in enumerate(steps.losses, start=first):
            self.losses.append(loss)
            if len(self.losses) >= few:
                self._write_losses(step)

    def on_epoch_end(self, report: EpochReport, model: nn.Module) -> None:
        """Write scalars after each epoch, histograms and pictures after each validation."""
        step = report.step
        if self.losses:
            self._write_losses(step)
        for split, values in (("train", report.train), ("val", report.val)):
            for name, value in values.items():
                tag = f"loss/{split}" if name == "loss" else f"metrics/{split}_{name}"
                self.writer.add_scalar(tag, value, step)
        for group, names in (
            ("optimiser", ("learning_rate", "grad_norm", "grad_norm_max")),
            ("speed", ("samples_per_s", "waiting")),
        ):
            for name in names:
                self.writer.add_scalar(f"{group}/{name}", getattr(report, name), step)
        if report.val:
            for name, p in model.named_parameters():
                if torch.isfinite(p).all():
                    self.writer.add_histogram(f"weights/{name}", p.detach().float().cpu(), step)
            picture = None if self.picture is None else self.picture(model)
            if picture is not None:
                self.writer.add_image("samples", picture, step, dataformats="HWC")
        self.writer.flush()

    def on_end(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()

    def _write_losses(self, step: int) -> None:
        self.writer.add_scalar("loss/train_step", sum(self.losses) / len(self.losses), step)
        self.losses.clear()

    def _write_settings(self) -> None:
        """The settings for the tab HParams, whose metrics are the last values of the losses.

        Not by `add_hparams` of the writer, which makes a run of its own in a folder named after the time.
        """
        if not self.settings:
            return
        from torch.utils.tensorboard.summary import hparams as summaries

        metrics = {"loss/val": 0.0, "loss/train": 0.0}
        found = summaries(self.settings, metrics)  # type: ignore[no-untyped-call]
        for summary in found[:2]:  # the third one ends a run
            self.writer.file_writer.add_summary(summary)


def hparams(plain: Mapping[str, Any], *, only: Sequence[str] = ()) -> dict[str, str | int | float]:
    """The settings that affect the result, by dotted key, as TensorBoard takes them.

    Args:
        plain: a config as plain values.
        only: these keys; empty: all.

    >>> hparams({"model": {"K": 4, "sizes": [8, 16], "ema": None}, "output": {"root": "out"}})
    {'model.K': 4, 'model.sizes': '8, 16', 'model.ema': 'none'}
    """
    settings = flat({k: v for k, v in plain.items() if k not in NOT_SETTINGS})
    return {key: _plain(settings.get(key)) for key in only or settings}


def _plain(value: Any) -> str | int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def write_text(folder: Path, tag: str, text: str, *, step: int) -> None:
    """Write a line of text at a step, from outside a training."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        writer.add_text(tag, text, step)  # type: ignore[no-untyped-call]
