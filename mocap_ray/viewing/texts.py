"""The texts of the panel, as HTML: everything that comes from files is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from mocap_ray.viewing.quality import quality
from mocap_ray.viewing.scene import Placement, Scene
from mocap_ray.wording import counted

_TABLE = Markup(
    '<table style="font-size:0.8em;line-height:1.35;border-spacing:0 2px;width:100%;padding:0 .6em .4em">'
    "{}</table>"
)
_ROW = Markup(
    '<tr><td style="opacity:.65;vertical-align:top;padding-right:.7em;white-space:nowrap">{}</td>'
    '<td style="overflow-wrap:anywhere">{}</td></tr>'
)
_NOTE = Markup(
    '<div style="font-size:0.8em;line-height:1.35;padding:.2em .75em;overflow-wrap:anywhere">{}</div>'
)
_FAULT = Markup(
    '<div style="font-size:0.85em;line-height:1.35;padding:.5em .7em;border-radius:4px;margin:.4em .6em;'
    'background:#fdecea;color:#7a1f16;overflow-wrap:anywhere">{}</div>'
)
CAPTIONS = 6
"""Captions of a clip that are shown."""


def facts(scene: Scene, placed: Sequence[Placement]) -> str:
    """What the panel says of a scene: its facts, captions, quality figures, why there is no mesh."""
    first = scene.figures[0]
    rows = list(scene.facts)
    rows += [("text", text) for text in scene.captions[:CAPTIONS]]
    if len(scene.captions) > CAPTIONS:
        rows.append(("", f"and {counted(len(scene.captions) - CAPTIONS, 'more text')}"))
    if first.frames > 1:
        rows += [
            (name, f"{v:,.2f}") for name, v in quality(first.joints, first.fps).items() if math.isfinite(v)
        ]
    moved = next((p.raised for p in placed if p.raised), 0.0)
    if moved:
        rows.append(("height", f"moved {abs(moved):.2f} m {'up' if moved > 0 else 'down'}, onto the floor"))
    if first.skin is None:
        rows.append(("mesh", first.no_skin.removeprefix("no mesh: ")))
    return str(_TABLE.format(Markup("").join(_ROW.format(name, text) for name, text in rows)))


def note(text: str) -> str:
    """A remark in small letters."""
    return str(_NOTE.format(text))


def fault(text: str) -> str:
    """A problem, set off in red."""
    return str(_FAULT.format(text))


def place(position: int | None, shown: int, total: int) -> str:
    """Where the playlist stands.

    Args:
        position: the clip's number among those that pass the filters, from 0; None if it does not.
        shown: clips that pass the filters.
        total: all clips.
    """
    if not shown:
        return fault(
            f"No clip passes the filters ({counted(total, 'clip')} in all). Change or clear them below."
        )
    here = "not among" if position is None else f"{position + 1:,} of"
    among = f"{shown:,}" if shown == total else f"{shown:,} that pass the filters, {total:,} in all"
    return note(f"{here} {among}")
