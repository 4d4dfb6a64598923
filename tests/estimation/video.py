"""Made videos of stick people who cross each other's paths, with their boxes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

WIDTH, HEIGHT, FPS = 320, 192, 25


@dataclass(frozen=True)
class Walker:
    """Walks from `start` to `end` (px of the feet's middle) in `first` to `last`."""

    start: tuple[float, float]
    end: tuple[float, float]
    first: int
    last: int
    height: float = 90.0

    def box(self, frame: int) -> tuple[float, float, float, float] | None:
        """Left, top, width and height; None while they are not there."""
        if not self.first <= frame < self.last:
            return None
        share = (frame - self.first) / max(self.last - 1 - self.first, 1)
        x = self.start[0] + share * (self.end[0] - self.start[0])
        y = self.start[1] + share * (self.end[1] - self.start[1])
        return x - 0.2 * self.height, y - self.height, 0.4 * self.height, self.height


CROWD = (
    Walker((30, 150), (290, 150), 0, 60),
    Walker((290, 160), (30, 160), 0, 60, 96),
    Walker((160, 120), (200, 185), 5, 55, 80),
)
"""Two cross in the middle of the video, a third walks through both; he is there for a part of the time."""


def picture(people: list[tuple[float, float, float, float]], phase: float) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT), (200, 205, 210))
    pen = ImageDraw.Draw(image)
    for k, (x, y, w, h) in enumerate(people):
        colour = [(180, 40, 40), (40, 120, 40), (40, 40, 180)][k % 3]
        middle, swing = x + w / 2, 0.5 * w * np.sin(phase)
        pen.ellipse((middle - 0.09 * h, y, middle + 0.09 * h, y + 0.18 * h), fill=colour)
        pen.line((middle, y + 0.18 * h, middle, y + 0.55 * h), fill=colour, width=4)
        for side in (-1, 1):
            pen.line((middle, y + 0.25 * h, middle + side * swing, y + 0.5 * h), fill=colour, width=3)
            pen.line((middle, y + 0.55 * h, middle + side * swing, y + h), fill=colour, width=4)
    return image


def pictures(crowd: tuple[Walker, ...], frames: int) -> list[Image.Image]:
    boxes = [[b for one in crowd if (b := one.box(frame)) is not None] for frame in range(frames)]
    return [picture(some, frame * 0.4) for frame, some in enumerate(boxes)]


def write_video(
    path: Path,
    images: list[Image.Image],
    *,
    pts: list[int] | None = None,
    gop: int = 12,
    codec: str = "libx264",
) -> Path:
    """An MP4 with a key frame every `gop` frames; `pts` in hundredths of a second."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 100)
        for k, image in enumerate(images):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = (4 * k if pts is None else pts[k]), Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def mot(crowd: tuple[Walker, ...], frames: int, *, ids: bool = False, seed: int = 0) -> str:
    """The boxes as a MOT file, each frame's in a random order."""
    rng = np.random.default_rng(seed)
    lines = []
    for frame in range(frames):
        there = [(k, box) for k, one in enumerate(crowd, 1) if (box := one.box(frame)) is not None]
        for k in rng.permutation(len(there)):
            who, box = there[k]
            numbers = ",".join(f"{v:.2f}" for v in box)
            lines.append(f"{frame + 1},{who if ids else -1},{numbers},0.9,-1,-1,-1")
    return "\n".join(lines) + "\n"


def centres(one: Walker, frames: range) -> Float[np.ndarray, "T 2"]:
    """Of the boxes."""
    boxes = np.array([one.box(frame) for frame in frames])
    return np.asarray(boxes[:, :2] + boxes[:, 2:] / 2)
