"""`mocap-ray ...`: the package for a person at a terminal (floor 7). Exit codes: 0 done, 1 failed, 2 usage."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mocap_ray import cli_priors
from mocap_ray import config as configs
from mocap_ray.terminal import simple_table

app = typer.Typer(
    name="mocap-ray",
    help="Archives of human motion in, one clean, typed Parquet data set out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
body_app = typer.Typer(
    help="Body models: what is there, what is missing, and a stand-in.", no_args_is_help=True
)
export_app = typer.Typer(help="Write the folders that existing trainers read.", no_args_is_help=True)
app.add_typer(body_app, name="body")
app.add_typer(export_app, name="export")
app.add_typer(cli_priors.app)

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override", "-o", metavar="KEY=VALUE ...", help="Set keys of the config; several may follow."
    ),
]
More = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", hidden=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; turns faults of the user into one sentence and exit code 2."""
    # Imported here, so that `--help` need not wait for numpy and pyarrow.
    from mocap_ray.dataset.lock import Locked

    console = Console(stderr=True)
    try:
        app(list(arguments) if arguments is not None else None)
    except (ValueError, Locked) as error:
        console.print(f"[red]mocap-ray:[/] {_plain(error)}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except OSError as error:
        console.print(f"[red]mocap-ray:[/] {_plain(error)}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _plain(error: BaseException | str) -> str:
    """The text, safe to print: brackets in it are not markup."""
    return str(error).replace("[", r"\[")


@app.command(
    epilog="Examples: [bold]mocap-ray extract amass -o source.root=/data/amass body.root=/data/bodies "
    "output.root=out[/]   [bold]mocap-ray extract my.yaml --dry-run[/]"
)
def extract(
    config: Annotated[
        str, typer.Argument(help="Path of a YAML file, or the name of one in configs/extract.")
    ],
    more: More = None,
    override: Overrides = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many recordings.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Only names matching a glob: 'CMU/*'.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out names matching a glob.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, how long and how large.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a data set made by another recipe.")] = False,
    prune: Annotated[
        bool, typer.Option(help="Drop recordings that the archive does not list any more.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Fail on the first rejected recording.")] = False,
) -> None:
    """Turn an archive of motion into a Parquet data set; run again, it goes on or takes up what is new."""
    texts = [*(override or []), *_assignments(more)]
    if limit is not None:
        texts.append(f"source.limit={limit}")
    if include:
        texts.append(f"source.include={list(include)}")
    if exclude:
        texts.append(f"source.exclude={list(exclude)}")
    settings = configs.load(config, configs.ExtractConfig, kind="extract", overrides=texts)
    if dry_run:
        _dry_run(settings, overwrite=overwrite, prune=prune)
        return
    _extract(settings, overwrite=overwrite, prune=prune, strict=strict)


def _extract(settings: configs.ExtractConfig, *, overwrite: bool, prune: bool, strict: bool) -> None:
    # Ray takes a second to import: only the commands that compute pay for it.
    from mocap_ray.distributed.extract import ExtractionFailed
    from mocap_ray.distributed.extract import extract as run
    from mocap_ray.terminal import ExtractView, print_outcome

    console = Console()
    try:
        with ExtractView(console) as view:
            outcome = run(settings, view, overwrite=overwrite, prune=prune, strict=strict)
    except ExtractionFailed as error:
        Console(stderr=True).print(f"[red]mocap-ray:[/] {_plain(error)}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped. What was made is kept; run the same command again to go on.")
        raise typer.Exit(130) from None
    print_outcome(console, outcome)


def _dry_run(settings: configs.ExtractConfig, *, overwrite: bool, prune: bool) -> None:
    from mocap_ray.dataset.estimate import estimate
    from mocap_ray.distributed.extract import plan

    build = plan(settings, overwrite=overwrite, prune=prune)
    guess = estimate(build)
    rows = [
        ("recordings to make", f"{guess.recordings:,} of {guess.all_recordings:,}"),
        ("shards to make", f"{len(build.todo)} of {len(build.groups)}"),
        ("superseded files to remove", f"{len(build.superseded)}"),
        ("source", f"{guess.source_bytes / 1e9:.2f} GB"),
        ("motion, about", f"{guess.hours:.2f} h"),
        ("disk needed, about", f"{guess.output_bytes / 1e9:.2f} GB"),
        ("time, about", f"{guess.cpu_s / 60:.1f} CPU minutes"),
        ("rejected, of a sample", f"{guess.sample_rejected} of {guess.sample}"),
    ]
    Console().print(simple_table(f"dry run into {build.out.uri}: nothing is written", ["", ""], rows))


@app.command(
    epilog="Examples: [bold]mocap-ray train joint_flow -o data.root=out training.learning_rate=1e-4 "
    "output.root=runs/flow[/]   [bold]mocap-ray train my.yaml --resume[/]"
)
def train(
    config: Annotated[str, typer.Argument(help="Path of a YAML file, or the name of one in configs/train.")],
    more: More = None,
    override: Overrides = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in output.root.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the training in output.root.")] = False,
) -> None:
    """Train a pose prior on a data set, with any number of workers; killed workers come back by themselves."""
    from mocap_ray.training.options import TrainConfig

    texts = [*(override or []), *_assignments(more)]
    settings = configs.load(config, TrainConfig, kind="train", overrides=texts)

    from mocap_ray.distributed.train import TrainingFailed
    from mocap_ray.distributed.train import train as run
    from mocap_ray.terminal import TrainView, print_training

    console = Console()
    with _told(TrainingFailed, "Everything up to the last checkpoint is kept; --resume goes on from there."):
        with TrainView(console) as view:
            summary = run(settings, view, resume=resume, overwrite=overwrite)
        print_training(console, summary, settings.output.root)


@app.command(
    epilog="Examples: [bold]mocap-ray search joint_flow -o fixed.data.root=out output.root=searches/flow[/]   "
    "[bold]mocap-ray search my.yaml --resume[/]"
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
    from mocap_ray.training.search import SearchConfig

    texts = [*(override or []), *_assignments(more)]
    settings = configs.load(config, SearchConfig, kind="search", overrides=texts)

    from mocap_ray.distributed.search import SearchFailed
    from mocap_ray.distributed.search import search as run
    from mocap_ray.terminal import SearchView, print_search

    console = Console()
    with _told(SearchFailed, "Finished trials are kept; --resume goes on with the others."):
        with SearchView(console, settings) as view:
            outcome = run(settings, view, resume=resume, overwrite=overwrite)
        print_search(console, outcome, settings)


@contextmanager
def _told(failure: type[Exception], kept: str) -> Iterator[None]:
    """Exit code 1 where a run failed, 130 where a person stopped it, each with its sentence."""
    console = Console(stderr=True)
    try:
        yield
    except failure as error:
        console.print(f"[red]mocap-ray:[/] {_plain(error)}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print(f"stopped. {kept}")
        raise typer.Exit(130) from None


def _assignments(more: list[str] | None) -> list[str]:
    """Texts after the first KEY=VALUE of --override; anything else there is a mistake."""
    for text in more or []:
        if "=" not in text:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE, such as motion.mirror=true")
    return more or []


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A recording, such as CMU/01/01_01_poses.npz.")],
    body: Annotated[
        str | None, typer.Option(help="Folder of body models; without it no joints are made.")
    ] = None,
    archive: Annotated[str, typer.Option(help="The archive it belongs to.")] = "amass",
) -> None:
    """Say what a file is, its quality figures, and whether it would be taken. Exit code 1 if not."""
    from mocap_ray.archives import find_archive
    from mocap_ray.dataset.inspect import inspect as look
    from mocap_ray.motion.clip import Rejection

    found = look(file, find_archive(archive), body_root=body)
    rows: list[tuple[str, str]] = [("file", str(file)), ("size", f"{found.recording.size:,} bytes")]
    motion = found.motion
    if not isinstance(motion, Rejection):
        frames = len(motion.trans)
        rows += [
            ("format", f"{motion.family}, {motion.poses.shape[1]} joints, {motion.poses.dtype}"),
            ("gender", motion.gender),
            ("frames", f"{frames:,} at {motion.source_fps:g} fps = {frames / motion.source_fps:.2f} s"),
            ("shape coefficients", str(len(motion.betas))),
            ("action, by name", motion.action or "-"),
        ]
    if found.quality is not None:
        rows += [(name, text) for name, text in found.quality.rows()]
    rows += [("clip", f"{c.clip_id}: {c.num_frames} rows at {c.fps:g} fps") for c in found.clips]
    rows += [(str(r.reason), r.detail) for r in found.rejections]
    checked = "" if found.complete else " (as far as can be told without --body)"
    rows.append(("taken", ("yes" if found.taken else "no") + checked))
    Console().print(simple_table("inspection", ["", ""], rows))
    raise typer.Exit(0 if found.taken else 1)


@app.command()
def page(
    root: Annotated[str, typer.Argument(help="A finished data set.")],
    out: Annotated[Path | None, typer.Argument(help="Where to write; default: page.html beside it.")] = None,
) -> None:
    """Write one self-contained HTML page with a data set's numbers and pictures of a few clips."""
    from mocap_ray.dataset.page import write_page

    target = write_page(root, out or Path(f"{root.rstrip('/').replace('://', '_')}.html"))
    Console().print(f"{target}: open it in a browser", soft_wrap=True)


@app.command()
def archives() -> None:
    """List the archives that can be read, and where to get them."""
    from mocap_ray.archives import ARCHIVES

    rows = [(name, a.title, a.licence, a.url) for name, a in ARCHIVES.items()]
    Console().print(simple_table("archives", ["name", "title", "licence", "where"], rows))


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to work.")] = Path("demo")) -> None:
    """Make a small archive and a stand-in body, extract them on a local Ray, and leave a page to look at."""
    from mocap_ray.archives.demo import write_demo
    from mocap_ray.body.standin import write_standin
    from mocap_ray.dataset.page import write_page

    console = Console()
    archive, bodies, out = folder / "archive", folder / "body_models", folder / "dataset"
    if not archive.is_dir():
        console.print(f"making a small archive in {archive} and a licence-free stand-in body in {bodies}")
        write_demo(archive)
    if not bodies.is_dir():
        write_standin(bodies)
    texts = [f"source.root={archive}", f"body.root={bodies}", f"output.root={out}", "output.shard_mb=4"]
    settings = configs.load("amass", configs.ExtractConfig, kind="extract", overrides=texts)
    _extract(settings, overwrite=False, prune=False, strict=False)
    target = write_page(str(out), folder / "page.html")
    console.print(f"\nThe page with pictures: [bold]{target}[/]", soft_wrap=True)


@body_app.command("check")
def body_check(
    root: Annotated[Path, typer.Argument(help="Folder of the model files.")] = Path("data/body_models"),
    family: Annotated[list[str] | None, typer.Option(help="Ask for a family: smpl, smplh, smplx.")] = None,
    gender: Annotated[list[str] | None, typer.Option(help="Ask for a gender: neutral, male, female.")] = None,
) -> None:
    """Show each expected model file, and where to get what is missing. Exit code 0 if what was asked for works."""
    from mocap_ray.body.check import check, usable

    reports = check(root, families=family, genders=gender)
    rows = [
        (
            f"{r.family} {r.gender}",
            f"{r.path.relative_to(root)}{' (stand-in)' if r.standin else ''}" if r.path else "missing",
            f"{r.size / 1e6:.1f} MB" if r.path else "",
            str(r.vertices or ""),
            str(r.joints or ""),
            str(r.shape_coefficients or ""),
            f"{r.height:.2f} m" if r.height else "",
            "yes" if r.usable else "no",
        )
        for r in reports
    ]
    columns = ["model", "file", "size", "vertices", "joints", "shape coefficients", "rest height", "usable"]
    console = Console()
    console.print(simple_table(f"body models below {root}", columns, rows))
    for report in reports:
        if report.error:
            console.print(f"- {_plain(report.error)}", soft_wrap=True, highlight=False)
    if gender:
        good = all(r.usable for r in reports)
    elif family:
        good = usable(reports)
    else:
        good = any(r.usable for r in reports) and all(r.usable for r in reports if r.path)
    raise typer.Exit(0 if good else 1)


@body_app.command("convert")
def body_convert(
    source: Annotated[Path, typer.Argument(help="An original .pkl (chumpy, Python 2) or .npz model.")],
    out: Annotated[Path, typer.Argument(help="The clean .npz to write.")],
) -> None:
    """Turn an original model file into a clean NPZ of plain arrays; runs no code of the file."""
    from mocap_ray.body.convert import convert

    Console().print(f"{convert(source, out)}: written")


@body_app.command("standin")
def body_standin(root: Annotated[Path, typer.Argument(help="Where to write.")]) -> None:
    """Write licence-free stand-in models of all three families, for trials and tests."""
    from mocap_ray.body.standin import write_standin

    for path in write_standin(root):
        Console().print(str(path), soft_wrap=True)


@export_app.command("humanml3d")
def export_humanml3d(
    root: Annotated[str, typer.Argument(help="A finished data set of the humanml3d profile.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Write HumanML3D's folder: new_joint_vecs, new_joints, texts, Mean.npy, Std.npy, split lists."""
    from mocap_ray.dataset.export import export_humanml3d as write

    _export(write, root, out)


@export_app.command("npy")
def export_npy(
    root: Annotated[str, typer.Argument(help="A finished data set.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Write one .npy of features per clip, an index and the statistics."""
    from mocap_ray.dataset.export import export_npy as write

    _export(write, root, out)


def _export(write: Any, root: str, out: Path) -> None:
    from rich.progress import Progress

    with Progress(console=Console(), transient=True) as bar:
        task = bar.add_task("clips", total=None)
        done = write(root, out, progress=lambda n, total: bar.update(task, completed=n, total=total))
    text = f"{done.folder}: {done.clips} clips, {done.written} files written, {done.kept} kept"
    if done.placeholders:
        text += f"; {done.placeholders} clips have no text, theirs is a placeholder"
    Console().print(text, soft_wrap=True)


if __name__ == "__main__":
    main()
