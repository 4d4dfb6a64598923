"""`mocap-ray evaluate`, `sample` and `compare`: trained priors for a person at a terminal (floor 7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    # torch takes seconds to import, which `--help` need not wait for.
    from mocap_ray.training.evaluate import Report

Data = Annotated[
    str | None, typer.Option(help="The data set; default: the one that the prior was trained on.")
]
Split = Annotated[
    str | None,
    typer.Option(help="Split to judge on; default: test where there is one, else the validation split."),
]
Sub = Annotated[str | None, typer.Option(help="Only this sub-dataset.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")]
Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the draws: seconds, and rougher figures.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


app = typer.Typer()
"""Commands without a name of their own, which `cli.py` adds to its own ones."""


@app.command(epilog="Example: [bold]mocap-ray evaluate runs/joint_flow --out joint_flow.html[/]")
def evaluate(
    prior: Annotated[str, typer.Argument(help="Folder of a training, a checkpoint or an export.")],
    data: Data = None,
    split: Split = None,
    dataset: Sub = None,
    out: Annotated[
        Path | None, typer.Option(help="The page; default: evaluation.html in the prior's folder.")
    ] = None,
    seed: Seed = 0,
    quick: Quick = False,
    device: Device = "cpu",
) -> None:
    """Judge a prior on poses it has not seen: a table, a page to look at, and the figures as JSON."""
    target = out if out is not None else _beside(prior, "evaluation.html")
    _report([prior], target, data=data, split=split, dataset=dataset, seed=seed, quick=quick, device=device)


@app.command(
    epilog="Example: [bold]mocap-ray compare runs/gaussian_prior runs/joint_flow runs/global_flow[/]"
)
def compare(
    priors: Annotated[list[str], typer.Argument(help="Folders of trainings, checkpoints or exports.")],
    data: Data = None,
    split: Split = None,
    dataset: Sub = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("comparison.html"),
    seed: Seed = 0,
    quick: Quick = False,
    device: Device = "cpu",
) -> None:
    """Judge several priors on the same poses, and put them into one table and one page."""
    _report(priors, out, data=data, split=split, dataset=dataset, seed=seed, quick=quick, device=device)


@app.command(epilog="Example: [bold]mocap-ray sample runs/joint_flow --count 1000 --out poses.npz[/]")
def sample(
    prior: Annotated[str, typer.Argument(help="Folder of a training, a checkpoint or an export.")],
    count: Annotated[int, typer.Option(min=1, help="How many poses.")] = 64,
    out: Annotated[Path, typer.Option(help="The .npz to write: poses [count, 55, 3], rad.")] = Path(
        "samples.npz"
    ),
    pictures: Annotated[
        Path | None, typer.Option(help="Also draw up to 60 of them into this HTML file.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw poses from a prior, as axis-angle of the 55 SMPL-X joints."""
    import numpy as np
    import torch

    from mocap_ray.storage import place
    from mocap_ray.training.load import load_prior
    from mocap_ray.training.page import gallery

    if out.suffix != ".npz":
        raise ValueError(f"{out}: expected a name that ends in .npz.")
    model = load_prior(prior)
    poses = model.sample(count, torch.Generator().manual_seed(seed)).numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, poses=poses, seed=seed, prior=np.array(prior))
    console = Console()
    console.print(f"{out}: {count:,} poses, {poses.shape[1]} joints, axis-angle in rad", soft_wrap=True)
    if pictures is not None:
        html = gallery(
            poses[:60], joints=model.coordinates.active_joints, title=f"Samples of {prior}, seed {seed}"
        )
        place(pictures.parent).publish(html.encode(), pictures.name)
        console.print(f"{pictures}: open it in a browser", soft_wrap=True)


def _beside(prior: str, name: str) -> Path:
    """In the prior's own folder where that is a local one, else here."""
    folder = Path(prior)
    if folder.suffix:
        folder = folder.parent
    return folder / name if "://" not in prior and folder.is_dir() else Path(name)


def _report(paths: list[str], out: Path, *, data: str | None, seed: int, quick: bool, **where: Any) -> None:
    from mocap_ray.storage import place
    from mocap_ray.training.evaluate import evaluate as judge_all
    from mocap_ray.training.judge import JudgeOptions
    from mocap_ray.training.page import write_page

    options = JudgeOptions(seed=seed)
    if quick:
        options = JudgeOptions(
            seed=seed, poses=500, train=500, samples=100, completed=16, steps=100, importance=16
        )
    console = Console()
    with console.status("reading poses") as status:
        report = judge_all(paths, root=data, options=options, progress=status.update, **where)
    page = write_page(report, out)
    figures = page.with_suffix(".json")
    text = json.dumps(report.summary(), indent=1) + "\n"
    place(figures.parent).publish(text.encode(), figures.name)
    print_report(console, report)
    console.print(
        f"\nThe page with pictures: [bold]{escape(str(page))}[/]   figures: {escape(str(figures))}",
        soft_wrap=True,
    )


def print_report(console: Console, report: Report) -> None:
    """The table of the page, and its notes."""
    from mocap_ray.training.page import rows

    drawn = report.priors[0].judgement.held_out
    table = Table(title=f"{drawn:,} poses of {report.clips} clips, split {report.split} of {report.root}")
    table.title_justify = "left"
    table.add_column("")
    for prior in report.priors:
        table.add_column(escape(prior.name), justify="right")
    table.add_column("to compare with", justify="right", style="dim")
    for row in rows(report.priors):
        cells = [f"[bold]{c}[/]" if k == row.best else c for k, c in enumerate(row.cells)]
        title = ", ".join(filter(None, (row.title and f"[bold]{row.title}[/]", row.note)))
        table.add_row(title, *cells, row.naive, end_section=False)
    console.print(table)
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
