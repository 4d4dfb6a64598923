"""Tables and summaries: nothing is cut off at 80 columns, and the output is plain text without a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mocap_ray.archives import Archive
from mocap_ray.body.check import FileReport
from mocap_ray.body.files import expected
from mocap_ray.cli.screen import say
from mocap_ray.dataset.estimate import Estimate
from mocap_ray.dataset.inspect import Inspection
from mocap_ray.dataset.product import ClipBuild
from mocap_ray.motion.clip import JOINTS, JointMotion
from mocap_ray.records import Rejection
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.running import AnyBuild
from mocap_ray.wording import byte_size, counted, duration

START_S = 8.0
"""Seconds that a local Ray and its workers take to start."""


def show(out: Console, table: Table) -> None:
    """Print a table after its title; without a terminal, trailing spaces are removed.

    The title is a line of its own, which is never wrapped: Rich wraps the title of a narrow table, which would break
    a path in it.
    """
    title, table.title = table.title, None
    if title:
        say(out, str(title), style="bold")
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as printed:
        out.print(table)
    out.file.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))


def simple_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    space: int = 2,
) -> Table:
    """A table of texts: nothing is cut off, however narrow the console is.

    Args:
        title: a line above the table.
        columns: names of the columns; empty names give a table without a header.
        rows: the cells of each row.
        right: columns to align on the right.
        space: spaces between columns.
    """
    table = Table(
        title=title,
        box=None,
        show_header=any(columns),
        pad_edge=False,
        padding=(0, space, 0, 0),
        header_style="underline",
    )
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in set(right) else "left")
    for row in rows:
        table.add_row(*row)
    return table


def print_plan(out: Console, build: AnyBuild) -> None:
    """Print what a run would make and remove, without an estimate."""
    words = build.product.layout.words
    size = byte_size(sum(s.size for s in build.todo))
    made = [
        (f"{words.inputs} to make", f"{sum(len(s.inputs) for s in build.todo):,} ({size})"),
        ("shards to make", f"{len(build.todo):,} of {len(build.shards):,}"),
        *(("note", note) for note in build.notes),
    ]
    if build.superseded:
        made.append(("superseded files to remove", f"{len(build.superseded):,}"))
    show(out, simple_table(f"dry run into {build.out.uri}: nothing is written", ("", ""), made))


def print_estimate(out: Console, build: ClipBuild, guess: Estimate, ray: RayOptions) -> None:
    """Print what a run would make and remove, and the time and space that it needs."""
    if not build.todo:
        made = [("to make", "nothing: all shards are finished")]
    else:
        workers = (os.cpu_count() or 1) if ray.workers == "auto" else ray.workers
        where = "on this machine" if ray.address is None else f"of {ray.address}"
        seconds = guess.cpu_s / workers + START_S
        made = [
            ("recordings to make", f"{guess.recordings:,} of {guess.all_recordings:,}"),
            ("shards to make", f"{len(build.todo):,} of {len(build.shards):,}"),
            ("source", byte_size(guess.source_bytes)),
            ("motion, about", duration(guess.hours * 3600)),
            ("disk needed, about", byte_size(guess.output_bytes)),
            (
                "time, about",
                f"{duration(seconds)} with {counted(workers, 'worker')} {where}, {START_S:.0f} s of it for the start",
            ),
            ("unusable in a sample", f"{guess.sample_rejected} of {counted(guess.sample, 'recording')}"),
        ]
    if build.superseded:
        made.append(("superseded files to remove", f"{len(build.superseded):,}"))
    made += [("note", note) for note in build.notes]
    show(out, simple_table(f"dry run into {build.out.uri}: nothing is written", ("", ""), made))


def print_inspection(out: Console, file: str, found: Inspection) -> None:
    """Print what a file is, its quality figures, and what a run would make from it."""
    motion, rows = found.motion, [("size", counted(found.recording.size, "byte"))]
    if not isinstance(motion, Rejection):
        frames, fps = len(motion.root), motion.source_fps
        array = motion.joints if isinstance(motion, JointMotion) else motion.poses
        rows += [
            ("format", f"{motion.family}, {counted(array.shape[1], 'joint')}, {array.dtype}"),
            ("gender", motion.gender),
            ("shape coefficients", "-" if isinstance(motion, JointMotion) else str(len(motion.betas))),
            ("frames", f"{frames:,} at {fps:.10g} fps = {frames / fps:.2f} s"),
            ("action, from its name", motion.action or "-"),
        ]
    if found.quality is not None:
        rows += found.quality.rows()
    for clip in found.clips:
        body = "joints of the source" if clip.family == JOINTS else f"{clip.family} {clip.body_gender} body"
        rows.append(
            ("clip", f"{clip.clip_id}: {counted(clip.num_frames, 'row')} at {clip.fps:g} fps, {body}")
        )
    rows += [(str(r.reason), r.detail) for r in found.rejections]
    usable = "yes" if found.usable else "no"
    if not found.complete:
        usable += ", as far as can be checked without body models (--body FOLDER)"
    show(out, simple_table(file, ("", ""), [*rows, ("usable", usable)]))


def print_models(out: Console, root: Path, reports: Sequence[FileReport]) -> None:
    """Print each expected model file, then for each family what is missing, and the errors of unusable files."""
    columns = ("model", "file", "MB", "vertices", "joints", "shape", "height", "usable")
    rows = [
        (
            f"{r.family} {r.gender}",
            str(r.path.relative_to(root)) if r.path else "-",
            f"{r.size / 1e6:.1f}" if r.path else "-",
            *(str(number or "-") for number in (r.vertices, r.joints, r.shape_coefficients)),
            f"{r.height:.2f} m" if r.height else "-",
            ("stand-in" if r.standin else "yes") if r.usable else "no" if r.path else "missing",
        )
        for r in reports
    ]
    show(out, simple_table(f"body models below {root}", columns, rows, right=columns[2:7], space=1))
    for family, members in groupby(reports, key=lambda r: r.family):
        missing = [r for r in members if r.path is None]
        if missing:
            others = ", ".join(f"{r.gender} at {root / expected(family, r.gender)}" for r in missing[1:])
            say(out, f"\n{missing[0].error}{f' Likewise {others}.' if others else ''}")
    for report in reports:
        if report.path is not None and not report.usable:
            say(out, f"\n{report.family} {report.gender}: {report.error}", style="red")


def print_archive(out: Console, archive: Archive) -> None:
    """Print the licence and citation of an archive, and how to get it."""
    rows = [
        ("licence", archive.licence),
        ("citation", archive.citation),
        ("how to get it", archive.register),
        ("where", archive.url),
    ]
    show(out, simple_table(f"{archive.name}: {archive.title}", ("", ""), rows))
