"""`mocap-ray export amass`, `bvh` and `video`: motion as files that other programs play."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from mocap_ray.cli.stick_gen import app as export_app
from mocap_ray.wording import counted

if TYPE_CHECKING:
    from mocap_ray.dataset.export_motion import Fitting, MotionExport

app = export_app
"""The group `export`, with the commands of this file."""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A data set; or a .npy or .npz file of features or joints, or a folder of such files.",
    ),
]
Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to write.")]
Fps = Annotated[
    float | None, typer.Option(min=1, metavar="RATE", help="Frames per second of files; default: 20.")
]
PriorPath = Annotated[
    str | None,
    typer.Option(
        metavar="PRIOR",
        help="A trained pose prior, which chooses what joints leave open: twists of limbs, and the head.",
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where poses are fitted: cpu or cuda.")]


@app.command(
    "amass",
    short_help="Write poses as AMASS files, fitted where there are only joints.",
    epilog="\b\nExamples:\n"
    "  mocap-ray export amass data/amass_263 data/back --body data/body_models\n"
    "  mocap-ray export amass samples/ data/back --body data/body_models --fps 20 --prior runs/joint_flow\n\n"
    "SOURCE may be features [frames, 263] or joints [frames, 22, 3] of HumanML3D, MDM (its results.npy too) or any "
    "other program. Poses that a data set has are written as they are.",
)
def export_amass(
    source: Source,
    out: Folder,
    body: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of body models.")],
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="smpl, smplh or smplx; default: each clip's own, or smplh."),
    ] = None,
    gender: Annotated[
        str, typer.Option(metavar="NAME", help="Of the body, where a motion has none.")
    ] = "neutral",
    shape: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="Where a motion has no shape: mean, the mean body; or bones, a body with bones of the same length.",
        ),
    ] = "mean",
    fps: Fps = None,
    prior: PriorPath = None,
    device: Device = "cpu",
) -> None:
    """Write poses of SMPL, SMPL+H or SMPL-X as AMASS files."""
    from mocap_ray.body.files import GENDERS
    from mocap_ray.dataset.export_motion import export_amass as write
    from mocap_ray.errors import UserError

    if shape not in ("mean", "bones"):
        raise UserError(f"--shape {shape}: expected mean or bones.")
    if gender not in GENDERS:
        raise UserError(f"--gender {gender}: expected one of {', '.join(GENDERS)}.")
    with _exporting() as update:
        done = write(
            source,
            out,
            body=body,
            family=family,
            gender=gender,
            shape="mean" if shape == "mean" else "bones",
            fps=fps,
            fitting=_fitting(prior, device),
            progress=update,
        )
    _report(done)


@app.command(
    "bvh",
    short_help="Write BVH files, for Blender and other animation programs.",
    epilog="\b\nExamples:\n"
    "  mocap-ray export bvh data/amass_263 data/bvh_out\n"
    "  mocap-ray export bvh samples/walk.npy data/bvh_out --fps 20\n\n"
    "Metres, Y up, a T pose that faces Z at rest, rotations in the order ZXY: what Blender's importer expects without "
    "changes. Each person keeps its own bones, and no body model is needed.",
)
def export_bvh(
    source: Source, out: Folder, fps: Fps = None, prior: PriorPath = None, device: Device = "cpu"
) -> None:
    """Write one .bvh per motion, with the 22 body joints under SMPL's names."""
    from mocap_ray.dataset.export_motion import export_bvh as write

    with _exporting() as update:
        done = write(source, out, fps=fps, fitting=_fitting(prior, device), progress=update)
    _report(done)


@app.command(
    "video",
    short_help="Write stick figures as MP4 or GIF.",
    epilog="\b\nExample:\n  mocap-ray export video data/amass_263 data/videos --format gif --limit 3",
)
def export_video(
    source: Source,
    out: Folder,
    kind: Annotated[str, typer.Option("--format", metavar="KIND", help="mp4 or gif.")] = "mp4",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N motions.")] = None,
    fps: Fps = None,
) -> None:
    """Write one .mp4 or .gif per motion."""
    from mocap_ray.dataset.export_motion import export_video as write

    with _exporting() as update:
        done = write(source, out, kind=kind, fps=fps, limit=limit, progress=update)
    _report(done)


def _exporting() -> AbstractContextManager[Callable[[int, int], None]]:
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console

    return counting_bar(console(), "exporting")


def _fitting(prior: str | None, device: str) -> Fitting:
    """The prior of a path, on a device. Raises UserError if there is none."""
    import torch

    from mocap_ray.dataset.export_motion import Fitting
    from mocap_ray.errors import UserError

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}: torch {torch.__version__} finds no GPU. Leave the option out.")
    if prior is None:
        return Fitting(device=device)
    from mocap_ray.priors.load import load_prior
    from mocap_ray.priors.regulariser import PriorRegulariser

    loaded = load_prior(prior, device=device)
    return Fitting(prior=PriorRegulariser(loaded), prior_name=prior, device=device)


def _report(done: MotionExport) -> None:
    from mocap_ray.cli.screen import console, say

    screen = console()
    say(screen, f"{done.folder}: {counted(done.written, 'file')} written, {done.kept:,} kept")
    if done.stored:
        say(screen, f"{counted(done.stored, 'motion')} with the poses of the data set")
    if done.fitted:
        name, worst = done.worst
        mean = f"joints within {done.error_mm:.1f} mm on average"
        say(screen, f"{counted(done.fitted, 'motion')} with fitted poses: {mean}, {worst:.1f} mm in {name}")
