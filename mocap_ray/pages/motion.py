"""One self-contained HTML page about a motion VAE: its figures, and originals beside reconstructions, playing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mocap_ray.drawing import figures, templates
from mocap_ray.drawing.stick import BONES
from mocap_ray.drawing.templates import SHARED
from mocap_ray.generation.judging.results import MotionEvaluation, Pair
from mocap_ray.generation.judging.tables import rows
from mocap_ray.pages import TEMPLATES
from mocap_ray.pages.save import page_path, save_page


@dataclass(frozen=True, slots=True)
class Shown:
    """A window on the page: its texts, and the numbers of its two motions in the data of the page."""

    title: str
    about: str
    clip: str
    original: int
    reconstruction: int


def write_page(report: MotionEvaluation, out: str | os.PathLike[str]) -> Path:
    """Write the page; an existing folder gets it as `index.html`.

    Raises:
        UserError: `out` is on an object store.
        OSError: `out` cannot be written.
    """
    path = page_path(out)
    return save_page(motion_page(report), path)


def motion_page(report: MotionEvaluation) -> str:
    """The page as HTML; the same report gives the same page."""
    motions: list[dict[str, Any]] = []
    shown = []
    for pair in report.pairs:
        motions += [
            figures.player_data(joints, fps=report.fps) for joints in (pair.original, pair.reconstruction)
        ]
        shown.append(_shown(pair, len(motions) - 2, fps=report.fps))
    return templates.render_page(
        f"{TEMPLATES}/motion.html.j2",
        title=f"{report.name} · evaluation of a motion VAE",
        styles=[f"{SHARED}/player.css", f"{TEMPLATES}/motion.css"],
        scripts=[f"{SHARED}/player.js"],
        data={"bones": BONES, "motions": motions},
        report=report,
        rows=rows(report),
        domains=[scores.name for scores in report.scores],
        windows=sum(scores.windows for scores in report.scores if scores.name != "all"),
        shown=shown,
    )


def _shown(pair: Pair, first: int, *, fps: float) -> Shown:
    title = f"{pair.domain}, {pair.style}" if pair.style else pair.domain
    about = f"{pair.mpjpe:.0f} mm mean error of a joint · from {pair.start / fps:.1f} s"
    return Shown(title, about, pair.clip, first, first + 1)
