"""Tables of `archive list` and `archive check`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from rich.console import Console

from mocap_ray.body.files import missing
from mocap_ray.cli.screen import say
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.fetching.catalogue import ALL, Catalogue
from mocap_ray.fetching.check import Report, SubReport
from mocap_ray.fetching.headers import TITLES
from mocap_ray.wording import byte_size, counted, listed

MOST_DAMAGED = 20
"""Damaged files that are shown by name."""


def print_catalogue(out: Console, catalogue: Catalogue) -> None:
    """Print the sub-datasets, then the presets."""
    rows = []
    for name, entry in catalogue.sub_datasets.items():
        counts = [f"{count:,} {TITLES[family]}" for family, count in entry.sequences.items()]
        rows.append(
            (
                name,
                ", ".join(catalogue.releases[key].title for key in catalogue.releases_of(name)),
                ", ".join(counts) or "-",
                byte_size(entry.gb * 1e9) if entry.gb else "-",
                ", ".join(entry.spellings),
            )
        )
    columns = ("sub-dataset", "releases", "usual sequences", "packed, about", "also called")
    show(out, simple_table("AMASS, https://amass.is.tue.mpg.de", columns, rows, right=columns[3:4]))
    say(out, "")
    for preset, names in catalogue.presets.items():
        size = sum(catalogue.sub_datasets[name].gb or 0 for name in names)
        say(out, f"preset {preset}: {', '.join(names)}; about {byte_size(size * 1e9)} packed")
    say(out, f"preset {ALL}: all of them; about 50 GB packed")


def print_report(out: Console, root: str, bodies: Path, report: Report) -> None:
    """Print a table by sub-dataset, one of body models, damaged files, and notes."""
    columns = (
        "sub-dataset",
        "model",
        "sequences",
        "usual",
        "formats",
        "frames",
        "hours",
        "other files",
        "state",
    )
    rows = [_row(sub) for sub in report.subs]
    total = (
        "total",
        "",
        f"{sum(s.sequences for s in report.subs):,}",
        "",
        "",
        f"{sum(s.frames for s in report.subs):,}",
        f"{sum(s.hours for s in report.subs):,.2f}",
        "",
        "",
    )
    title = f"{root}: {counted(report.files, '.npz file')}"
    show(out, simple_table(title, columns, [*rows, total], right=(*columns[2:4], *columns[5:7])))
    _print_bodies(out, bodies, report)
    damaged = [text for sub in report.subs for text in sub.damaged]
    if damaged:
        say(out, f"\n{counted(len(damaged), 'damaged file')}; unpack or download again:")
        for text in damaged[:MOST_DAMAGED]:
            say(out, f"  {text.rstrip('.')}.", style="red")
        if len(damaged) > MOST_DAMAGED:
            say(out, f"  and {len(damaged) - MOST_DAMAGED:,} more (--json has all).")
    for note in report.notes:
        say(out, f"\nnote: {note}")


def _row(sub: SubReport) -> tuple[str, ...]:
    if sub.damaged:
        state = f"{len(sub.damaged):,} damaged"
    elif sub.complete is False and sub.expected is not None:
        state = f"{sub.expected - sub.sequences:,} missing"
    else:
        state = "complete" if sub.complete else "-"
    return (
        sub.name,
        TITLES.get(sub.family, "-"),
        f"{sub.sequences:,}",
        f"{sub.expected:,}" if sub.expected is not None else "-",
        ", ".join(f"{count:,} x {form}" for form, count in sub.formats.items()) or "-",
        f"{sub.frames:,}",
        f"{sub.hours:,.2f}",
        ", ".join(f"{count:,} x {what}" for what, count in sub.others.items()) or "-",
        state,
    )


def _print_bodies(out: Console, bodies: Path, report: Report) -> None:
    rows = [
        (
            f"{need.family} {need.gender}",
            f"{need.sequences:,}",
            listed(need.datasets, most=4),
            need.model if need.is_own else f"{need.model} instead" if need.model else "missing",
        )
        for need in report.bodies
    ]
    say(out, "")
    columns = ("body model", "sequences", "of", "used")
    show(out, simple_table(f"body models below {bodies}", columns, rows, right=columns[1:2]))
    lacking = [need for need in report.bodies if not need.model]
    for family, group in groupby(lacking, key=lambda need: need.family):
        needs = list(group)
        count = counted(sum(need.sequences for need in needs), "sequence")
        names = listed(sorted({name for need in needs for name in need.datasets}), most=5)
        one = next((need.gender for need in needs if need.gender != "unknown"), "neutral")
        say(out, f"\n{count} of {names} cannot be used. {missing(family, one, root=bodies)}", style="red")
