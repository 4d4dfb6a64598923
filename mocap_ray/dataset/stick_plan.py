"""Which samples of 10 s at 25 fps a data set gives: planned from its index, before any motion is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.stick_actions import draw, known_action, label_of
from mocap_ray.motion.resample import frames_at
from mocap_ray.motion.stick import View
from mocap_ray.motion.windows import windows

FPS, SECONDS = 25.0, 10.0
FRAMES = 250
"""Frames of a sample."""


@dataclass(frozen=True, slots=True)
class StickOptions:
    """What becomes a sample.

    Attributes:
        split: only clips of this split.
        view: `recorded`, or turned so that each sample begins above the origin and faces the viewer (`front`) or the
            viewer's right (`side`).
        rest: what to do with the end of a clip that is shorter than 10 s: `pad` it with its last frame, or `drop` it.
        least_seconds: a shorter rest is dropped in any case.
        without_action: what to do with samples without an action that stick-gen knows: number 0, `idle`, or `drop`.
        max_samples: at most so many samples, drawn by the seed from all of them.
        seed: for captions and for the choice of samples.
    """

    split: str | None = None
    view: View = "recorded"
    rest: Literal["pad", "drop"] = "pad"
    least_seconds: float = 1.0
    without_action: Literal["idle", "drop"] = "idle"
    max_samples: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """A sample to cut.

    Attributes:
        row: its clip, in reading order.
        name: the clip's id and the first second, unique in the data set.
        first: its first frame, at 25 fps.
        frames: its frames, at most 250; the others are padded.
    """

    row: int
    name: str
    first: int
    frames: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The samples of an export, in reading order, and what is left out.

    Attributes:
        windows: the samples.
        rests: ends of clips that are dropped.
        rest_seconds: their length together.
        unknown: samples that are dropped because stick-gen has no action for them.
        others: samples that `max_samples` leaves out.
    """

    windows: tuple[Window, ...]
    rests: int
    rest_seconds: float
    unknown: int
    others: int


def plan(ds: DataSet, options: StickOptions) -> Plan:
    """The samples of a data set, from its index alone.

    Raises:
        DataSetError: no clip has the split.
    """
    chosen = set(ds.selected(split=options.split))
    numbers = np.repeat(np.arange(len(ds.shards)), [s.rows for s in ds.shards])
    names = ("clip_id", "num_frames", "fps", "action")
    extra = _extra_frames(ds, options.view)
    found: list[Window] = []
    rests = rest_frames = unknown = 0
    columns = (ds.index[name].to_pylist() for name in names)
    for row, (clip_id, frames, fps, action) in enumerate(zip(*columns, strict=True)):
        if numbers[row] not in chosen:
            continue
        total = frames_at(frames + extra, fps, FPS)
        spans = [(s.start, FRAMES) for s in windows(total, length=FRAMES, stride=FRAMES)]
        if rest := total % FRAMES:
            if options.rest == "pad" and rest >= options.least_seconds * FPS:
                spans.append((total - rest, rest))
            else:
                rests, rest_frames = rests + 1, rest_frames + rest
        if options.without_action == "drop" and known_action(label_of(action)) is None:
            unknown += len(spans)
            continue
        found += [Window(row, f"{clip_id}+{first / FPS:g}s", first, count) for first, count in spans]
    kept = drawn(found, options)
    return Plan(tuple(kept), rests, rest_frames / FPS, unknown, len(found) - len(kept))


def drawn(found: Sequence[Window], options: StickOptions) -> list[Window]:
    """At most `max_samples` of the samples, in their order; adding clips to the data set moves few of them."""
    if options.max_samples is None or len(found) <= options.max_samples:
        return list(found)
    by_draw = sorted(found, key=lambda w: (draw("sample", w.name, options.seed), w.name))
    keep = {w.name for w in by_draw[: options.max_samples]}
    return [w for w in found if w.name in keep]


def frame_column(ds: DataSet, view: View) -> str:
    """The frame column to make the lines from; `stick` has no depth, so it cannot be turned."""
    first = ("stick", "joints") if view == "recorded" else ("joints",)
    return next((name for name in first if name in ds.columns), "features")


def _extra_frames(ds: DataSet, view: View) -> int:
    """Frames that a clip has beyond its rows of features."""
    return 1 if ds.profile == "humanml3d" and frame_column(ds, view) != "features" else 0
