"""One self-contained HTML page of generated motions, playing; a real motion beside them where there is one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.drawing import figures, templates
from mocap_ray.drawing.stick import BONES
from mocap_ray.drawing.templates import SHARED
from mocap_ray.generation.generator import Generator, asked
from mocap_ray.generation.outputs import Generated
from mocap_ray.pages import TEMPLATES
from mocap_ray.pages.save import page_path, save_page
from mocap_ray.wording import duration

MOST = 48
"""Motions on a page; a second of one takes 5 kB."""


@dataclass(frozen=True, slots=True)
class Real:
    """A real motion to compare with.

    Attributes:
        clip: name of the clip.
        fps: frames per second.
        joints: metres, Y up.
    """

    clip: str
    fps: float
    joints: Float[np.ndarray, "T 22 3"] = field(repr=False)


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
    data: list[dict[str, Any]] = [figures.player_data(m.joints, fps=m.fps) for m in played]
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
            _Shown(one.clip, {}, duration((len(one.joints) - 1) / one.fps), len(chosen) + k)
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
    parts = [
        f"seed {motion.request.seed}",
        duration((len(motion.joints) - 1) / motion.fps),
        f"{motion.speed:.1f} m/s over the ground",
    ]
    if math.isfinite(motion.skate):
        parts.append(f"feet slide {motion.skate:.0f} mm per frame in contact")
    return _Shown(title or f"motion {motion.name}", texts, " · ".join(parts), number)
