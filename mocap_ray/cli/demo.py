"""`mocap-ray demo`: the whole pipeline once, on a small synthetic archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mocap_ray.cli import priors
from mocap_ray.cli.data import run_extraction

app = typer.Typer()
"""A command without a group name; `main.py` adds it at the top level."""


@app.command(
    short_help="Make a small data set and a page from synthetic motion.",
    epilog="\b\nExample:\n  mocap-ray demo /tmp/demo",
)
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.")] = Path("demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set of an earlier version.")
    ] = False,
) -> None:
    """Make a small archive and a stand-in body, extract them on a local Ray, train small models, write three pages."""
    from mocap_ray.cli.screen import console, say
    from mocap_ray.demo.archive import write_demo
    from mocap_ray.demo.standin import write_standin
    from mocap_ray.pages.dataset import write_page
    from mocap_ray.runs.extract import ExtractConfig

    screen = console()
    archive, bodies, out = folder / "archive", folder / "body_models", folder / "dataset"
    say(
        screen,
        f"1 of 5: a small archive in {archive} and a licence-free stand-in body in {bodies}",
        style="bold",
    )
    _write_once(archive, write_demo)
    _write_once(bodies, write_standin)
    say(screen, f"\n2 of 5: the data set {out}", style="bold")
    settings = ExtractConfig.model_validate(
        {
            "source": {"root": str(archive)},
            "body": {"root": str(bodies)},
            "output": {"root": str(out), "shard_mb": 4},
        }
    )
    run_extraction(settings, overwrite=overwrite)
    say(screen, f"\n3 of 5: the page {folder / 'page.html'}", style="bold")
    page = write_page(str(out), folder / "page.html")
    say(screen, f"\n4 of 5: a small prior, trained on the data set, in {folder / 'prior'}", style="bold")
    samples = _demo_prior(out, folder / "prior", folder / "samples.html")
    say(
        screen, f"\n5 of 5: a small motion VAE and flow in {folder / 'motion_flow'}, and a walk", style="bold"
    )
    walk = _demo_walk(out, folder)
    say(screen, f"\nThe pages with pictures: {page}, {samples} and {walk}", style="bold")


def _demo_prior(data: Path, root: Path, page: Path) -> Path:
    """Train a pose prior for a few seconds, unless it exists already, and draw samples from it."""
    keys = [
        f"data.root={data}",
        "data.joints=body",
        "data.batch_size=64",
        "training.max_epochs=8",
        f"output.root={root}",
    ]
    if not (root / "summary.json").is_file():
        priors.run_training("joint_flow", keys, overwrite=root.is_dir())
    priors.draw(str(root), count=24, out=root / "samples.npz", pictures=page, seed=0)
    return page


def _demo_walk(data: Path, folder: Path) -> Path:
    """Train a motion VAE and a flow for half a minute each, unless they exist already, and generate walks."""
    from mocap_ray.dataset.reader import open
    from mocap_ray.generation.generator import Generator, Sampling
    from mocap_ray.generation.outputs import generate_motions
    from mocap_ray.generation.requests import Request
    from mocap_ray.pages.generated import Real, write_page

    vae, flow = folder / "motion_vae", folder / "motion_flow"
    common = [
        f"data.root={data}",
        "data.length=60",
        "data.batch_size=16",
        "model.heads=4",
        "model.feedforward=128",
    ]
    common += [
        "training.learning_rate=1e-3",
        "training.ema=0.99",
        "training.warmup_steps=50",
        "output.pictures=0",
    ]
    sizes = ["model.width=64", "model.encoder_blocks=2", "model.decoder_blocks=2", "model.latent=24"]
    sizes += ["model.kl_warmup_steps=200", "model.weights.joints=1", "training.max_epochs=120"]
    _train_here("motion_vae", vae, [*common, *sizes, "training.val_every=40"])
    sizes = [f"model.vae={vae}", "model.width=96", "model.blocks=3", "training.max_epochs=240"]
    # Fewer conditions: a data set of two minutes teaches these.
    sizes += [f"model.conditions.{name}=0" for name in ("style", "keypoints", "frames", "path")]
    _train_here("motion_flow", flow, [*common, *sizes, "training.val_every=80"])
    generator = Generator.load(Sampling(str(flow)))
    wanted = {f"seed {k}": Request(seed=k, action="walk", seconds=4.0) for k in range(4)}
    source = open(data)
    clip = next(c for c in source.clips(split="train", columns=["features"]) if c.action == "walk")
    real = Real(clip.clip_id, clip.fps, clip.features)
    return write_page(
        generate_motions(generator, wanted), folder / "walk.html", generator=generator, real=[real]
    )


def _train_here(name: str, root: Path, keys: list[str]) -> None:
    """Train a shipped config in this process, unless it is trained already: starting Ray would take half as long."""
    import torch

    from mocap_ray import config as configs
    from mocap_ray.cli.progress import progress_bar
    from mocap_ray.cli.screen import console
    from mocap_ray.cli.training_view import print_training
    from mocap_ray.runs.train import TrainConfig
    from mocap_ray.training.callbacks import Callback, EpochReport
    from mocap_ray.training.lockstep import train_locally

    if (root / "summary.json").is_file():
        return
    texts = [*keys, f"output.root={root}"]
    settings = configs.load(name, TrainConfig, kind="train", overrides=texts)
    with progress_bar(console(), f"training {name}") as update:

        class Shown(Callback):
            def on_epoch_saved(self, report: EpochReport, model: object) -> None:
                update(report.epoch / report.epochs, f"loss {report.train['loss']:.3f}")

        threads = torch.get_num_threads()
        torch.set_num_threads(
            1
        )  # so small a model gains nothing from more, which wait for each other on a busy machine
        try:
            summary = train_locally(settings.setup(), Shown(), overwrite=root.is_dir())
        finally:
            torch.set_num_threads(threads)
    print_training(console(), summary, str(root), settings.task().words)


def _write_once(folder: Path, write: Callable[[Path], Any]) -> None:
    """Write a folder unless it exists; a partial one of a stopped run is written again."""
    if not folder.is_dir():
        unfinished = folder.with_name(f".{folder.name}")
        write(unfinished)
        unfinished.rename(folder)
