"""The commands `train`, `search`, `evaluate`, `sample` and `compare` of `mocap-ray`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mocap_ray import config as configs
from mocap_ray.cli.options import More, Overrides, assignments, config_list, local_file
from mocap_ray.cli.progress import progress_bar
from mocap_ray.cli.screen import console, print_error, say
from mocap_ray.cli.stopping import stoppable
from mocap_ray.errors import UserError
from mocap_ray.wording import counted

if TYPE_CHECKING:
    # torch takes seconds to import, and `--help` does not need it.
    from mocap_ray.priors.judging.evaluate import Evaluation

Data = Annotated[str | None, typer.Option(help="Data set; default: the one that the prior was trained on.")]
Split = Annotated[
    str | None,
    typer.Option(help="Split to evaluate on; default: test if it exists, else the validation split."),
]
Sub = Annotated[str | None, typer.Option(help="Only this sub-dataset.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Use a tenth of the samples: takes seconds, less precise.")
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


app = typer.Typer()
"""The commands of this file; `cli.py` adds them to the main app."""


@app.command(
    short_help="Train a pose prior, or a model of motion, on a data set.",
    epilog=config_list("train") + "\n\n\b\nExamples:\n"
    "  mocap-ray train joint_flow -o data.root=data/amass_263 output.root=runs/joint_flow\n"
    "  mocap-ray train joint_flow -o model.hidden=256 training.learning_rate=1e-4\n  mocap-ray train my.yaml --resume",
)
def train(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or a name in configs/train.")],
    more: More = None,
    override: Overrides = None,
    resume: Annotated[bool, typer.Option(help="Resume from the last checkpoint in output.root.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the training in output.root.")] = False,
) -> None:
    """Train a pose prior or a model of motion, with any number of workers; killed workers are restarted."""
    run_training(config, assignments(config, override, more), resume=resume, overwrite=overwrite)


def run_training(config: str, texts: list[str], *, resume: bool = False, overwrite: bool = False) -> None:
    """Train and show the progress: the body of `mocap-ray train`."""
    from mocap_ray.runs.train import TrainConfig

    settings = configs.load(config, TrainConfig, kind="train", overrides=texts)

    from mocap_ray.cli.training_view import TrainView, print_training
    from mocap_ray.distributed.train import TrainingFailed
    from mocap_ray.distributed.train import train as run

    out, words = console(), settings.task().words
    with _exit_codes(TrainingFailed, "The last checkpoint is kept; --resume continues from it."):
        with TrainView(out, words) as view:
            summary = run(settings, view, resume=resume, overwrite=overwrite)
        print_training(out, summary, settings.output.root, words)


@app.command(
    short_help="Train many variants, and keep the best one.",
    epilog=config_list("search") + "\n\n\b\nExamples:\n"
    "  mocap-ray search joint_flow -o fixed.data.root=data/amass_263 output.root=searches/flow\n"
    "  mocap-ray search my.yaml --resume",
)
def search(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or a name in configs/search.")],
    more: More = None,
    override: Overrides = None,
    resume: Annotated[
        bool, typer.Option(help="Resume the search in output.root; finished trials are kept.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the search in output.root.")] = False,
) -> None:
    """Train many variants of a config, stop poor ones early, and keep the best one."""
    from mocap_ray.runs.search import SearchConfig

    texts = assignments(config, override, more)
    settings = configs.load(config, SearchConfig, kind="search", overrides=texts)

    from mocap_ray.cli.search_view import SearchView, print_search
    from mocap_ray.distributed.search import SearchFailed
    from mocap_ray.distributed.search import search as run

    out = console()
    with _exit_codes(SearchFailed, "Finished trials are kept; --resume continues the others."):
        with SearchView(out, settings) as view:
            outcome = run(settings, view, resume=resume, overwrite=overwrite)
        print_search(out, outcome, settings)


@contextmanager
def _exit_codes(failure: type[Exception], kept: str) -> Iterator[None]:
    """Exit with 1 if a run failed and with 130 or 143 if the user stopped it, with a message."""
    try:
        with stoppable(kept):
            yield
    except failure as error:
        print_error(str(error))
        raise typer.Exit(1) from error


@app.command(
    short_help="Evaluate a prior, or a motion VAE, on held-out data.",
    epilog="\b\nExamples:\n  mocap-ray evaluate runs/joint_flow --out joint_flow.html\n"
    "  mocap-ray evaluate runs/joint_flow --limits --quantiles 0.05 0.95\n"
    "  mocap-ray evaluate runs/motion_vae --evaluator runs/motion_evaluator",
)
def evaluate(
    prior: Annotated[str, typer.Argument(help="Folder of a training, a checkpoint or an export.")],
    data: Data = None,
    split: Split = None,
    dataset: Sub = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; default: evaluation.html in the folder of the prior."),
    ] = None,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits", help="Also write limits.json and limits.html next to the page: each joint's range."
        ),
    ] = False,
    quantiles: Annotated[
        tuple[float, float], typer.Option(help="Ends of the ranges of --limits.", metavar="LOW HIGH")
    ] = (0.01, 0.99),
    evaluator: Annotated[
        str | None,
        typer.Option(help="Of a motion VAE: a training of motion_evaluator, for FID and diversity."),
    ] = None,
    seed: Seed = 0,
    quick: Quick = False,
    device: Device = "cpu",
) -> None:
    """Evaluate a prior or a motion VAE on held-out data: prints a table, and writes a page and the metrics as JSON."""
    target = out if out is not None else _beside(prior, "evaluation.html")
    if _is_motion_model(prior):
        from mocap_ray.cli.motion import evaluate_motion, refuse

        refuse({"--limits": limits, "--dataset": dataset is not None}, path=prior)
        evaluate_motion(
            prior, target, data=data, split=split, evaluator=evaluator, seed=seed, quick=quick, device=device
        )
        return
    if evaluator is not None:
        raise UserError(f"--evaluator: {prior} is a pose prior. Leave it out; it judges models of motion.")
    if limits:
        from mocap_ray.priors.judging.limits import check_quantiles

        check_quantiles(quantiles)  # before an evaluation of minutes
    page = _report(
        [prior], target, data=data, split=split, dataset=dataset, seed=seed, quick=quick, device=device
    )
    if limits:
        write_limits(prior, page.parent, data=data, dataset=dataset, quantiles=quantiles, seed=seed)


def write_limits(prior: str, folder: Path, *, data: str | None, dataset: str | None, **options: Any) -> None:
    """Write limits.json and limits.html: the body of `mocap-ray evaluate --limits`."""
    from mocap_ray.pages.limits import limits_page
    from mocap_ray.priors.judging.evaluate import learned_limits
    from mocap_ray.storage import place

    name, found = learned_limits(prior, root=data, dataset=dataset, **options)
    where = place(folder)
    where.write_atomic((json.dumps(found.summary(), indent=1) + "\n").encode(), "limits.json")
    where.write_atomic(limits_page(found, name=name).encode(), "limits.html")
    say(
        console(),
        f"Joint limits of {counted(len(found.bones), 'joint')}: {folder / 'limits.html'}   figures: "
        f"{folder / 'limits.json'}",
    )


@app.command(
    short_help="Evaluate several priors on the same poses.",
    epilog="\b\nExample:\n  mocap-ray compare runs/gaussian_prior runs/joint_flow runs/global_flow",
)
def compare(
    priors: Annotated[list[str], typer.Argument(help="Folders of trainings, checkpoints or exports.")],
    data: Data = None,
    split: Split = None,
    dataset: Sub = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("comparison.html"),
    seed: Seed = 0,
    quick: Quick = False,
    device: Device = "cpu",
) -> None:
    """Evaluate several priors on the same poses, in one table and one page."""
    _report(priors, out, data=data, split=split, dataset=dataset, seed=seed, quick=quick, device=device)


@app.command(
    short_help="Sample poses from a prior.",
    epilog="\b\nExample:\n  mocap-ray sample runs/joint_flow --count 1000 --out poses.npz",
)
def sample(
    prior: Annotated[str, typer.Argument(help="Folder of a training, a checkpoint or an export.")],
    count: Annotated[int, typer.Option(min=1, help="Number of poses.")] = 64,
    out: Annotated[Path, typer.Option(help="The .npz file to write: poses [count, 55, 3], rad.")] = Path(
        "samples.npz"
    ),
    pictures: Annotated[
        Path | None, typer.Option(help="Also draw up to 60 of them into this HTML file.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Sample poses from a prior, as axis-angle of the 55 SMPL-X joints."""
    draw(prior, count=count, out=out, pictures=pictures, seed=seed)


