"""`mocap-ray body ...`: body models for a person at a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mocap_ray.cli.options import local_file

app = typer.Typer(help="Body models: what is there, what is missing, and a stand-in.", no_args_is_help=True)


@app.command(
    "check",
    short_help="Show which model files are there, and where to get others.",
    epilog="\b\nExamples:\n  mocap-ray body check data/body_models\n"
    "  mocap-ray body check data/body_models --family smplh --gender male --gender female\n\n"
    "Exit code 0 if what was asked for is usable, else 1. Without --family and --gender: if something is "
    "there and nothing of it is broken.",
)
def body_check(
    root: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the model files are, in any layout in use.")
    ] = Path("data/body_models"),
    family: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="smpl, smplh or smplx; may be repeated.")
    ] = None,
    gender: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="neutral, male or female; may be repeated.")
    ] = None,
) -> None:
    """Show each expected model file, whether it is usable, and where to get what is missing."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from mocap_ray.body.check import check_bodies, usable
    from mocap_ray.body.files import missing
    from mocap_ray.cli.screen import console
    from mocap_ray.cli.tables import print_models

    if root.exists():
        reports = check_bodies(root, families=family, genders=gender)
    else:
        with TemporaryDirectory() as nothing:
            found = check_bodies(nothing, families=family, genders=gender)
        reports = [replace(r, error=missing(r.family, r.gender, root=root)) for r in found]
    print_models(console(), root, reports)
    if gender:
        good = all(r.usable for r in reports)
    elif family:
        good = usable(reports)
    else:
        good = any(r.usable for r in reports) and all(r.usable for r in reports if r.path)
    raise typer.Exit(0 if good else 1)


@app.command(
    "convert",
    short_help="Turn an original model file into a clean NPZ.",
    epilog="\b\nExample:\n  mocap-ray body convert SMPL_MALE.pkl data/body_models/smpl/SMPL_MALE.npz",
)
def body_convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An original .pkl (chumpy, Python 2) or .npz model.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The clean .npz to write, or a folder for it.")],
) -> None:
    """Turn an original model file into a clean NPZ of plain arrays; runs no code of the file."""
    from mocap_ray.body.convert import convert
    from mocap_ray.cli.screen import console, say

    say(console(), f"{convert(source, local_file(out))}: written")


@app.command(
    "standin",
    short_help="Write licence-free stand-in models.",
    epilog="\b\nExample:\n  mocap-ray body standin data/standin",
)
def body_standin(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")],
) -> None:
    """Write licence-free stand-in models of all three families, for trials and tests."""
    from mocap_ray.cli.screen import console, say
    from mocap_ray.demo.standin import write_standin

    for path in write_standin(local_file(root)):
        say(console(), str(path))
