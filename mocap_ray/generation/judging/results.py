"""The result of an evaluation of a model of motion, as typed values and as plain JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from pydantic import JsonValue


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An original and its reconstruction, to look at.

    Attributes:
        clip: name of the clip.
        start: first frame of the window in the clip.
        domain, style: names; the style may be empty.
        mpjpe: of the window, mm.
        original, reconstruction: joints, metres.
    """

    clip: str
    start: int
    domain: str
    style: str
    mpjpe: float
    original: Float[np.ndarray, "T 22 3"]
    reconstruction: Float[np.ndarray, "T 22 3"]


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of one domain, or of all.

    Attributes:
        name: of the domain.
        windows: number of windows.
        mpjpe, mpjpe_local, root: mean errors in mm, see `metrics.joint_errors`.
        contact_f1: of the contacts.
        kl: nats per latent number, mean over the real latents.
        active: latent numbers that are used, see `metrics.ACTIVE`; `latent` is their number.
        style_accuracy: of the style head on windows with a known style, where the model is not told the style.
        style_baseline: accuracy of always naming the most frequent style.
        jitter, jitter_real: m/s^3.
        skate, skate_real: mm per frame of feet in contact.
        fid: between originals and reconstructions; `fid_split`: between two random halves of the originals.
        diversity, diversity_real: mean distance of feature vectors.
    """

    name: str
    windows: int
    mpjpe: float
    mpjpe_local: float
    root: float
    contact_f1: float
    kl: float
    active: int
    latent: int
    style_accuracy: float
    style_baseline: float
    jitter: float
    jitter_real: float
    skate: float
    skate_real: float
    fid: float
    fid_split: float
    diversity: float
    diversity_real: float

    def summary(self) -> dict[str, JsonValue]:
        """All figures, None for those that are not known."""
        values: dict[str, JsonValue] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            values[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        return values


@dataclass(frozen=True, slots=True, eq=False)
class MotionEvaluation:
    """The result of `evaluate`.

    Attributes:
        name: short name of the model.
        where: the file it was read from.
        variant, parameters, compression: facts about the model.
        root, split: the windows it was judged on.
        length: frames of a window, at most; `fps`: frames per second.
        scores: each domain, and all if there are several.
        evaluator: sha256 of the tensors of the evaluator that FID and diversity were measured with; empty without.
        pairs: windows to look at.
        notes: what a reader should know.
    """

    name: str
    where: str
    variant: str
    parameters: int
    compression: int
    root: str
    split: str
    length: int
    fps: float
    scores: list[Scores]
    evaluator: str
    pairs: list[Pair]
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, JsonValue]:
        """Plain JSON values, without the windows."""
        return {
            "where": self.where,
            "variant": self.variant,
            "parameters": self.parameters,
            "compression": self.compression,
            "root": self.root,
            "split": self.split,
            "length": self.length,
            "fps": self.fps,
            "evaluator": self.evaluator or None,
            "domains": {scores.name: scores.summary() for scores in self.scores},
            "notes": list(self.notes),
        }