def draw(prior: str, *, count: int, out: Path, pictures: Path | None, seed: int) -> None:
    """Write samples and their pictures: the body of `mocap-ray sample`."""
    import numpy as np
    import torch

    from mocap_ray.pages.gallery import gallery
    from mocap_ray.priors.load import load_prior
    from mocap_ray.storage import place

    for path in filter(None, (out, pictures)):
        local_file(path)
    if pictures is not None and pictures.is_dir():
        raise UserError(f"{pictures}: is a folder. Expected the HTML file to write.")
    if out.suffix != ".npz":
        raise UserError(f"{out}: found the suffix '{out.suffix}'. Expected a file name that ends in .npz.")
    model = load_prior(prior)
    poses = model.sample(count, torch.Generator().manual_seed(seed)).numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, poses=poses, seed=seed, prior=np.array(prior))
    say(console(), f"{out}: {counted(count, 'pose')}, {counted(poses.shape[1], 'joint')}, axis-angle in rad")
    if pictures is not None:
        html = gallery(
            [("", poses[:60])],
            joints=model.coordinates.active_joints,
            title=f"Samples of {prior}, seed {seed}",
        )
        place(pictures.parent).write_atomic(html.encode(), pictures.name)
        say(console(), f"{pictures}: open it in a browser")


