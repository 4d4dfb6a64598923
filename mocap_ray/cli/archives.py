"""`mocap-ray archive ...`: get AMASS, unpack it, and check what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mocap_ray.cli.options import local_file

app = typer.Typer(help="Get AMASS, unpack it, and check what is there.", no_args_is_help=True)

Addresses = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Other addresses: a copy of the package's fetching/addresses.yaml."),
]
Manual = Annotated[
    bool,
    typer.Option("--manual", help="Print the pages to open and what to choose, then wait for the files."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="SECONDS", help="With --manual: how long to wait; 0 only prints. Default: for ever."
    ),
]
LOGIN = (
    "User and password come from the environment ({user}, {password}) or are asked for on the terminal. They are sent "
    "to the site alone, and never written or printed. You accept the licence on the site yourself; no command does it "
    "for you."
)


@app.command(
    "list",
    short_help="List AMASS's sub-datasets and the presets.",
    epilog="\b\nExample:\n  mocap-ray archive list",
)
def archive_list(addresses: Addresses = None) -> None:
    """List AMASS's sub-datasets with their formats, usual numbers of sequences and sizes, and the presets."""
    from mocap_ray.cli.archive_tables import print_catalogue
    from mocap_ray.cli.screen import console
    from mocap_ray.fetching.catalogue import load_catalogue

    print_catalogue(console(), load_catalogue(addresses))


@app.command(
    "fetch",
    short_help="Download sub-datasets of AMASS with your own account.",
    epilog="\b\nExamples:\n  mocap-ray archive fetch recommended\n"
    "  mocap-ray archive fetch CMU KIT --release smplx-g --out downloads\n"
    "  mocap-ray archive fetch subset --manual\n\n"
    + LOGIN.format(user="MOCAP_RAY_AMASS_USER", password="MOCAP_RAY_AMASS_PASSWORD")
    + "\n\nRun the same command again after a lost connection or Ctrl-C: it resumes. A file has its final name only "
    "when it is complete and was read through.",
)
def archive_fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Sub-datasets, or a preset: recommended, subset, all."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to keep the packed files.")] = Path(
        "data/packed"
    ),
    release: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="smplh-g (SMPL+H G), smplx-g or smplx-n; default: SMPL+H G, or SMPL-X G where there is no SMPL+H.",
        ),
    ] = None,
    manual: Manual = False,
    timeout: Timeout = None,
    addresses: Addresses = None,
) -> None:
    """Download packed sub-datasets of AMASS with your own account; it resumes."""
    from mocap_ray.cli.fetch_view import fetch, fetch_by_hand
    from mocap_ray.cli.screen import console, say, typed
    from mocap_ray.fetching.catalogue import load_catalogue

    folder, catalogue = local_file(out), load_catalogue(addresses)
    files = [catalogue.archive_file(name, release=release) for name in catalogue.choose(names)]
    paths = (
        fetch_by_hand(files, catalogue, folder, timeout_s=timeout)
        if manual
        else fetch(files, catalogue, folder)
    )
    if paths:
        say(console(), f"Next: {typed('mocap-ray', 'archive', 'unpack', str(folder), '--out', 'data/amass')}")


@app.command(
    "unpack",
    short_help="Unpack .tar.bz2, .tar.xz and .zip archives.",
    epilog="\b\nExamples:\n  mocap-ray archive unpack data/packed --out data/amass\n"
    "  mocap-ray archive unpack CMU.tar.bz2 KIT.tar.bz2 --out data/amass\n\n"
    "Each archive is read through before anything of it is written. One that is damaged, has a member that leaves the "
    "folder or a link, or would fill the disk is refused, and the others are unpacked. Run the same command again "
    "after a stop: finished archives are not unpacked twice.\n\nExit code 0 if all archives are unpacked, else 1.",
)
def archive_unpack(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE_OR_FOLDER...", help="Packed archives, or folders of them; default: data/packed."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to unpack to.")] = Path("data/amass"),
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Archives at the same time; default: one per CPU.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of another size that are in the way.")
    ] = False,
) -> None:
    """Unpack packed archives side by side, as `mocap-ray extract amass` reads them."""
    import os

    from mocap_ray.cli.fetch_view import unpack
    from mocap_ray.cli.screen import console, say, typed
    from mocap_ray.fetching.unpack import archives_in

    archives = archives_in([local_file(path) for path in sources or [Path("data/packed")]])
    good = unpack(archives, local_file(out), workers=workers or os.cpu_count() or 1, overwrite=overwrite)
    if good:
        say(console(), f"Next: {typed('mocap-ray', 'archive', 'check', str(out))}")
    raise typer.Exit(0 if good else 1)


@app.command(
    "check",
    short_help="Check an AMASS folder: sequences, formats, body models, damage.",
    epilog="\b\nExamples:\n  mocap-ray archive check /data/amass --body /data/body_models\n"
    "  mocap-ray archive check /data/amass --json > amass.json\n\n"
    "Exit code 0 if no file is damaged, every known sub-dataset that is there has about its usual number of "
    "sequences, and every sequence has a body model; else 1.",
)
def archive_check(
    root: Annotated[
        str,
        typer.Argument(metavar="ROOT", help="The folder of the sub-datasets: a path, or s3://..., gs://..."),
    ] = "data/amass",
    body: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the body models.")] = Path(
        "data/body_models"
    ),
    full: Annotated[
        bool, typer.Option("--full", help="Read every byte and compare checksums, not only the headers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    addresses: Addresses = None,
) -> None:
    """Show for each sub-dataset what is there, what is usual, which body models it needs, and what is damaged."""
    import json
    from dataclasses import asdict

    from mocap_ray.cli.archive_tables import print_report
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console
    from mocap_ray.fetching.catalogue import load_catalogue
    from mocap_ray.fetching.check import check_archive
    from mocap_ray.storage import place

    where = place(root)
    with counting_bar(console(stderr=True), "checking") as update:
        report = check_archive(where, load_catalogue(addresses), bodies=body, full=full, progress=update)
    if as_json:
        tree = {"root": where.uri, "fine": report.fine, **asdict(report)}
        print(json.dumps(tree, indent=2, ensure_ascii=False))
    else:
        print_report(console(), where.uri, body, report)
    raise typer.Exit(0 if report.fine else 1)
