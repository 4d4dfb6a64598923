"""`mocap-ray dataset stats`, `validate` and `upgrade`: commands that read a finished data set again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mocap_ray.cli.options import local_file

if TYPE_CHECKING:
    from mocap_ray.dataset.passes import Pass
    from mocap_ray.dataset.reader import DataSet
    from mocap_ray.dataset.stats import FeatureStatistics
    from mocap_ray.dataset.validation import Validation

app = typer.Typer()
"""Commands that `cli/dataset.py` adds to its group."""

SMALL_BYTES = 1_500_000_000
"""A data set up to this size is read in this process: it takes less time than to start Ray and its workers."""
SHOWN = 3
"""Clips of a problem that the table names."""

Root = Annotated[
    str, typer.Argument(metavar="ROOT", help="A finished data set: a path, or s3://..., gs://...")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Processes that read at the same time, on Ray; default: none below 1.5 GB, else one per CPU.",
    ),
]
Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Read on this Ray cluster: auto, HOST:PORT or ray://...")
]


@app.command(
    short_help="Mean and standard deviation of the features.",
    epilog="\b\nExamples:\n  mocap-ray dataset stats data/amass_263\n"
    "  mocap-ray dataset stats data/both --weight domain\n\n"
    "Writes ROOT/statistics_by_frame.npz or ROOT/statistics_by_domain.npz in float64: mean and std by the rule of the "
    "profile, the same by the other rule, and those of each domain. By domain, each domain counts alike, however many "
    "frames it has. statistics.npz, which an extraction writes and readers use, stays as it is.",
)
def stats(
    root: Root,
    weight: Annotated[
        Literal["frames", "domain"], typer.Option(metavar="WHAT", help="What counts alike: frames or domain.")
    ] = "frames",
    split: Annotated[str, typer.Option(metavar="NAME", help="The split.")] = "train",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write another .npz instead of the one in the data set."),
    ] = None,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Read the features of a split, and print and write their mean and standard deviation by both rules."""
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say
    from mocap_ray.dataset.reader import open as open_data_set
    from mocap_ray.dataset.stats import FILES, encoded, statistics
    from mocap_ray.storage import place

    screen, ds = console(), open_data_set(root)
    if split != "train" and out is None:
        raise typer.BadParameter("--split other than train needs --out FILE: the files in ROOT are of train.")
    with _reading(ds, workers, address) as run, counting_bar(screen, "reading") as update:
        found = statistics(ds, split=split, weight=weight, run=run, progress=update)
    _print_statistics(found)
    data = encoded(found, ds)
    if out is None:
        ds.place.write_atomic(data, FILES[weight])
        say(screen, f"written to {ds.place.uri}/{FILES[weight]}")
    else:
        file = local_file(out)
        place(file.parent).write_atomic(data, file.name)
        say(screen, f"written to {file}")


@app.command(
    short_help="Check every file and row of a data set.",
    epilog="\b\nExamples:\n  mocap-ray dataset validate data/amass_263\n"
    "  mocap-ray dataset validate s3://bucket/amass_263 --json report.json --address auto\n\n"
    "Checks files against the manifest (sha256, rows, columns, recipe), numbers (finite, contacts 0 or 1, lengths, "
    "features that decode to the stored joints), names (ids unique, no recording in two sources), splits (subjects in "
    "several ones), and finds takes that are there twice under two names.\n\n"
    "Exit code 1 if there are errors; warnings alone give 0.",
)
def validate(
    root: Root,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result with all clip ids.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
) -> None:
    """Read every shard of a data set again, and check it against its manifest and its recipe."""
    import json

    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console
    from mocap_ray.dataset.reader import open as open_data_set
    from mocap_ray.dataset.validation import validate as check
    from mocap_ray.storage import place

    ds = open_data_set(root)
    with _reading(ds, workers, address) as run, counting_bar(console(), "checking") as update:
        found = check(ds, run=run, progress=update)
    if json_file is not None:
        file = local_file(json_file)
        place(file.parent).write_atomic(json.dumps(found.values(), indent=1).encode(), file.name)
    _print_validation(found)
    raise typer.Exit(1 if found.errors else 0)