def _is_motion_model(path: str) -> bool:
    """Whether a training, checkpoint or export is of a model of motion; false if it cannot be read."""
    from mocap_ray.generation import MODELS
    from mocap_ray.generation.task import WORDS
    from mocap_ray.training.trained import kind_at

    return kind_at(path, WORDS) in MODELS


def _beside(prior: str, name: str) -> Path:
    """A file in the folder of the prior if that is local, else in the working directory."""
    folder = Path(prior)
    if folder.suffix:
        folder = folder.parent
    return folder / name if "://" not in prior and folder.is_dir() else Path(name)


def _report(paths: list[str], out: Path, *, data: str | None, seed: int, quick: bool, **where: Any) -> Path:
    # Before torch is imported. Its threads spin while they wait for each other; on a busy machine, batches of a few
    # poses then take ten times as long, and as much more CPU.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from mocap_ray.pages.priors import write_page
    from mocap_ray.priors.judging.evaluate import evaluate as judge_all
    from mocap_ray.priors.judging.judgement import JudgeOptions
    from mocap_ray.storage import place

    local_file(out)  # before an evaluation of minutes
    options = JudgeOptions(seed=seed)
    if quick:
        options = JudgeOptions(
            seed=seed, poses=500, train=500, samples=100, completed=16, steps=75, importance=16,
            likelihood=5000, geodesics=32,
        )  # fmt: skip
    out_console = console()
    with progress_bar(out_console, "evaluating") as update:
        report = judge_all(paths, root=data, options=options, progress=update, **where)
    page = write_page(report, out)
    figures = page.with_suffix(".json")
    text = json.dumps(report.summary(), indent=1) + "\n"
    place(figures.parent).write_atomic(text.encode(), figures.name)
    print_evaluation(out_console, report)
    say(out_console, f"\nThe page with pictures: {page}   figures: {figures}")
    return page


def print_evaluation(out: Console, report: Evaluation) -> None:
    """Print the table of the page, and its notes."""
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.priors.judging.scores import rows, worst_line

    drawn = report.priors[0].judgement.held_out
    title = (
        f"{counted(drawn, 'pose')} of {counted(report.clips, 'clip')}, split {report.split} of {report.root}"
    )
    names = [prior.name for prior in report.priors]
    scores = rows(report.priors)
    texts = [
        [
            ", ".join(filter(None, (row.title, row.note))),
            *(f"{c} *" if k == row.best else c for k, c in enumerate(row.cells)),
            row.naive,
        ]
        for row in scores
    ]
    heads = ["(* best)", *names, "to compare with"]
    show(out, simple_table(title, heads, texts, right=heads[1:]))
    for prior in report.priors:
        say(out, worst_line(prior))
    for note in report.notes:
        say(out, f"note: {note}", style="yellow")
