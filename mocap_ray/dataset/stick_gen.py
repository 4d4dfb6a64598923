"""Write a finished data set as one .pt file of stick figures: the samples of 10 s at 25 fps that stick-gen trains on.

The samples are planned from the index, before any motion is read: which clip, from which frame on, how many frames.
They are cut at true speed: frame k of a sample shows the time k / 25 s after its first frame. The caption and the
choice of `max_samples` depend on the seed and the name of a sample only, so the same data set gives the same file.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.stick_actions import IDLE, describe, known_action, label_of
from mocap_ray.dataset.stick_plan import FPS, FRAMES, SECONDS, Plan, StickOptions, Window, frame_column, plan
from mocap_ray.dataset.views import ClipView, DataSetError
from mocap_ray.drawing.stick_lines import Row, sheet
from mocap_ray.motion.resample import interpolate_positions
from mocap_ray.motion.stick import View, ends, flat, raised, turned
from mocap_ray.storage import expand, place
from mocap_ray.wording import byte_size, counted, duration

SHOWN = 6
"""Samples in the preview."""

Progress = Callable[[int, int], None]
"""Called with the number of samples done and the total."""


@dataclass(frozen=True, slots=True)
class StickExport:
    """The result of an export.

    Attributes:
        file: the .pt file; beside it is a .csv file with a row for each sample.
        size: its bytes.
        plan: the samples.
        clips: number of clips that gave at least one sample.
        idle: samples with the action idle, because stick-gen has none for them.
        placeholders: samples whose clip has neither texts nor an action.
    """

    file: str
    size: int
    plan: Plan
    clips: int
    idle: int
    placeholders: int

    def sentences(self) -> Iterator[str]:
        """The result as sentences; the first one names the file."""
        found, plan = len(self.plan.windows), self.plan
        yield (
            f"{self.file}: {counted(found, 'sample')} of {SECONDS:g} s at {FPS:g} fps from "
            f"{counted(self.clips, 'clip')}, {byte_size(self.size)}"
        )
        if padded := [w for w in plan.windows if w.frames < FRAMES]:
            still = duration(sum(FRAMES - w.frames for w in padded) / FPS)
            count = counted(len(padded), "sample")
            yield f"{count} shorter than {SECONDS:g} s, padded with the last frame: {still} of padding in all"
        if plan.rests:
            yield f"{counted(plan.rests, 'end')} of clips left out as too short, {duration(plan.rest_seconds)} in all"
        if plan.unknown:
            yield f"{counted(plan.unknown, 'sample')} left out, because stick-gen has no action for them"
        if plan.others:
            yield f"{counted(plan.others, 'other sample')} left out by --max-samples; another --seed draws others"
        if self.idle:
            yield (
                f"{counted(self.idle, 'sample')} without an action that stick-gen has: numbered {IDLE.number} "
                f"({IDLE.name}). --without-action drop leaves them out, source.labels gives actions to recordings"
            )
        if self.placeholders:
            count = counted(self.placeholders, "sample")
            yield f"{count} without text and action got a caption such as 'a person moves'"


def export_stick_gen(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    options: StickOptions | None = None,
    preview: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> StickExport:
    """Write a .pt file with a list of samples, and a .csv file beside it that says where each comes from.

    A sample is a dict: `motion` [250, 20] float32, `action` the name of stick-gen's action, `actions` [250] int64 its
    number in each frame, `description` a caption, `source` the name of the source in the data set.
    `torch.load(out, weights_only=True)` reads it. Files are written atomically, the .pt file last; all samples are in
    memory, 22 kB each.

    The lines come from the column `stick`, else from `joints`, else from joints decoded from the features. These begin
    at the origin and face the viewer; the others are where they were recorded, unless `options.view` turns them.

    Args:
        root: the data set, of any archive and profile.
        out: the .pt file, local.
        options: what becomes a sample.
        preview: an SVG file to draw a few samples into.
        overwrite: whether to replace files that exist.
        progress: called after each sample.

    Raises:
        DataSetError: no data set, an output that exists, or no clip that gives a sample.
        OSError: for example, the disk is full; there is no .pt file then.
    """
    options = options or StickOptions()
    files = _files(out, preview, overwrite=overwrite)
    ds = open(root)
    found = plan(ds, options)
    if not found.windows:
        raise DataSetError(nothing_to_export(ds, options, found))
    samples: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    for window, clip, source, lines in _cut(ds, found.windows, options.view):
        action = known_action(label_of(clip.action)) or IDLE
        description, kind = describe(clip, name=window.name, seed=options.seed)
        samples.append(_sample(lines, action.name, action.number, description, source))
        where = (clip.clip_id, source, clip.dataset, clip.split, clip.subject)
        rows.append((len(rows), *where, window.first / FPS, window.frames, clip.action or "", kind))
        if progress is not None:
            progress(len(rows), len(found.windows))
    data, folder = _saved(samples), place(files.pt.parent)
    folder.remove(files.pt.name)  # so that a .pt file never stands beside the .csv file of another one
    folder.write_atomic(_table(rows), files.csv.name)
    if files.svg is not None:
        place(files.svg.parent).write_atomic(_preview(samples, rows).encode(), files.svg.name)
    folder.write_atomic(data, files.pt.name)
    return StickExport(
        file=str(out),
        size=data.size,
        plan=found,
        clips=len({w.row for w in found.windows}),
        idle=sum(sample["action"] == IDLE.name for sample in samples),
        placeholders=Counter(row[-1] for row in rows)["placeholder"],
    )


def _cut(
    ds: DataSet, samples: Sequence[Window], view: View
) -> Iterator[tuple[Window, ClipView, str, np.ndarray]]:
    """Each sample with its clip, the name of its source, and its lines [250, 20] at 25 fps, in the order given."""
    by_row: dict[int, list[Window]] = {}
    for window in samples:
        by_row.setdefault(window.row, []).append(window)
    column = frame_column(ds, view)
    for row, clip, source in _clips(ds, by_row.keys(), column):
        joints = None if column == "stick" else ds.joints(clip)
        points = _points(clip, joints)
        for window in by_row[row]:
            part = points[window.first : window.first + window.frames]
            if len(part) != window.frames:
                raise DataSetError(
                    f"{ds.place.uri}: clip {clip.clip_id} has another number of frames in the column {column} than "
                    f"num_frames says. `mocap-ray dataset validate {ds.place.uri}` shows what is wrong."
                )
            if joints is not None:
                start = joints[min(round(window.first / FPS * clip.fps), len(joints) - 1)]
                part = turned(part, start, view=view)
            yield window, clip, source, np.pad(flat(part), ((0, FRAMES - len(part)), (0, 0)), mode="edge")


def _points(clip: ClipView, joints: np.ndarray | None) -> np.ndarray:
    """The ends of the lines at 25 fps, [N, 10, 3]: of the joints, or else of the column `stick`."""
    if joints is None:
        assert clip.stick is not None, "a clip always has the column stick if it was written"
        return interpolate_positions(raised(clip.stick), clip.fps, FPS)
    return interpolate_positions(ends(joints), clip.fps, FPS)


def _clips(ds: DataSet, wanted: Collection[int], column: str) -> Iterator[tuple[int, ClipView, str]]:
    """Clips by their number in reading order, each with the name of its source; reads only their row groups."""
    base = 0
    for number, shard in enumerate(ds.shards):
        if not any(row in wanted for row in range(base, base + shard.rows)):
            base += shard.rows
            continue
        with ds.open_shard(number) as file:
            for group in range(file.num_row_groups):
                count = file.rows_of(group)
                mine = [row for row in range(count) if base + row in wanted]
                if mine:
                    table = file.read_row_group(group, [*ds.plain_columns, column])
                    for row, clip in zip(mine, ds.views(table, number, mine), strict=True):
                        yield base + row, clip, shard.source
                base += count


def _sample(lines: np.ndarray, action: str, number: int, description: str, source: str) -> dict[str, Any]:
    """A sample as stick-gen has them, of plain tensors and strings."""
    return {
        "motion": torch.from_numpy(np.ascontiguousarray(lines, np.float32)),
        "action": action,
        "actions": torch.full((FRAMES,), number, dtype=torch.int64),
        "description": description,
        "source": source,
    }


def _saved(samples: Sequence[dict[str, Any]]) -> pa.Buffer:
    """The bytes of a .pt file; the same samples give the same bytes."""
    sink = io.BytesIO()
    torch.save(list(samples), sink)
    return pa.py_buffer(sink.getbuffer())


HEADER = (
    "sample",
    "clip_id",
    "source",
    "dataset",
    "split",
    "subject",
    "start_s",
    "frames",
    "label",
    "caption",
)
"""Of the .csv file: `frames` before the padding, the clip's own `action`, and where the caption comes from."""


