"""`mocap-ray ...`: the package for a person at a terminal (floor 7).

Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.exceptions

from mocap_ray import __version__, cli_priors
from mocap_ray import config as configs
from mocap_ray.cli_options import More, Overrides, assignments

app = typer.Typer(
    name="mocap-ray",
    help="Archives of human motion in, one clean, typed Parquet data set out.",
    epilog="\b\nStart here:\n  mocap-ray demo                    a small data set and a page to look at\n"
    "  mocap-ray body check FOLDER       which body models are there, where to get the others\n"
    "  mocap-ray extract --help          your own archive\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage or configuration, 130 stopped by Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
body_app = typer.Typer(
    help="Body models: what is there, what is missing, and a stand-in.", no_args_is_help=True
)
export_app = typer.Typer(help="Write the folders that existing trainers read.", no_args_is_help=True)
app.add_typer(body_app, name="body")
app.add_typer(export_app, name="export")
app.add_typer(cli_priors.app)

CONFIG_HELP = "Path of a YAML file, or the name of one in configs/extract: amass, humanml3d, flowmimic."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; turns faults of the user into one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    # Imported here, so that `--help` need not wait for numpy and pyarrow.
    from mocap_ray.dataset.lock import Locked
    from mocap_ray.storage import without_secrets
    from mocap_ray.terminal.screen import complain, explained, is_usage

    try:
        arguments = list(arguments) if arguments is not None else None
        code = app(arguments, prog_name="mocap-ray", standalone_mode=False)
    except (ValueError, Locked, OSError) as error:
        complain(explained(error))
        code = 2 if is_usage(error) else 1
    except typer.exceptions.TyperException as error:  # usage: typer's own words, which repeat what was typed
        said = io.StringIO()
        getattr(error, "show", lambda file: print(error, file=file))(said)
        sys.stderr.write(without_secrets(said.getvalue()))
        code = error.exit_code
    sys.exit(code or 0)


def _version(asked: bool) -> bool:
    if asked:
        print(f"mocap-ray {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(
    short_help="Turn an archive of motion into a Parquet data set.",
    epilog="\b\nExamples:\n"
    "  mocap-ray extract amass --override source.root=/data/amass \\\n"
    "      body.root=/data/body_models output.root=/data/amass_263\n"
    "  mocap-ray extract amass -o output.root=trial motion.mirror=true --limit 20\n"
    "  mocap-ray extract my.yaml --include 'CMU/*' --exclude CMU/01 --dry-run\n\n"
    "After --override stand as many KEY=VALUE as you like, separated by spaces. KEY is a key of the config "
    "with a dot between its levels, VALUE is text or YAML: source.split=none, motion.quality.cut=true, "
    "'output.columns=[features, joints]' (quote what the shell would take apart). "
    "The keys stand, each with a comment, in configs/extract/amass.yaml; a wrong one is answered with those there are."
    "\n\nRun the same command again after a crash, a kill, a full disk, or when the archive has grown: "
    "what is finished is kept.",
)
def extract(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    more: More = None,
    override: Overrides = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N recordings, for a trial.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only names that match, such as 'CMU/*'; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Not the names that match; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, how large and how long; write nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set made by another recipe.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop recordings that the archive does not list any more.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on the first recording that cannot be used.")
    ] = False,
) -> None:
    """Turn an archive of motion into a Parquet data set; run again, it goes on or takes up what is new."""
    texts = assignments(config, override, more)
    if limit is not None:
        texts.append(f"source.limit={limit}")
    for key, globs in (("include", include), ("exclude", exclude)):
        if globs:
            texts.append(f"source.{key}={configs.flow(globs)}")
    settings = configs.load(config, configs.ExtractConfig, kind="extract", overrides=texts)
    if dry_run:
        _dry_run(settings, overwrite=overwrite, prune=prune)
    else:
        _extract(settings, overwrite=overwrite, prune=prune, strict=strict)


def _extract(settings: configs.ExtractConfig, *, overwrite: bool, prune: bool, strict: bool) -> None:
    # Ray takes a second to import: only the commands that compute pay for it.
    from mocap_ray.distributed.extract import ExtractionFailed
    from mocap_ray.distributed.extract import extract as run
    from mocap_ray.terminal.runs import ExtractView, print_outcome
    from mocap_ray.terminal.screen import complain, console

    out = console()
    try:
        with ExtractView(out) as view:
            outcome = run(settings, view, overwrite=overwrite, prune=prune, strict=strict)
    except ExtractionFailed as error:
        text = str(error)
        if text.startswith("writing"):
            text = f"{settings.output.root}: {text}. Make room or mend it, and run the same command again to go on."
        complain(text)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        complain("stopped. What was made is kept; run the same command again to go on.")
        raise typer.Exit(130) from None
    print_outcome(out, outcome)


def _dry_run(settings: configs.ExtractConfig, *, overwrite: bool, prune: bool) -> None:
    from mocap_ray.dataset.estimate import estimate
    from mocap_ray.distributed.extract import plan
    from mocap_ray.terminal.screen import console
    from mocap_ray.terminal.tables import print_estimate

    build = plan(settings, overwrite=overwrite, prune=prune)
    print_estimate(console(), build, estimate(build), settings.ray)


@app.command(
    short_help="Say what a file is, and whether a run would take it.",
    epilog="\b\nExamples:\n  mocap-ray inspect data/amass/CMU/01/01_01_poses.npz\n"
    "  mocap-ray inspect CMU/01/01_01_poses.npz --body data/body_models --override motion.quality.cut=true\n\n"
    "Exit code 0 if a run would make at least one clip of it, else 1.",
)
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording: a path, or s3://..., gs://...")],
    more: More = None,
    override: Overrides = None,
    body: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Body models; without them the last checks cannot be made."),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="CONFIG", help="Whose limits count; --override changes them.")
    ] = "amass",
    archive: Annotated[
        str | None, typer.Option(metavar="NAME", help="The archive it belongs to; default: the config's.")
    ] = None,
) -> None:
    """Say what a file is, its quality figures, and whether a run would take it, with the full reason."""
    from mocap_ray.archives import find_archive
    from mocap_ray.dataset.inspect import inspect as look
    from mocap_ray.terminal.screen import console
    from mocap_ray.terminal.tables import print_inspection

    texts = assignments(None, override, more) + ([f"body.root={body}"] if body else [])
    settings = configs.load(config, configs.ExtractConfig, kind="extract", overrides=texts)
    found = look(
        file,
        find_archive(archive or settings.source.archive),
        motion=settings.motion,
        body=settings.body if body else None,
        fps=settings.source.fps,
    )
    print_inspection(console(), file, found)
    raise typer.Exit(0 if found.taken else 1)


@app.command(
    short_help="Write an HTML page about a data set.",
    epilog="\b\nExample:\n  mocap-ray page data/amass_263 amass.html",
)
def page(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="A finished data set: a path, or s3://..., gs://...")
    ],
    out: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="Where to write; default: beside the data set, as ROOT.html."),
    ] = None,
) -> None:
    """Write one self-contained HTML page with a data set's numbers and pictures of a few clips."""
    from mocap_ray.dataset.page import write_page
    from mocap_ray.terminal.screen import console, say

    if out is None:
        local = "://" not in root
        name = Path(root if local else root.partition("?")[0].rstrip("/").rpartition("/")[2])
        name = name.resolve() if name.name in ("", "..") else name
        out = str(name.with_name(f"{name.name}.html"))
    say(console(), f"{write_page(root, out)}: open it in a browser")


