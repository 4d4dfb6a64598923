"""`mocap-ray estimator ...`: networks that estimate SMPL-X from images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mocap_ray.cli.options import local_file

app = typer.Typer(help="Get networks that estimate SMPL-X from images.", no_args_is_help=True)


class Dtype(StrEnum):
    """Of the numbers in a file of weights."""

    FP32 = "fp32"
    BF16 = "bf16"


@app.command(
    "import",
    short_help="Convert a published checkpoint of SMPLest-X to safetensors.",
    epilog="\b\nExamples:\n  mocap-ray estimator import smplest_x_h.pth.tar\n"
    "  mocap-ray estimator import smplest_x_h.pth.tar --dtype bf16 --out weights/h.safetensors\n\n"
    "The file is read once, tensor by tensor, and none of its code is run. docs/estimation.md says where to get it. "
    "Its licence allows non-commercial use only.",
)
def estimator_import(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="The checkpoint, such as smplest_x_h.pth.tar.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What to write; default: data/estimators/NAME.safetensors."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="SIZE", help="s, b, l or h; the published one is h.")] = "h",
    dtype: Annotated[
        Dtype, typer.Option(metavar="DTYPE", help="fp32 or bf16, which takes half of the space.")
    ] = Dtype.FP32,
) -> None:
    """Write the weights of a checkpoint without its optimiser, after a check of all names and shapes."""
    import torch

    from mocap_ray.cli.screen import console, say
    from mocap_ray.estimation.geometry import find_size
    from mocap_ray.estimation.official import LICENCE, import_checkpoint
    from mocap_ray.wording import byte_size, counted

    geometry = find_size(size)
    name = source.name.removesuffix(".tar").removesuffix(".pth").removesuffix(".pt")
    target = local_file(out or Path("data/estimators") / f"{name}.safetensors")
    kind = torch.bfloat16 if dtype is Dtype.BF16 else torch.float32
    done = import_checkpoint(local_file(source), target, geometry=geometry, dtype=kind)
    tensors, epoch = done.checkpoint.tensors, done.checkpoint.epoch
    after = "" if epoch is None else f", after epoch {epoch}"
    say(
        console(),
        f"{source}: {counted(len(tensors), 'tensor')} of size {size.lower()}, names and shapes correct{after}",
    )
    say(
        console(),
        f"left out: the optimiser ({byte_size(done.checkpoint.optimiser)}), and "
        f"{counted(len(done.untrained), 'tensor')} that no training ever changed",
    )
    say(
        console(),
        f"{target}: written, {counted(done.written, 'tensor')}, {byte_size(done.size)} in {dtype.value}",
    )
    say(console(), f"Licence of these weights: {LICENCE}")
