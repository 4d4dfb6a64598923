"""One self-contained HTML page about a data set: numbers, pictures, animated figures.

The page uses no network and no external file: styles, scripts and motion are inside, and a content security policy
forbids everything else. It depends on the data set alone, so the same data set gives the same page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from mocap_ray.archives import short_title
from mocap_ray.dataset.card import settings, sources_of
from mocap_ray.dataset.parquet import DAMAGE, checked, on_one_line
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.snippets import snippets
from mocap_ray.dataset.views import ClipView, DataSetError
from mocap_ray.drawing import figures, templates
from mocap_ray.drawing.stick import BONES
from mocap_ray.drawing.templates import SHARED
from mocap_ray.pages import TEMPLATES, columns
from mocap_ray.pages.save import page_path, save_page
from mocap_ray.wording import counted, duration, listed

CLIPS = 6
SECONDS = 8.0
"""Longest stretch of a clip that is shown and animated."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A clip on the page: its texts, its film strip, and its motion for the player."""

    clip_id: str
    title: str
    about: str
    caption: str
    strip: Markup
    motion: dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A reason, the number of recordings or pieces with it, and a few of them as (recording, frame, detail)."""

    reason: str
    count: int
    share: float
    examples: list[tuple[str, int, str]]


def write_page(root: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the page of a data set.

    Args:
        root: the data set, local or on an object store.
        out: the HTML file, or an existing folder, where it becomes `index.html`.

    Returns:
        The file.

    Raises:
        DataSetError: root is not a finished data set, or out is on an object store.
        OSError: out cannot be written.
    """
    path = page_path(out, error=DataSetError)
    return save_page(dataset_page(open(root)), path)


def dataset_page(ds: DataSet) -> str:
    """The page of an open data set as HTML."""
    loaded = [_joints(ds, clip_id) for clip_id in chosen_clips(ds.index, count=CLIPS)]
    shown = [_shown(clip, joints, _archive(ds, clip)) for clip, joints in loaded]
    seconds = np.asarray(ds.index["num_frames"], float) / np.asarray(ds.index["fps"], float)
    totals, names = ds.manifest["totals"], heading(ds.datasets)
    return templates.render_page(
        f"{TEMPLATES}/dataset.html.j2",
        title=f"{names} · {counted(totals['clips'], 'motion clip')}",
        styles=[f"{SHARED}/player.css", f"{TEMPLATES}/dataset.css"],
        scripts=[f"{SHARED}/player.js", f"{SHARED}/charts.js", f"{TEMPLATES}/copy.js"],
        data={"bones": BONES, "motions": [s.motion for s in shown]},
        manifest=ds.manifest,
        totals=totals,
        sources=sources_of(ds.manifest),
        heading=names,
        counts=by_dataset(ds.manifest["counts"]),
        hero=_hero(ds, loaded),
        shown=shown,
        lengths=columns.lengths(seconds),
        groups=columns.feature_groups(ds.statistics) if "train" in ds.splits else [],
        left_out=left_out(ds),
        settings=list(settings(ds.manifest["recipe"])),
        snippets=snippets(ds.manifest),
    )


def heading(datasets: tuple[str, ...]) -> str:
    """The names of up to three sub-datasets, and how many more.

    >>> heading(("A", "B")), heading(("A", "B", "C", "D", "E"))
    ('A and B', 'A, B, C and 2 more')
    """
    if len(datasets) > 3:
        return f"{', '.join(datasets[:3])} and {len(datasets) - 3} more"
    return listed(datasets) or "No clips"


