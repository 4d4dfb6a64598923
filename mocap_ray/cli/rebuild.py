"""`mocap-ray rebuild`: published data sets made again from the archives that they come from."""

from __future__ import annotations

from typing import Annotated

import typer

from mocap_ray.cli.options import More, Overrides, assignments

app = typer.Typer(help="Make a published data set again from its archives.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass  # so that the command keeps its name, although it is the only one of the group


@app.command(
    short_help="Rebuild HumanML3D from AMASS.",
    epilog="\b\nExamples:\n"
    "  mocap-ray rebuild humanml3d --amass /data/amass --body /data/body_models \\\n"
    "      --index HumanML3D/index.csv --texts HumanML3D/HumanML3D/texts.zip --out data/hml\n"
    "  mocap-ray rebuild humanml3d --amass /data/amass --index index.csv --out data/hml \\\n"
    "      --humanact12 pose_data/humanact12 --override ray.workers=8\n\n"
    "DIR/HumanML3D is the folder that trainers read: new_joint_vecs, new_joints, texts, Mean.npy, Std.npy and the "
    "lists of splits. DIR/dataset is the same as a Parquet data set, DIR/missing.csv lists the rows of the index "
    "without a clip or with a shorter one, DIR/summary.json has the counts.\n\n"
    "Rows whose recording is missing are listed, and the rest is built. Run the same command again after a crash, or "
    "when more of AMASS is there: finished shards are kept. docs/how-to/rebuild-humanml3d.md explains the recipe.",
)
def humanml3d(
    amass: Annotated[
        str,
        typer.Option(metavar="ROOT", help="Folder of the AMASS sub-datasets; SMPL+H G files are preferred."),
    ],
    index: Annotated[str, typer.Option(metavar="FILE", help="index.csv of HumanML3D's repository.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder to write.")],
    more: More = None,
    texts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="texts.zip of HumanML3D's repository, or its files in a folder."),
    ] = None,
    body: Annotated[
        str, typer.Option(metavar="FOLDER", help="Folder of body models: SMPL+H, male and female.")
    ] = "data/body_models",
    humanact12: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="HumanAct12's joints (.npy), for the rows that name them."),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of HumanML3D's train.txt, val.txt and test.txt; default: beside the index, if they are there.",
        ),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="CSV file with the columns recording, fps, frames: what the SMPL+H release says about takes that have "
            "another frame rate here.",
        ),
    ] = None,
    override: Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set made by another recipe.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop recordings that the archive no longer lists.")
    ] = False,
) -> None:
    """Rebuild HumanML3D from AMASS: cuts, mirrored twins, captions, features, joints, Mean, Std, lists of splits."""
    from mocap_ray import config as configs
    from mocap_ray.cli.data import run_extraction
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say
    from mocap_ray.dataset.build import read_index
    from mocap_ray.dataset.rebuild import DATA_SET, SETTINGS, find_lists, read_lists, rebuild
    from mocap_ray.runs.extract import ExtractConfig

    given = {"texts": texts, "humanact12": humanact12, "rates": rates}
    settings = configs.load(
        "humanml3d",
        ExtractConfig,
        kind="extract",
        overrides=[
            f"source.root={amass}",
            f"source.segments={index}",
            *(f"source.{key}={value}" for key, value in given.items() if value is not None),
            f"body.root={body}",
            f"output.root={out.rstrip('/')}/{DATA_SET}",
            *SETTINGS,
            *assignments(None, override, more),
        ],
    )
    rows = read_index(settings.source)
    lists = splits or find_lists(index)
    if lists is not None:
        read_lists(lists)  # before any work, if one is missing
    run_extraction(settings, overwrite=overwrite, prune=prune, index=rows)
    screen = console()
    with counting_bar(screen, "writing HumanML3D's files") as update:
        done = rebuild(rows, out, lists=lists, progress=update)
    screen.print()
    for sentence in done.sentences():
        say(screen, sentence)
    where = f"{done.folder}/missing.csv lists them; " if done.gaps else ""
    say(screen, f"{where}{done.export.folder} is the folder for trainers.", style="bold")
