"""`mocap-ray body ...`: get, check, convert and write body models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mocap_ray.cli.archives import LOGIN, Addresses, Manual, Timeout
from mocap_ray.cli.options import local_file

app = typer.Typer(help="Get, check, convert and write body models.", no_args_is_help=True)


@app.command(
    "check",
    short_help="Show which model files exist, and where to get the others.",
    epilog="\b\nExamples:\n  mocap-ray body check data/body_models\n"
    "  mocap-ray body check data/body_models --family smplh --gender male --gender female\n\n"
    "Exit code 0 if the requested models are usable, else 1. Without --family and --gender: 0 if at least one "
    "model exists and none is broken.",
)
def body_check(
    root: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the model files, in any common layout.")
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
    from mocap_ray.cli.screen import console, say
    from mocap_ray.cli.tables import print_models

    if root.exists():
        reports = check_bodies(root, families=family, genders=gender)
    else:
        with TemporaryDirectory() as empty:
            absent = check_bodies(empty, families=family, genders=gender)
        say(console(), f"{root}: no such folder. This is what would be looked for in it:\n", style="red")
        reports = [replace(r, error=missing(r.family, r.gender, root=root)) for r in absent]
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
    short_help="Convert an original model file to a clean NPZ.",
    epilog="\b\nExample:\n  mocap-ray body convert SMPL_MALE.pkl data/body_models/smpl/SMPL_MALE.npz",
)
def body_convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An original .pkl (chumpy, Python 2) or .npz model.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The clean .npz to write, or a folder for it.")],
) -> None:
    """Convert an original model file to a clean NPZ of plain arrays, without running code of the file."""
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


@app.command(
    "fetch",
    short_help="Download body models with your own accounts.",
    epilog="\b\nExamples:\n  mocap-ray body fetch smplh\n"
    "  mocap-ray body fetch smplh smplx smpl --out data/body_models\n"
    "  mocap-ray body fetch smplx --manual\n\n"
    + LOGIN.format(user="MOCAP_RAY_MANO_USER", password="MOCAP_RAY_MANO_PASSWORD")
    + " Each family has a site of its own: MANO for smplh, SMPLX and SMPL in the names of the variables.",
)
def body_fetch(
    families: Annotated[list[str], typer.Argument(metavar="FAMILY...", help="smplh, smplx or smpl.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of the body models.")] = Path(
        "data/body_models"
    ),
    manual: Manual = False,
    timeout: Timeout = None,
    addresses: Addresses = None,
) -> None:
    """Download the packed body models into FOLDER/packed and put the models where they are looked for."""
    from mocap_ray.cli.fetch_view import fetch, fetch_by_hand, unpack
    from mocap_ray.cli.screen import console, say, typed
    from mocap_ray.fetching.catalogue import load_catalogue
    from mocap_ray.fetching.placing import BodyPlacing

    root, catalogue = local_file(out), load_catalogue(addresses)
    files = {family: catalogue.body_file(family) for family in dict.fromkeys(families)}
    folder = root / "packed"
    if manual:
        paths = fetch_by_hand(list(files.values()), catalogue, folder, timeout_s=timeout)
    else:
        paths = fetch(list(files.values()), catalogue, folder)
    if not paths:
        return
    bodies = {family: body for family, body in catalogue.bodies.items() if family in files}
    done = [
        unpack([folder / files[family].name], root, workers=1, placing=BodyPlacing(body))
        for family, body in bodies.items()
    ]
    if all(done):
        say(console(), f"Next: {typed('mocap-ray', 'body', 'check', str(root))}")
    raise typer.Exit(0 if all(done) else 1)
