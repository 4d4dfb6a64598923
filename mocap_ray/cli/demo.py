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
    """Make a small archive and a stand-in body, extract them on a local Ray, train a small prior, write two pages."""
    from mocap_ray.cli.screen import console, say
    from mocap_ray.demo.archive import write_demo
    from mocap_ray.demo.standin import write_standin
    from mocap_ray.pages.dataset import write_page
    from mocap_ray.runs.extract import ExtractConfig

    screen = console()
    archive, bodies, out = folder / "archive", folder / "body_models", folder / "dataset"
    say(
        screen,
        f"1 of 4: a small archive in {archive} and a licence-free stand-in body in {bodies}",
        style="bold",
    )
    _write_once(archive, write_demo)
    _write_once(bodies, write_standin)
    say(screen, f"\n2 of 4: the data set {out}", style="bold")
    settings = ExtractConfig.model_validate(
        {
            "source": {"root": str(archive)},
            "body": {"root": str(bodies)},
            "output": {"root": str(out), "shard_mb": 4},
        }
    )
    run_extraction(settings, overwrite=overwrite)
    say(screen, f"\n3 of 4: the page {folder / 'page.html'}", style="bold")
    page = write_page(str(out), folder / "page.html")
    say(screen, f"\n4 of 4: a small prior, trained on the data set, in {folder / 'prior'}", style="bold")
    samples = _demo_prior(out, folder / "prior", folder / "samples.html")
    say(screen, f"\nThe pages with pictures: {page} and {samples}", style="bold")


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


def _write_once(folder: Path, write: Callable[[Path], Any]) -> None:
    """Write a folder unless it exists; a partial one of a stopped run is written again."""
    if not folder.is_dir():
        unfinished = folder.with_name(f".{folder.name}")
        write(unfinished)
        unfinished.rename(folder)