def _table(rows: Sequence[Sequence[object]]) -> bytes:
    """The .csv file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows)
    return text.getvalue().encode()


def _preview(samples: Sequence[dict[str, Any]], rows: Sequence[Sequence[Any]]) -> str:
    """A picture of a few samples: the fullest of each action in turn, or of each subject where no action is known."""
    frames, subject = HEADER.index("frames"), HEADER.index("subject")
    fullest = sorted(range(len(rows)), key=lambda k: (-rows[k][frames], k))
    seen: Counter[str] = Counter()
    turns = []
    for k in fullest:
        action = samples[k]["action"]
        group = f"s {rows[k][subject]}" if action == IDLE.name else f"a {action}"
        turns.append((seen[group], group, k))
        seen[group] += 1
    chosen = sorted(k for _, _, k in sorted(turns)[:SHOWN])
    return sheet(
        [
            Row(
                lines=samples[k]["motion"].numpy(),
                frames=rows[k][frames],
                title=samples[k]["description"],
                about=f"{samples[k]['action']} ({int(samples[k]['actions'][0])}) · {rows[k][1]} · "
                f"from {rows[k][HEADER.index('start_s')]:g} s",
            )
            for k in chosen
        ],
        fps=FPS,
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """Where an export goes."""

    pt: Path
    csv: Path
    svg: Path | None


def _files(out: str | os.PathLike[str], preview: str | os.PathLike[str] | None, *, overwrite: bool) -> _Files:
    """The files to write. Raises DataSetError for one of another kind, or that exists."""
    for given, suffix, what in ((out, ".pt", "the samples"), (preview, ".svg", "the preview")):
        text = "" if given is None else os.fspath(given)
        if "://" in text:
            raise DataSetError(f"{text}: {what} go into a local file. Write it to a local path and copy it.")
        if given is not None and not text.endswith(suffix):
            raise DataSetError(f"{text}: expected a name that ends in {suffix}, the file for {what}.")
    pt = expand(out)
    files = _Files(pt, pt.with_suffix(".csv"), None if preview is None else expand(preview))
    for path in (files.pt, files.csv, files.svg):
        if path is not None and path.is_dir():
            raise DataSetError(f"{path}: a folder. Expected the name of a file.")
        if path is not None and path.exists() and not overwrite:
            raise DataSetError(f"{path}: exists. --overwrite replaces it.")
    return files


def nothing_to_export(ds: DataSet, options: StickOptions, found: Plan) -> str:
    """Why there is no sample, and what to change."""
    where = ds.place.uri if options.split is None else f"{ds.place.uri}, split {options.split}"
    if found.unknown:
        return (
            f"{where}: stick-gen has no action for any of the {counted(found.unknown, 'sample')}. Leave "
            "--without-action drop out, or give actions to the recordings with source.labels, and extract again."
        )
    if not found.rests:
        return f"{where}: no clips, so there is nothing to export."
    index = ds.index
    if options.split is not None:
        index = index.filter(pc.equal(index["split"], options.split))
    seconds = np.asarray(index["num_frames"], float) / np.asarray(index["fps"], float)
    longest = duration(float(seconds.max()))
    if options.rest == "drop":
        cut = any("max_frames" in one.settings for one in ds.recipes.sources.values())
        why = ", because motion.max_frames cut them" if cut else ""
        return (
            f"{where}: no clip is as long as {SECONDS:g} s; the longest has {longest}{why}. Use --rest pad."
        )
    return f"{where}: no clip is as long as {options.least_seconds:g} s; the longest has {longest}. Lower --least."
