"""One self-contained HTML page of generated motions, playing; a real motion beside them where there is one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.drawing import figures as drawn
from mocap_ray.drawing import templates
from mocap_ray.drawing.stick import BONES
from mocap_ray.drawing.templates import SHARED
from mocap_ray.generation.generator import Generator, asked
from mocap_ray.generation.outputs import Generated, skate_of, speed_of
from mocap_ray.motion.features import decode
from mocap_ray.pages import TEMPLATES
from mocap_ray.pages.save import page_path, save_page
from mocap_ray.wording import duration

MOST = 48
"""Motions on a page; a second of one takes 5 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """A real motion to compare with.

    Attributes:
        clip: name of the clip.
        fps: frames per second.
        features: not normalised.
    """

    clip: str
    fps: float
    features: Float[np.ndarray, "T 263"]

    @property
    def joints(self) -> Float[np.ndarray, "T 22 3"]:
        """Its joints, metres, Y up."""
        return np.asarray(decode(self.features), np.float32)


@dataclass(frozen=True, slots=True)
class _Shown:
    title: str
    asked: dict[str, str]
    about: str
    number: int


def write_page(
    motions: Sequence[Generated],
    out: str | os.PathLike[str],
    *,
    generator: Generator,
    real: Sequence[Real] = (),
) -> Path:
    """Write the page; an existing folder gets it as `index.html`.

    Args:
        motions: those that are shown, up to `MOST`.
        out: a file or folder.
        generator: the model, for its settings.
        real: motions of the training data to compare with.

    Raises:
        UserError: `out` is on an object store.
        OSError: `out` cannot be written.
    """
    path = page_path(out)
    return save_page(generated_page(motions, generator=generator, real=real), path)


def generated_page(motions: Sequence[Generated], *, generator: Generator, real: Sequence[Real] = ()) -> str:
    """The page as HTML; the same motions give the same page."""
    chosen = motions[:MOST]
    played: list[Generated | Real] = [*chosen, *real]
    data: list[dict[str, Any]] = [drawn.player_data(m.joints, fps=m.fps) for m in played]
    s = generator.sampling
    return templates.render_page(
        f"{TEMPLATES}/generated.html.j2",
        title=f"{len(motions):,} generated motions" if len(motions) != 1 else "A generated motion",
        styles=[f"{SHARED}/player.css", f"{TEMPLATES}/generated.css"],
        scripts=[f"{SHARED}/player.js"],
        data={"bones": BONES, "motions": data},
        total=len(motions),
        shown=[_shown(motion, k) for k, motion in enumerate(chosen)],
        real=[
            _Shown(one.clip, {}, _figures(one.joints, one.features, one.fps), len(chosen) + k)
            for k, one in enumerate(real)
        ],
        model=Path(s.model).name or s.model,
        sampling=s,
        sha256=generator.sha256,
        fps=generator.fps,
    )


def _shown(motion: Generated, number: int) -> _Shown:
    texts = asked(motion.request)
    title = texts.pop("text", None) or ", ".join(
        texts.pop(key) for key in ("style", "action") if key in texts
    )
    figures = _figures(motion.joints, motion.features, motion.fps)
    return _Shown(title or f"motion {motion.name}", texts, f"seed {motion.request.seed} · {figures}", number)


def _figures(joints: Float[np.ndarray, "T 22 3"], features: Float[np.ndarray, "T 263"], fps: float) -> str:
    """Length, speed and sliding feet of a motion, in words."""
    parts = [duration((len(joints) - 1) / fps), f"{speed_of(joints, fps=fps):.1f} m/s over the ground"]
    skate = skate_of(joints, features)
    if math.isfinite(skate):
        parts.append(f"feet slide {skate:.0f} mm per frame in contact")
    return " · ".join(parts)
