"""TensorBoard files: curves, histograms of parameters, pictures of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from mocap_ray.priors.pictures import posed_joints
from mocap_ray.skeleton import BODY_PARENTS, PARENTS
from mocap_ray.training.listener import EpochReport, Listener, Start

HEIGHT, WIDTH = 192, 128
LEFT, RIGHT, TRUNK = (0, 114, 178), (213, 94, 0), (60, 70, 84)
"""Okabe and Ito's blue and orange, as in the other pictures."""


class TensorBoardFiles(Listener):
    """Writes what `tensorboard --logdir` shows; a resumed training goes on in the same curves."""

    def __init__(self, folder: Path, *, pictures: int = 8) -> None:
        self.folder, self.pictures = folder, pictures
        self.writer: Any = None

    def started(self, start: Start) -> None:
        """Open the file; events after the checkpoint that is resumed are purged."""
        from torch.utils.tensorboard import SummaryWriter

        purge = start.step + 1 if start.step else None
        self.writer = SummaryWriter(str(self.folder), purge_step=purge)  # type: ignore[no-untyped-call]

    def judged(self, report: EpochReport, model: nn.Module) -> None:
        """Curves each epoch; histograms and pictures at each validation."""
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
            if self.pictures and hasattr(model, "sample"):
                self.writer.add_image("samples", self._picture(model), step, dataformats="HWC")
        self.writer.flush()

    def _picture(self, model: Any) -> UInt8[np.ndarray, "H W 3"]:
        """Samples of the same noise each time, so that one sees them change."""
        training = model.training
        model.eval()
        with torch.no_grad():
            poses = model.sample(self.pictures, torch.Generator().manual_seed(0))
        model.train(training)
        hands = all(j >= 25 for j in model.coordinates.active_joints)
        return sheet(poses.float().cpu().numpy(), hands=hands)

    def finished(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


def write_text(folder: Path, tag: str, text: str, *, step: int) -> None:
    """A line of text at a step, from outside of a training."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        writer.add_text(tag, text, step)  # type: ignore[no-untyped-call]


def sheet(poses: Float[np.ndarray, "N 55 3"], *, hands: bool = False) -> UInt8[np.ndarray, "H W 3"]:
    """Stick figures side by side, seen from the front; or left hands above right ones, seen from above.

    Poses that are not finite give an empty panel.
    """
    panels = []
    for pose in poses:
        joints = posed_joints(np.nan_to_num(pose[None]))[0]
        if not np.isfinite(pose).all():
            panels.append(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
        elif hands:
            panels.append(np.concatenate([_hand(joints, 20, 25, 55), _hand(joints, 21, 40, 60)]))
        else:
            panels.append(_body(joints))
    return np.concatenate(panels, axis=1)


def _body(joints: Float[np.ndarray, "65 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """One body; the pelvis stands in the middle, 2.4 m fill the height."""
    at = joints[:22, :2] - joints[0, :2]
    scale = HEIGHT / 2.4
    points = np.stack([WIDTH / 2 + scale * at[:, 0], HEIGHT / 2 - scale * at[:, 1]], axis=-1)
    bones = [(p, j) for j, p in enumerate(BODY_PARENTS) if p >= 0]
    colours = [
        LEFT if j in (1, 4, 7, 10, 13, 16, 18, 20) else RIGHT if j in (2, 5, 8, 11, 14, 17, 19, 21) else TRUNK
        for _, j in bones
    ]
    return lines(points, bones, colours, height=HEIGHT, width=WIDTH, thick=2.0)


def _hand(joints: Float[np.ndarray, "65 3"], wrist: int, first: int, tips: int) -> UInt8[np.ndarray, "H W 3"]:
    """One hand in half a panel, 26 cm wide; its fingers point away from the body's middle."""
    bones = [(PARENTS["smplx"][j], j) for j in range(first, first + 15)]
    bones += [(first + 3 * k + 2, tips + k) for k in range(5)]
    at = joints[:, [0, 2]] - joints[wrist, [0, 2]]
    side = 1 if wrist == 20 else -1
    scale = WIDTH / 0.26
    points = np.stack(
        [WIDTH * (0.1 if side > 0 else 0.9) + scale * at[:, 0], 0.21 * HEIGHT + scale * at[:, 1]], -1
    )
    colours = [LEFT if side > 0 else RIGHT] * len(bones)
    return lines(points, bones, colours, height=HEIGHT // 2, width=WIDTH, thick=1.5)


def lines(
    points: Float[np.ndarray, "P 2"],
    bones: list[tuple[int, int]],
    colours: list[tuple[int, int, int]],
    *,
    height: int,
    width: int,
    thick: float,
) -> UInt8[np.ndarray, "H W 3"]:
    """Line segments on white, with soft edges: each pixel is covered by how near it is to the segment."""
    y, x = np.mgrid[:height, :width] + 0.5
    picture = np.full((height, width, 3), 255.0)
    for (a, b), colour in zip(bones, colours, strict=True):
        start, along = points[a], points[b] - points[a]
        length = max(float(along @ along), 1e-9)
        share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length, 0, 1)
        distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
        cover = np.clip(thick + 0.5 - distance, 0, 1)[..., None]
        picture = picture * (1 - cover) + np.array(colour) * cover
    return picture.round().astype(np.uint8)