@app.command(short_help="List the archives that can be read.", epilog="\b\nExample:\n  mocap-ray archives")
def archives() -> None:
    """List the archives that can be read, their terms, and where to get them."""
    from mocap_ray.archives import ARCHIVES
    from mocap_ray.terminal.screen import console
    from mocap_ray.terminal.tables import print_archive

    for archive in ARCHIVES.values():
        print_archive(console(), archive)


@app.command(
    short_help="A small data set and a page, from nothing.", epilog="\b\nExample:\n  mocap-ray demo /tmp/demo"
)
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to work.")] = Path("demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set of an earlier version.")
    ] = False,
) -> None:
    """Make a small archive and a stand-in body, extract them on a local Ray, train a small prior, leave two pages."""
    from mocap_ray.archives.demo import write_demo
    from mocap_ray.body.standin import write_standin
    from mocap_ray.dataset.page import write_page
    from mocap_ray.terminal.screen import console, say

    screen = console()
    archive, bodies, out = folder / "archive", folder / "body_models", folder / "dataset"
    if not (archive.is_dir() and bodies.is_dir()):
        say(screen, f"making a small archive in {archive} and a licence-free stand-in body in {bodies}")
    _whole(archive, write_demo)
    _whole(bodies, write_standin)
    settings = configs.ExtractConfig.model_validate(
        {
            "source": {"root": str(archive)},
            "body": {"root": str(bodies)},
            "output": {"root": str(out), "shard_mb": 4},
        }
    )
    _extract(settings, overwrite=overwrite, prune=False, strict=False)
    page = write_page(str(out), folder / "page.html")
    samples = _demo_prior(out, folder / "prior", folder / "samples.html")
    say(screen, f"\nThe pages with pictures: {page} and {samples}", style="bold")


