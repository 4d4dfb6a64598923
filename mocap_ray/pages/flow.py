"""One self-contained HTML page about a rectified flow: its figures, and real motions beside drawn ones, playing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mocap_ray.drawing import figures, templates
from mocap_ray.drawing.stick import BONES
from mocap_ray.drawing.templates import SHARED
from mocap_ray.generation.judging.flow_results import FlowEvaluation, columns, rows
from mocap_ray.pages import TEMPLATES
from mocap_ray.pages.save import page_path, save_page


@dataclass(frozen=True, slots=True)
class Shown:
    """A real motion and drawn ones on the page: texts, and the title and number of each motion in its data."""

    title: str
    about: str
    clip: str
    sides: list[tuple[str, int]]


def write_flow_page(report: FlowEvaluation, out: str | os.PathLike[str]) -> Path:
    """Write the page; an existing folder gets it as `index.html`.

    Raises:
        UserError: `out` is on an object store.
        OSError: `out` cannot be written.
    """
    path = page_path(out)
    return save_page(flow_page(report), path)


def flow_page(report: FlowEvaluation) -> str:
    """The page as HTML; the same report gives the same page."""
    motions: list[dict[str, Any]] = []
    shown = []
    for each in report.shown:
        sides = []
        for title, joints in (("real", each.real), *((f"{n} steps", j) for n, j in each.drawn.items())):
            sides.append((title, len(motions)))
            motions.append(figures.player_data(joints, fps=report.fps))
        name = f"{each.domain}, {each.style}" if each.style else each.domain
        about = f"{len(each.real) / report.fps:.1f} s · the real one from {each.start / report.fps:.1f} s"
        shown.append(Shown(name, about, each.clip, sides))
    return templates.render_page(
        f"{TEMPLATES}/flow.html.j2",
        title=f"{report.name} · evaluation of a rectified flow",
        styles=[f"{SHARED}/player.css", f"{TEMPLATES}/motion.css"],
        scripts=[f"{SHARED}/player.js"],
        data={"bones": BONES, "motions": motions},
        report=report,
        columns=columns(report),
        tables=[(each, rows(each)) for each in report.domains],
        shown=shown,
    )
