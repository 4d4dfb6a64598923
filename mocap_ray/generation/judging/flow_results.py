"""The result of an evaluation of a rectified flow, as typed values, as plain JSON, and as tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import numpy as np
from jaxtyping import Float
from pydantic import JsonValue

from mocap_ray.generation.judging.tables import Row
from mocap_ray.wording import counted


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one set of motions; NaN where they are not known.

    Attributes:
        fid: to the real motions; of the real ones: between two random halves of them.
        style_accuracy: share whose style the evaluator names as it should be, where it is known.
        jitter: mean third difference of the joints, m/s^3.
        skate: mm per frame of feet in contact.
        diversity: mean distance of feature vectors.
    """

    fid: float
    style_accuracy: float
    jitter: float
    skate: float
    diversity: float

    def summary(self) -> dict[str, JsonValue]:
        """All figures, None for those that are not known."""
        values = {f.name: float(getattr(self, f.name)) for f in fields(self)}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """The figures of a domain, or of all.

    Attributes:
        name: of the domain.
        windows: number of real windows; as many motions were drawn with each number of steps.
        real: of the real windows.
        drawn: number of steps -> those of the motions drawn with it.
    """

    name: str
    windows: int
    real: Figures
    drawn: dict[int, Figures]

    def summary(self) -> dict[str, JsonValue]:
        """Plain JSON values."""
        drawn: dict[str, JsonValue] = {str(steps): each.summary() for steps, each in self.drawn.items()}
        return {"windows": self.windows, "real": self.real.summary(), "steps": drawn}


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """A real window and the motions that were drawn with its domain, style and length, to look at.

    Attributes:
        clip: name of the clip.
        start: first frame of the window in the clip.
        domain, style: names; the style may be empty.
        real: joints, metres.
        drawn: number of steps -> joints.
    """

    clip: str
    start: int
    domain: str
    style: str
    real: Float[np.ndarray, "T 22 3"]
    drawn: dict[int, Float[np.ndarray, "T 22 3"]]


@dataclass(frozen=True, slots=True, eq=False)
class FlowEvaluation:
    """The result of `flows.evaluate_flow`.

    Attributes:
        name: short name of the model.
        where: the file it was read from.
        parameters: number of trained ones.
        vae: sha256 of its VAE.
        root, split: the windows it was judged on.
        length: frames of a window, at most; `fps`: frames per second.
        solver, guidance: how motions were drawn.
        domains: figures of each domain, and of all if there are several.
        evaluator: sha256 of the evaluator; empty without.
        shown: motions to look at.
        notes: what a reader should know.
    """

    name: str
    where: str
    parameters: int
    vae: str
    root: str
    split: str
    length: int
    fps: float
    solver: str
    guidance: float
    domains: list[DomainFigures]
    evaluator: str
    shown: list[Beside]
    notes: list[str] = field(default_factory=list)

    @property
    def windows(self) -> int:
        """Number of real windows."""
        return sum(each.windows for each in self.domains if each.name != "all")

    @property
    def steps(self) -> list[int]:
        """The numbers of steps."""
        return list(self.domains[0].drawn)

    def summary(self) -> dict[str, JsonValue]:
        """Plain JSON values, without the motions."""
        return {
            "where": self.where,
            "parameters": self.parameters,
            "vae": self.vae,
            "root": self.root,
            "split": self.split,
            "length": self.length,
            "fps": self.fps,
            "solver": self.solver,
            "guidance": self.guidance,
            "evaluator": self.evaluator or None,
            "domains": {each.name: each.summary() for each in self.domains},
            "notes": list(self.notes),
        }


FIGURES: tuple[tuple[str, str, int, str], ...] = (
    ("FID", "fid", 2, "to the real motions; of the real ones: between two halves of them"),
    ("style accuracy", "style_accuracy", 2, "share that the evaluator names rightly"),
    ("jitter, m/s³", "jitter", 0, "mean third difference"),
    ("foot skate, mm/frame", "skate", 1, "in contact"),
    ("diversity", "diversity", 2, "mean distance of feature vectors"),
)
"""Title, attribute, digits and note of each line."""


def columns(report: FlowEvaluation) -> list[str]:
    """Titles of the columns: the real motions, and each number of steps."""
    return ["real", *(f"{steps} steps" for steps in report.steps)]


def heading(report: FlowEvaluation, figures: DomainFigures) -> str:
    """What was compared, on one line."""
    return (
        f"{figures.name}: {counted(figures.windows, 'window')} of the split {report.split} of {report.root}, and "
        "motions of the same labels and lengths"
    )


def rows(figures: DomainFigures) -> list[Row]:
    """The table of a domain, with the figures that are known."""
    each = [figures.real, *figures.drawn.values()]
    found = []
    for title, name, digits, note in FIGURES:
        values = [getattr(f, name) for f in each]
        cells = ["" if math.isnan(value) else f"{value:,.{digits}f}" for value in values]
        if any(cells):
            found.append(Row(title, cells, note))
    return found
