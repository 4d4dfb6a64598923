"""`mocap-ray export stick-gen`: stick figures of five lines as one .pt file."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mocap_ray.cli.data import export_app

app = export_app
"""The group `export`, with the command of this file."""

EPILOG = (
    "\b\nExamples:\n"
    "  mocap-ray export stick-gen data/amass_263 sticks.pt --view side --preview sticks.svg\n"
    "  mocap-ray export stick-gen data/amass_263 train.pt --split train --rest drop --max-samples 10000\n\n"
    "FILE has a list of samples of 10 s at 25 fps; each is a dict with motion [250, 20], action, actions [250], "
    "description and source. torch.load(FILE, weights_only=True) reads it. A .csv file beside it says for each sample "
    "which clip it is, from which second on, and how many frames there are before the padding.\n\n"
    "Motion keeps its speed: longer clips give several samples, one after the other. Captions are the clip's own "
    "texts, or a sentence about its action; the same seed gives the same sentences and the same choice of samples. A "
    "data set of any archive and profile can be exported; the column stick is used as recorded, if it was written."
)


@app.command("stick-gen", short_help="Write stick figures as stick-gen's samples.", epilog=EPILOG)
def export_stick_gen(
    root: Annotated[str, typer.Argument(metavar="ROOT", help="A finished data set.")],
    out: Annotated[str, typer.Argument(metavar="FILE", help="The .pt file to write.")],
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this split; default: all of them.")
    ] = None,
    view: Annotated[
        Literal["recorded", "front", "side"],
        typer.Option(
            help="Where the viewer stands: as recorded, or so that each sample begins by facing the viewer (front) or "
            "the viewer's right (side)."
        ),
    ] = "recorded",
    rest: Annotated[
        Literal["pad", "drop"],
        typer.Option(
            help="The end of a clip that is shorter than 10 s: pad it with its last frame, or drop it."
        ),
    ] = "pad",
    least: Annotated[
        float,
        typer.Option(
            min=0.04, max=10.0, metavar="SECONDS", help="The shortest end of a clip that is padded."
        ),
    ] = 1.0,
    without_action: Annotated[
        Literal["idle", "drop"],
        typer.Option(help="Samples without an action that stick-gen has: number them as idle, or drop them."),
    ] = "idle",
    max_samples: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most N samples, drawn from all of them by the seed."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Another seed gives other captions and another choice of samples."
        ),
    ] = 0,
    preview: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw a few samples into this .svg file, to look at in a browser."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write stick figures of five lines in samples of 10 s, as stick-gen trains on, to one .pt file."""
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say
    from mocap_ray.dataset.stick_gen import export_stick_gen as write
    from mocap_ray.dataset.stick_plan import StickOptions

    options = StickOptions(
        split=split,
        view=view,
        rest=rest,
        least_seconds=least,
        without_action=without_action,
        max_samples=max_samples,
        seed=seed,
    )
    screen = console()
    with counting_bar(screen, "cutting samples") as update:
        done = write(root, out, options=options, preview=preview, overwrite=overwrite, progress=update)
    for sentence in done.sentences():
        say(screen, sentence)
    if preview is not None:
        say(screen, f"{preview}: open it in a browser")
