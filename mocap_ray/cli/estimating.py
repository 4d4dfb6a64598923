"""`mocap-ray estimate`: from videos to motion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mocap_ray import config as configs
from mocap_ray.cli.options import Overrides
from mocap_ray.cli.stopping import stoppable
from mocap_ray.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from mocap_ray.distributed.estimate import Estimated
    from mocap_ray.runs.estimate import EstimateConfig

app = typer.Typer()


@app.command(
    short_help="Estimate the motion of the people in videos.",
    epilog="\b\nExamples:\n"
    "  mocap-ray estimate walk.mp4 --out out/walk --checkpoint data/estimators/smplest_x_h.safetensors\n"
    "  mocap-ray estimate videos/ --out out/all --checkpoint h.safetensors --boxes mot/ \\\n"
    "      --override ray.gpus_per_worker=1 people.dtype=bf16 camera.focal=1400\n\n"
    "FOLDER has images (the frames of one video) or videos. `mocap-ray estimator import` makes the checkpoint. "
    "Without --boxes, OpenCV's detector is used, which misses many people.\n\n"
    "The output gets three folders: people (each person in each frame, as the network sees them), tracks (an AMASS "
    "file for each person, at the rate of the video), and motion (a data set, as `mocap-ray extract` writes them). Run "
    "the same command again after a crash or a kill: finished chunks are kept. docs/estimation.md describes all files.",
)
def estimate(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO|FOLDER...", help="Paths, or s3://..., gs://...")
    ],
    out: Annotated[str, typer.Option(metavar="DIR", help="Where to write: a path, or s3://..., gs://...")],
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of the network (people.weights).")
    ] = None,
    boxes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Boxes of people, MOT or COCO; for several videos a folder with one for each.",
        ),
    ] = None,
    body: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder with SMPLX_NEUTRAL.npz (body.root).")
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="CONFIG", help="A YAML file, or the name of one in configs/estimate.")
    ] = "video",
    override: Overrides = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that were made with other settings.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Drop videos that are not named any more.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on the first chunk or track that cannot be used.")
    ] = False,
) -> None:
    """Estimate SMPL-X parameters of all people in videos or images, as tracks and as a data set of motion."""
    from mocap_ray.cli.screen import console
    from mocap_ray.runs.estimate import EstimateConfig

    given = {"people.weights": checkpoint, "people.boxes": boxes, "body.root": body, "output.root": out}
    texts = [f"{key}={value}" for key, value in given.items() if value is not None]
    texts.append(f"source.root={configs.flow(videos)}")
    settings = configs.load(config, EstimateConfig, kind="estimate", overrides=[*texts, *(override or [])])
    show(console(), settings, overwrite=overwrite, prune=prune, strict=strict)


def show(console: Console, settings: EstimateConfig, **options: bool) -> None:
    """Run and show the progress, the results, or why there are none."""
    from mocap_ray.cli.extraction_view import ExtractView
    from mocap_ray.cli.screen import print_error, say
    from mocap_ray.distributed.estimate import estimate as run
    from mocap_ray.shards.running import RunFailed

    try:
        with stoppable("Finished chunks are kept; run the same command again to resume."):
            done = run(
                settings, lambda: ExtractView(console), note=lambda text: say(console, text), **options
            )
    except RunFailed as error:
        print_error(str(error))
        raise typer.Exit(1) from error
    _print(console, settings, done)


def _print(console: Console, settings: EstimateConfig, done: Estimated) -> None:
    from mocap_ray.cli.extraction_view import counts_table
    from mocap_ray.cli.screen import say, typed
    from mocap_ray.cli.tables import show as show_table
    from mocap_ray.cli.tables import simple_table
    from mocap_ray.runs.estimate import MOTION, TRACKS

    manifest, out = done.people.manifest, settings.output.root.rstrip("/")
    columns = ("video", "chunks", "people", "frames", "broken", "rejected")
    rows = [_row(count, count["video"]) for count in manifest["counts"]]
    show_table(console, simple_table("people in frames", columns, rows, right=columns[1:-1]))
    if manifest["totals"]["rejected"]:
        say(console, f"Each rejection has its reason and a sentence in {done.people.out}/rejected.parquet.")
    longest = f", the longest {done.tracks.longest_s:.2f} s" if done.tracks.people else ""
    say(console, f"{out}/{TRACKS}: {counted(done.tracks.people, 'track')}{longest}")
    if done.motion is None:
        say(
            console,
            f"No data set of motion: every track is shorter than a clip, {settings.motion.min_frames} rows at "
            f"{settings.motion.fps:g} fps (motion.min_frames).",
            style="yellow",
        )
        return
    show_table(console, counts_table(console, done.motion.manifest))
    if done.motion.manifest["totals"]["rejected"]:
        say(console, f"Each rejection has its reason and a sentence in {done.motion.out}/rejected.parquet.")
    if settings.camera.focal is None:
        text = "The focal length is assumed, and distances from the camera with it. Set camera.focal if you know it."
        say(console, text, style="yellow")
    console.print()
    say(console, f"{out}/{MOTION} is complete. To look at it:", style="bold")
    say(console, f"  {typed('mocap-ray', 'view', f'{out}/{MOTION}')}")


def _row(count: dict[str, Any], name: str) -> tuple[str, ...]:
    rejected = ", ".join(f"{n} {reason}" for reason, n in count["rejected"].items()) or "0"
    figures = (f"{count[key]:,}" for key in ("chunks", "people", "frames", "broken"))
    return (name, *figures, rejected)