def _demo_prior(data: Path, root: Path, page: Path) -> Path:
    """Train a pose prior for some seconds, unless that was done, and draw poses that it makes up."""
    keys = [
        f"data.root={data}",
        "data.joints=body",
        "data.batch_size=64",
        "training.max_epochs=8",
        f"output.root={root}",
    ]
    if not (root / "summary.json").is_file():
        cli_priors.run_training("joint_flow", keys, overwrite=root.is_dir())
    cli_priors.draw(str(root), count=24, out=root / "samples.npz", pictures=page, seed=0)
    return page


def _whole(folder: Path, write: Callable[[Path], Any]) -> None:
    """Write a folder unless it is there; one that was stopped half-way is made again."""
    if not folder.is_dir():
        unfinished = folder.with_name(f".{folder.name}")
        write(unfinished)
        unfinished.rename(folder)


@body_app.command(
    "check",
    short_help="Show which model files are there, and where to get others.",
    epilog="\b\nExamples:\n  mocap-ray body check data/body_models\n"
    "  mocap-ray body check data/body_models --family smplh --gender male --gender female\n\n"
    "Exit code 0 if what was asked for is usable, else 1. Without --family and --gender: if something is "
    "there and nothing of it is broken.",
)
def body_check(
    root: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the model files are, in any layout in use.")
    ] = Path("data/body_models"),
    family: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="smpl, smplh or smplx; may be repeated.")
    ] = None,
    gender: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="neutral, male or female; may be repeated.")
    ] = None,
) -> None:
    """Show each expected model file, whether it is usable, and where to get what is missing."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from mocap_ray.body.check import check, usable
    from mocap_ray.body.files import missing
    from mocap_ray.terminal.screen import console
    from mocap_ray.terminal.tables import print_models

    if root.exists():
        reports = check(root, families=family, genders=gender)
    else:
        with TemporaryDirectory() as nothing:
            found = check(nothing, families=family, genders=gender)
        reports = [replace(r, error=missing(r.family, r.gender, root=root)) for r in found]
    print_models(console(), root, reports)
    if gender:
        good = all(r.usable for r in reports)
    elif family:
        good = usable(reports)
    else:
        good = any(r.usable for r in reports) and all(r.usable for r in reports if r.path)
    raise typer.Exit(0 if good else 1)


@body_app.command(
    "convert",
    short_help="Turn an original model file into a clean NPZ.",
    epilog="\b\nExample:\n  mocap-ray body convert SMPL_MALE.pkl data/body_models/smpl/SMPL_MALE.npz",
)
def body_convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An original .pkl (chumpy, Python 2) or .npz model.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The clean .npz to write, or a folder for it.")],
) -> None:
    """Turn an original model file into a clean NPZ of plain arrays; runs no code of the file."""
    from mocap_ray.body.convert import convert
    from mocap_ray.terminal.screen import console, say

    say(console(), f"{convert(source, _local(out))}: written")


@body_app.command(
    "standin",
    short_help="Write licence-free stand-in models.",
    epilog="\b\nExample:\n  mocap-ray body standin data/standin",
)
def body_standin(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")],
) -> None:
    """Write licence-free stand-in models of all three families, for trials and tests."""
    from mocap_ray.body.standin import write_standin
    from mocap_ray.terminal.screen import console, say

    for path in write_standin(_local(root)):
        say(console(), str(path))


def _local(path: Path) -> Path:
    """The path, unless somebody meant a bucket."""
    if ":/" in str(path):
        raise typer.BadParameter(f"{path} is an address. Expected a path on this machine.")
    return path


@export_app.command(
    "humanml3d",
    short_help="HumanML3D's folder.",
    epilog="\b\nExample:\n  mocap-ray export humanml3d data/humanml3d data/HumanML3D",
)
def export_humanml3d(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="A finished data set of the humanml3d profile.")
    ],
    out: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to write.")],
) -> None:
    """Write HumanML3D's folder: new_joint_vecs, new_joints, texts, Mean.npy, Std.npy, split lists."""
    from mocap_ray.dataset.export import export_humanml3d as write

    _export(write, root, out)


@export_app.command(
    "npy",
    short_help="One .npy per clip.",
    epilog="\b\nExample:\n  mocap-ray export npy data/amass_263 data/amass_npy",
)
def export_npy(
    root: Annotated[str, typer.Argument(metavar="ROOT", help="A finished data set.")],
    out: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to write.")],
) -> None:
    """Write one .npy of features per clip, an index and the statistics."""
    from mocap_ray.dataset.export import export_npy as write

    _export(write, root, out)


def _export(write: Callable[..., Any], root: str, out: str) -> None:
    from mocap_ray.terminal.screen import bar, console, say

    screen = console()
    with bar(screen, "clips") as update:
        done = write(root, out, progress=update)
    text = f"{done.folder}: {done.clips} clips, {done.written} files written, {done.kept} kept"
    if done.placeholders:
        text += f"; {done.placeholders} clips have no text, theirs is a placeholder"
    say(screen, text)


if __name__ == "__main__":
    main()