@app.command(
    short_help="Bring a data set of an earlier version up to date.",
    epilog="\b\nExample:\n  mocap-ray dataset upgrade data/amass_263\n\n"
    "Data sets of earlier versions had a single source. They can be read as they are; to add a source, or to extract "
    "more of the same archive, upgrade them first. The archive is not read: each file gets the columns domain and name "
    "and has then the same bytes as one that is extracted now.",
)
def upgrade(
    root: Root,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of its source (source.name); default: that of its archive."),
    ] = None,
) -> None:
    """Rewrite the files of a data set of an earlier version, which then may have several sources."""
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say
    from mocap_ray.dataset.upgrade import upgrade as bring
    from mocap_ray.storage import place
    from mocap_ray.wording import counted

    with counting_bar(console(), "upgrading") as update:
        written = bring(place(root), name=name, progress=update)
    what = "up to date already" if written is None else f"{counted(written, 'shard')} brought up to date"
    say(console(), f"{root}: {what}")


@contextmanager
def _reading(ds: DataSet, workers: int | None, address: str | None) -> Iterator[Pass]:
    """Where shards are read: in this process if there are few, else on Ray."""
    from mocap_ray.dataset.passes import in_process

    size = sum(int(shard["bytes"]) for shard in ds.manifest["shards"])
    if address is None and (workers == 1 or (workers is None and size <= SMALL_BYTES)):
        yield in_process
        return
    from mocap_ray.cli.screen import print_error
    from mocap_ray.distributed.passes import ray_pass
    from mocap_ray.runs.ray import RayOptions
    from mocap_ray.shards.running import RunFailed

    try:
        with ray_pass(RayOptions(address=address, workers=workers or "auto")) as run:
            yield run
    except RunFailed as error:
        print_error(str(error))
        raise typer.Exit(1) from error


def _print_statistics(found: FeatureStatistics) -> None:
    """Rows of each domain, and mean and std of each group of features by both rules."""
    import numpy as np

    from mocap_ray.cli.screen import console
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.motion.features import GROUPS
    from mocap_ray.wording import percent

    out = console()
    filled = [m for m in found.domains.values() if m.count]
    rows = []
    for name, moments in found.domains.items():
        share = moments.count / max(1, found.moments.count)
        share = share if found.weight == "frames" else bool(moments.count) / max(1, len(filled))
        rows.append((name, f"{moments.count:,}", percent(share)))
    columns = ("domain", "frames", "weight")
    show(
        out,
        simple_table(f"split {found.split}, weighted by {found.weight}", columns, rows, right=columns[1:]),
    )
    out.print()
    (mean, own), (_, other) = found.rule("humanml3d"), found.rule("flowmimic")
    groups = []
    for group in GROUPS:
        at = group.columns
        spread = f"{np.min(other[at]):.4g} to {np.max(other[at]):.4g}"
        groups.append(
            (group.name, f"{group.start}:{group.stop}", f"{mean[at].mean():.4g}", f"{own[at][0]:.4g}", spread)
        )
    names = ("features", "columns", "mean", "std, humanml3d", "std, flowmimic")
    show(out, simple_table("mean of each group, and std by both rules", names, groups, right=names[2:]))


def _print_validation(found: Validation) -> None:
    """A table of the problems, and a sentence."""
    from mocap_ray.cli.screen import console, say
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.wording import byte_size, counted

    out = console()
    if found.problems:
        rows = []
        for p in found.problems:
            more = f" and {len(p.clips) - SHOWN:,} more" if len(p.clips) > SHOWN else ""
            rows.append((p.level, p.check, p.where, p.detail, ", ".join(p.clips[:SHOWN]) + more))
        show(out, simple_table("problems", ("level", "check", "where", "what", "clips"), rows))
        out.print()
    read = (
        f"{counted(found.clips, 'clip')} in {counted(found.shards, 'shard')} ({byte_size(found.bytes)}) read"
    )
    if not found.problems:
        say(out, f"{found.root}: {read}; no problems")
        return
    say(out, f"{found.root}: {read}; {counted(found.errors, 'error')}, {counted(found.warnings, 'warning')}")
    if found.errors:
        say(
            out,
            "Damaged files are made again: delete them and manifest.json, and run the extract command of their source. "
            "Take bad recordings out with `mocap-ray dataset exclude`.",
        )
