"""`mocap-ray train`, `search`, `evaluate`, `sample` and `compare`: priors for a person at a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mocap_ray import config as configs
from mocap_ray.cli.options import More, Overrides, assignments, local_file
from mocap_ray.cli.screen import complain, console, say

if TYPE_CHECKING:
    # torch takes seconds to import, which `--help` need not wait for.
    from mocap_ray.priors.judging.evaluate import Evaluation

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


@app.command(
    short_help="Train a pose prior on a data set.",
    epilog="\b\nExamples:\n  mocap-ray train joint_flow -o data.root=data/amass_263 output.root=runs/joint_flow\n"
    "  mocap-ray train joint_flow -o model.hidden=256 training.learning_rate=1e-4\n  mocap-ray train my.yaml --resume",
)
def train(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or the name of one in configs/train.")],
    more: More = None,
    override: Overrides = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in output.root.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the training in output.root.")] = False,
) -> None:
    """Train a pose prior on a data set, with any number of workers; killed workers come back by themselves."""
    run_training(config, assignments(config, override, more), resume=resume, overwrite=overwrite)


def run_training(config: str, texts: list[str], *, resume: bool = False, overwrite: bool = False) -> None:
    """Train, and show it: the body of `mocap-ray train`."""
    from mocap_ray.runs.train import TrainConfig

    settings = configs.load(config, TrainConfig, kind="train", overrides=texts)

    from mocap_ray.cli.training_view import TrainView, print_training
    from mocap_ray.distributed.train import TrainingFailed
    from mocap_ray.distributed.train import train as run

    out, words = console(), settings.task().words
    with _told(TrainingFailed, "Everything up to the last checkpoint is kept; --resume goes on from there."):
        with TrainView(out, words) as view:
            summary = run(settings, view, resume=resume, overwrite=overwrite)
        print_training(out, summary, settings.output.root, words)


@app.command(
    short_help="Train many variants, and keep the best.",
    epilog="\b\nExamples:\n  mocap-ray search joint_flow -o fixed.data.root=data/amass_263 output.root=searches/flow\n"
    "  mocap-ray search my.yaml --resume",
)
def search(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or the name of one in configs/search.")],
    more: More = None,
    override: Overrides = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the search in output.root; finished trials are kept.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the search in output.root.")] = False,
) -> None:
    """Train many variants of one config, stop the poor ones early, and keep the best."""
    from mocap_ray.runs.search import SearchConfig

    texts = assignments(config, override, more)
    settings = configs.load(config, SearchConfig, kind="search", overrides=texts)

    from mocap_ray.cli.training_view import SearchView, print_search
    from mocap_ray.distributed.search import SearchFailed
    from mocap_ray.distributed.search import search as run

    out = console()
    with _told(SearchFailed, "Finished trials are kept; --resume goes on with the others."):
        with SearchView(out, settings) as view:
            outcome = run(settings, view, resume=resume, overwrite=overwrite)
        print_search(out, outcome, settings)


@contextmanager
def _told(failure: type[Exception], kept: str) -> Iterator[None]:
    """Exit code 1 where a run failed, 130 where a person stopped it, each with its sentence."""
    try:
        yield
    except failure as error:
        complain(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        complain(f"stopped. {kept}")
        raise typer.Exit(130) from None


@app.command(
    short_help="Judge a prior on poses it has not seen.",
    epilog="\b\nExample:\n  mocap-ray evaluate runs/joint_flow --out joint_flow.html",
)
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
    short_help="Judge several priors on the same poses.",
    epilog="\b\nExample:\n  mocap-ray compare runs/gaussian_prior runs/joint_flow runs/global_flow",
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


@app.command(
    short_help="Draw poses from a prior.",
    epilog="\b\nExample:\n  mocap-ray sample runs/joint_flow --count 1000 --out poses.npz",
)
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
    draw(prior, count=count, out=out, pictures=pictures, seed=seed)


def draw(prior: str, *, count: int, out: Path, pictures: Path | None, seed: int) -> None:
    """Write samples, and pictures of them: the body of `mocap-ray sample`."""
    import numpy as np
    import torch

    from mocap_ray.pages.gallery import gallery
    from mocap_ray.priors.load import load_prior
    from mocap_ray.storage import place

    for path in filter(None, (out, pictures)):
        local_file(path)
    if pictures is not None and pictures.is_dir():
        raise ValueError(f"{pictures}: a folder. Expected the HTML file to write.")
    if out.suffix != ".npz":
        raise ValueError(f"{out}: expected a name that ends in .npz.")
    model = load_prior(prior)
    poses = model.sample(count, torch.Generator().manual_seed(seed)).numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, poses=poses, seed=seed, prior=np.array(prior))
    say(console(), f"{out}: {count:,} poses, {poses.shape[1]} joints, axis-angle in rad")
    if pictures is not None:
        html = gallery(
            [("", poses[:60])],
            joints=model.coordinates.active_joints,
            title=f"Samples of {prior}, seed {seed}",
        )
        place(pictures.parent).write_atomic(html.encode(), pictures.name)
        say(console(), f"{pictures}: open it in a browser")


def _beside(prior: str, name: str) -> Path:
    """In the prior's own folder where that is a local one, else here."""
    folder = Path(prior)
    if folder.suffix:
        folder = folder.parent
    return folder / name if "://" not in prior and folder.is_dir() else Path(name)


def _report(paths: list[str], out: Path, *, data: str | None, seed: int, quick: bool, **where: Any) -> None:
    from mocap_ray.pages.priors import write_page
    from mocap_ray.priors.judging.evaluate import evaluate as judge_all
    from mocap_ray.priors.judging.judgement import JudgeOptions
    from mocap_ray.storage import place

    local_file(out)  # before minutes of judging
    options = JudgeOptions(seed=seed)
    if quick:
        options = JudgeOptions(
            seed=seed, poses=500, train=500, samples=100, completed=16, steps=100, importance=16
        )
    out_console = console()
    with out_console.status("reading poses") as status:
        report = judge_all(paths, root=data, options=options, progress=status.update, **where)
    page = write_page(report, out)
    figures = page.with_suffix(".json")
    text = json.dumps(report.summary(), indent=1) + "\n"
    place(figures.parent).write_atomic(text.encode(), figures.name)
    print_evaluation(out_console, report)
    say(out_console, f"\nThe page with pictures: {page}   figures: {figures}")


def print_evaluation(out: Console, report: Evaluation) -> None:
    """The table of the page, and its notes."""
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.priors.judging.scores import rows

    drawn = report.priors[0].judgement.held_out
    title = f"{drawn:,} poses of {report.clips} clips, split {report.split} of {report.root}"
    names = [prior.name for prior in report.priors]
    found = rows(report.priors)
    texts = [
        [
            ", ".join(filter(None, (row.title, row.note))),
            *(f"{c} *" if k == row.best else c for k, c in enumerate(row.cells)),
            row.naive,
        ]
        for row in found
    ]
    heads = ["(* best)", *names, "to compare with"]
    show(out, simple_table(title, heads, texts, right=heads[1:]))
    for note in report.notes:
        say(out, f"note: {note}", style="yellow")