def by_dataset(counts: list[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The manifest's counts grouped by dataset, splits in the order train, val, test, others.

    With several sources, each has its own group, with its name.
    """
    order = {"train": 0, "val": 1, "test": 2}
    several = len({c.get("source", "") for c in counts}) > 1

    def name(row: Mapping[str, Any]) -> str:
        return f"{row['dataset']} · {row['source']}" if several else str(row["dataset"])

    ordered = sorted(counts, key=lambda c: (name(c), order.get(c["split"], 3), c["split"]))
    return [(title, list(rows)) for title, rows in groupby(ordered, key=name)]


def chosen_clips(index: pa.Table, *, count: int) -> list[str]:
    """Clips to show: one from each domain in turn, the largest first, and in it from each of its most frequent actions.

    Within an action the clip of median length comes first. Clips without an action are grouped by subject. Mirrored
    twins are left out. The same index gives the same clips.
    """
    domains: dict[str, dict[str, list[tuple[int, str]]]] = {}
    names = ("clip_id", "domain", "action", "subject", "num_frames")
    for clip_id, domain, action, subject, frames in zip(*(index[n].to_pylist() for n in names), strict=True):
        if not clip_id.endswith("~M"):
            groups = domains.setdefault(domain, {})
            groups.setdefault(f"a {action}" if action else f"s {subject}", []).append((frames, clip_id))
    by_size = sorted(domains.items(), key=lambda item: (-sum(map(len, item[1].values())), item[0]))
    return _in_turn([_in_turn(_queues(groups), count) for _, groups in by_size], count)


def _queues(groups: Mapping[str, list[tuple[int, str]]]) -> list[list[str]]:
    """The clips of each group, the largest group first; in it, the clip of median length first."""
    queues = []
    for _, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        median = sorted(members)[len(members) // 2][0]
        queues.append([c for _, _, c in sorted((abs(f - median), -f, c) for f, c in members)])
    return queues


def _in_turn(queues: Sequence[Sequence[str]], count: int) -> list[str]:
    """The first of each queue, then the second of each, and so on."""
    chosen: list[str] = []
    for turn in range(max(map(len, queues), default=0)):
        chosen += [queue[turn] for queue in queues if turn < len(queue)]
        if len(chosen) >= count:
            break
    return chosen[:count]


def _joints(ds: DataSet, clip_id: str) -> tuple[ClipView, np.ndarray]:
    column = "joints" if "joints" in ds.columns else "features"
    clip = ds.clip(clip_id, columns=[column])
    return clip, ds.joints(clip)


def _archive(ds: DataSet, clip: ClipView) -> str:
    """The archive of a clip: that of the first source with its domain."""
    sources = (one.settings for _, one in sorted(ds.recipes.sources.items()))
    return next((str(s.get("archive", "")) for s in sources if s.get("domain") == clip.domain), "")


def _title(clip: ClipView, archive: str) -> str:
    return (clip.action or short_title(archive, clip.recording)).replace("_", " ")


def _shown(clip: ClipView, joints: np.ndarray, archive: str) -> Shown:
    start, stop = figures.excerpt(joints, fps=clip.fps, seconds=SECONDS)
    part = joints[start:stop]
    title = _title(clip, archive)
    style = f" · style {clip.style}" if clip.style else ""
    about = (
        f"{clip.dataset}{style} · {clip.split} · {duration(clip.num_frames / clip.fps)} at {clip.fps:g} fps"
    )
    if stop - start < len(joints):
        about += f" · from {start / clip.fps:.1f} s"
    label = (
        f"Film strip of {title}: stick figures from {start / clip.fps:.1f} to {(stop - 1) / clip.fps:.1f} s"
    )
    strip = figures.film_strip(
        part, fps=clip.fps, label=label, poses=8, first_second=start / clip.fps, standalone=False
    )
    caption = clip.texts[0] if clip.texts else ""
    return Shown(clip.clip_id, title, about, caption, strip, figures.player_data(part, fps=clip.fps))


def _hero(ds: DataSet, loaded: list[tuple[ClipView, np.ndarray]]) -> Markup:
    """The clip that travels farthest, as one picture; the first of equals; empty if there are no clips."""
    best, farthest = Markup(), -1.0
    for clip, joints in loaded:
        start, stop = figures.excerpt(joints, fps=clip.fps, seconds=5.0)
        travel = round(float(np.linalg.norm((joints[stop - 1, 0] - joints[start, 0])[[0, 2]])), 3)
        if travel > farthest:
            label = f"Successive poses of the clip {_title(clip, _archive(ds, clip))}"
            best = figures.chronophotograph(joints[start:stop], label=label, poses=16, standalone=False)
            farthest = travel
    return best


def left_out(ds: DataSet) -> list[LeftOut]:
    """Rejections by reason, the most frequent first, with up to three examples each."""
    counts: Mapping[str, int] = ds.manifest["totals"]["rejected"]
    if not counts:
        return []
    try:
        table = _rejected(ds.place.read("rejected.parquet"), where=f"{ds.place.uri}/rejected.parquet")
    except FileNotFoundError:
        table = REJECTED.empty_table()
    examples: dict[str, list[tuple[str, int, str]]] = {}
    columns = ("reason", "recording", "first_frame", "detail")
    for reason, *example in zip(*(table[c].to_pylist() for c in columns), strict=True):
        chosen = examples.setdefault(reason, [])
        if len(chosen) < 3:
            chosen.append((example[0], int(example[1]), example[2]))
    most = max(1, *counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [LeftOut(r.replace("_", " "), n, n / most, examples.get(r, [])) for r, n in ordered]


REJECTED = pa.schema(
    [
        ("recording", pa.string()),
        ("first_frame", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""The columns of rejected.parquet that the page shows."""


def _rejected(data: bytes, *, where: str) -> pa.Table:
    """The content of rejected.parquet. Raises DataSetError if it is damaged or has other columns."""
    try:
        table = checked(pq.read_table(pa.BufferReader(data)).select(REJECTED.names).cast(REJECTED))
    except (*DAMAGE, KeyError) as error:  # of bytes in memory: no disk is involved
        raise DataSetError(
            f"{where}: damaged ({on_one_line(error)}). Copy the data set again, or delete manifest.json and run the "
            "same extract command again: it makes this file again."
        ) from error
    if any(column.null_count for column in table.columns):
        raise DataSetError(f"{where}: damaged (a column lacks values). Copy the data set again.")
    return table
