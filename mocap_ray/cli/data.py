"""`mocap-ray extract`, `inspect`, `page`, `split`, `archives` and `export`: the commands for data sets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mocap_ray import config as configs
from mocap_ray.cli.options import More, Overrides, assignments
from mocap_ray.cli.stopping import stoppable
from mocap_ray.wording import counted

if TYPE_CHECKING:
    # pydantic and pyarrow take a second to import; `--help` does not wait for them.
    from mocap_ray.archives.segments import SegmentIndex
    from mocap_ray.cli.extraction_view import ExtractView
    from mocap_ray.runs.extract import ExtractConfig
    from mocap_ray.runs.extraction import PoseExtractConfig
    from mocap_ray.shards.running import RunResult

app = typer.Typer()
"""Commands without a group name; `main.py` adds them at the top level."""
export_app = typer.Typer(
    help="Write the folders and files that existing trainers read.", no_args_is_help=True
)

CONFIG_HELP = (
    "Path of a YAML file, or the name of one in configs/extract: amass, humanml3d, flowmimic, aist, "
    "bvh, joints, mvhumannet, humandata, poses."
)


@app.command(
    short_help="Extract an archive of motion, or files of poses, to a Parquet data set.",
    epilog="\b\nExamples:\n"
    "  mocap-ray extract amass --override source.root=/data/amass \\\n"
    "      body.root=/data/body_models output.root=/data/amass_263\n"
    "  mocap-ray extract amass -o output.root=trial motion.mirror=true --limit 20\n"
    "  mocap-ray extract my.yaml --include 'CMU/*' --exclude CMU/01 --dry-run\n\n"
    "--override takes any number of KEY=VALUE, separated by spaces. KEY is a key of the config with dots between "
    "its levels, VALUE is text or YAML: source.split=none, motion.quality.cut=true, "
    "'output.columns=[features, joints]' (use quotes where the shell would split the value). "
    "configs/extract/amass.yaml shows the keys with comments; the error for an unknown key lists the known ones."
    "\n\n--include and --exclude choose what is added. Recordings that the data set holds already stay in it; "
    "`mocap-ray dataset exclude` takes them out."
    "\n\nRun the same command again after a crash, a kill, a full disk, or when the archive has grown: "
    "finished shards are kept.",
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
        typer.Option(metavar="NAME", help="Only this folder, recording or glob; repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out this folder, recording or glob; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate size and time of the run, and write nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set made by another recipe.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop recordings that the archive no longer lists.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on the first recording that cannot be used.")
    ] = False,
) -> None:
    """Extract an archive of motion to a Parquet data set; a second run resumes, or adds new recordings."""
    from mocap_ray.runs.extraction import PoseExtractConfig, load_extraction

    texts = assignments(config, override, more)
    if limit is not None:
        texts.append(f"source.limit={limit}")
    for key, globs in (("include", include), ("exclude", exclude)):
        if globs:
            texts.append(f"source.{key}={configs.flow(globs)}")
    settings = load_extraction(config, overrides=texts)
    if isinstance(settings, PoseExtractConfig):
        _extract_poses(settings, dry_run=dry_run, overwrite=overwrite, prune=prune, strict=strict)
    elif dry_run:
        _dry_run(settings, overwrite=overwrite, prune=prune)
    else:
        run_extraction(settings, overwrite=overwrite, prune=prune, strict=strict)


def run_extraction(
    settings: ExtractConfig,
    *,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
    index: SegmentIndex | None = None,
) -> None:
    """Extract and show the progress; called by `mocap-ray extract`, `demo` and `rebuild`."""
    # Ray takes a second to import, so only the commands that compute import it.
    from mocap_ray.distributed.extract import extract as run

    show_run(
        settings,
        lambda view: run(settings, view, overwrite=overwrite, prune=prune, strict=strict, index=index),
    )


def _extract_poses(
    settings: PoseExtractConfig, *, dry_run: bool, overwrite: bool, prune: bool, strict: bool
) -> None:
    from mocap_ray.distributed.extract_poses import extract_poses, plan

    if dry_run:
        from mocap_ray.cli.screen import console
        from mocap_ray.cli.tables import print_plan

        print_plan(console(), plan(settings, overwrite=overwrite, prune=prune))
        return
    show_run(
        settings, lambda view: extract_poses(settings, view, overwrite=overwrite, prune=prune, strict=strict)
    )


def show_run(settings: ExtractConfig | PoseExtractConfig, run: Callable[[ExtractView], RunResult]) -> None:
    """Run and show the progress, the result, or why there is none."""
    from mocap_ray.cli.extraction_view import ExtractView, print_result
    from mocap_ray.cli.screen import console, print_error
    from mocap_ray.shards.running import RunFailed

    out = console()
    try:
        with (
            stoppable("Finished shards are kept; run the same command again to resume."),
            ExtractView(out) as view,
        ):
            outcome = run(view)
    except RunFailed as error:
        text = str(error)
        if text.startswith("writing"):
            text = f"{settings.output.root}: {text}. Fix this, and run the same command again to resume."
        print_error(text)
        raise typer.Exit(1) from error
    print_result(out, outcome)


def _dry_run(settings: ExtractConfig, *, overwrite: bool, prune: bool) -> None:
    from mocap_ray.cli.screen import console
    from mocap_ray.cli.tables import print_estimate
    from mocap_ray.dataset.estimate import estimate
    from mocap_ray.distributed.extract import plan

    build = plan(settings, overwrite=overwrite, prune=prune)
    print_estimate(console(), build, estimate(build), settings.ray)


@app.command(
    short_help="Show what a file is, and whether a run would use it.",
    epilog="\b\nExamples:\n  mocap-ray inspect data/amass/CMU/01/01_01_poses.npz\n"
    "  mocap-ray inspect CMU/01/01_01_poses.npz --body data/body_models --override motion.quality.cut=true\n\n"
    "Exit code 0 if a run would make at least one clip from the file, else 1.",
)
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording: a path, or s3://..., gs://...")],
    more: More = None,
    override: Overrides = None,
    body: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Folder of body models; without it, the last checks are skipped."
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="CONFIG", help="Config with the limits; --override changes them.")
    ] = "amass",
    archive: Annotated[
        str | None, typer.Option(metavar="NAME", help="The archive of the file; default: the config's.")
    ] = None,
) -> None:
    """Show what a file is, its quality figures, and whether a run would use it, with the full reason."""
    from mocap_ray.cli.screen import console
    from mocap_ray.cli.tables import print_inspection
    from mocap_ray.dataset.build import archive_of
    from mocap_ray.dataset.inspect import inspect as inspect_file
    from mocap_ray.runs.extract import ExtractConfig

    texts = assignments(None, override, more) + ([f"body.root={body}"] if body else [])
    settings = configs.load(config, ExtractConfig, kind="extract", overrides=texts)
    inspection = inspect_file(
        file,
        archive_of(
            settings.source if archive is None else settings.source.model_copy(update={"archive": archive})
        ),
        motion=settings.motion,
        body=settings.body if body else None,
        fps=settings.source.fps,
    )
    print_inspection(console(), file, inspection)
    raise typer.Exit(0 if inspection.usable else 1)


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
        typer.Argument(metavar="FILE", help="The page to write; default: ROOT.html, next to the data set."),
    ] = None,
) -> None:
    """Write a self-contained HTML page with the figures of a data set and pictures of a few clips."""
    from mocap_ray.cli.screen import console, say
    from mocap_ray.pages.dataset import write_page

    if out is None:
        local = "://" not in root
        name = Path(root if local else root.partition("?")[0].rstrip("/").rpartition("/")[2])
        name = name.resolve() if name.name in ("", "..") else name
        out = str(name.parent / f"{name.name or 'page'}.html")
    say(console(), f"{write_page(root, out)}: open it in a browser")


@app.command(
    short_help="Write lists of train, val and test for an archive.",
    epilog="\b\nExamples:\n"
    "  mocap-ray split mvhumannet data/mvh_split --override source.root=/data/MVHumanNet\n"
    "  mocap-ray split amass lists --seed 3 --by recording \\\n"
    "      --override source.root=/data/amass 'source.fractions={train: 0.9, val: 0.1, test: 0}'\n\n"
    "The same recordings, shares and seed give the same lists on every machine, and a recording that is added moves "
    "no other. The shares are those of source.fractions. Use the lists with --override source.split=FOLDER. With "
    "seed 0 and by subject, they are the split that source.split=subject makes.",
)
def split(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help=CONFIG_HELP)],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of the lists; made if needed.")],
    more: More = None,
    override: Overrides = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="subject: nobody is in two splits; recording: each is drawn on its own."
        ),
    ] = "subject",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed gives another draw.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other lists in FOLDER.")] = False,
) -> None:
    """Write lists of train, val and test for the recordings of an archive: one name a line, drawn by hashes."""
    from mocap_ray.archives.listing import make_lists, write_lists
    from mocap_ray.cli.screen import console, say
    from mocap_ray.dataset.build import split_recordings
    from mocap_ray.errors import UserError
    from mocap_ray.runs.extract import ExtractConfig
    from mocap_ray.storage import place

    if by not in ("subject", "recording"):
        raise UserError(f"--by {by}: expected subject or recording.")
    settings = configs.load(
        config, ExtractConfig, kind="extract", overrides=assignments(config, override, more)
    )
    recordings = split_recordings(settings.source)
    fractions = settings.source.fractions.model_dump()
    lists = make_lists(
        recordings, fractions=fractions, by="subject" if by == "subject" else "recording", seed=seed
    )
    done = write_lists(place(folder), lists, recordings, overwrite=overwrite)
    for name, count in done.counts.items():
        state = "written" if f"{name}.txt" in done.written else "kept"
        who = counted(done.subjects[name], "subject")
        say(console(), f"{folder}/{name}.txt: {counted(count, 'recording')} of {who}, {state}")


@app.command(short_help="List the archives that can be read.", epilog="\b\nExample:\n  mocap-ray archives")
def archives() -> None:
    """List the archives that can be read, their terms, and where to get them."""
    from mocap_ray.archives import ARCHIVES
    from mocap_ray.cli.screen import console
    from mocap_ray.cli.tables import print_archive

    for archive in ARCHIVES.values():
        print_archive(console(), archive)


@export_app.command(
    "humanml3d",
    short_help="Write HumanML3D's folder layout.",
    epilog="\b\nExamples:\n"
    "  mocap-ray export humanml3d data/humanml3d data/HumanML3D\n"
    "  mocap-ray export humanml3d data/humanml3d data/HumanML3D --mean-std HumanML3D/HumanML3D\n\n"
    "Trainers of this layout skip clips that are too short or too long without a message; MDM skips those under 40 "
    "and from 200 frames on. The summary says how many clips and frames such a trainer sees, and which settings of the "
    "extraction change that: motion.max_frames=196 cuts long clips, and motion.min_frames is the shortest part.",
)
def export_humanml3d(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="A finished data set of the humanml3d profile.")
    ],
    out: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to write.")],
    mean_std: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the Mean.npy and Std.npy to export instead of the statistics of this data set. Evaluation "
            "networks and checkpoints that were trained on HumanML3D need HumanML3D's own, from its repository.",
        ),
    ] = None,
    skips_under: Annotated[
        int,
        typer.Option(min=1, metavar="ROWS", help="The trainer skips shorter clips; for the summary only."),
    ] = 40,
    skips_from: Annotated[
        int,
        typer.Option(
            min=2,
            metavar="ROWS",
            help="The trainer skips clips of this length or longer; for the summary only.",
        ),
    ] = 200,
) -> None:
    """Write HumanML3D's folder layout: new_joint_vecs, new_joints, texts, Mean.npy, Std.npy, split lists."""
    from mocap_ray.dataset.export import export_humanml3d as write
    from mocap_ray.dataset.trainers import TrainerLimits

    limits = TrainerLimits(skips_under=skips_under, skips_from=skips_from)
    _export(partial(write, mean_std=mean_std, limits=limits), root, out)


@export_app.command(
    "npy",
    short_help="Write one .npy per clip.",
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
    from mocap_ray.cli.progress import counting_bar
    from mocap_ray.cli.screen import console, say

    screen = console()
    with counting_bar(screen, "exporting") as update:
        export = write(root, out, progress=update)
    written = f"{counted(export.written, 'file')} written, {export.kept:,} kept"
    text = f"{export.folder}: {counted(export.clips, 'clip')}, {written}"
    if export.placeholders:
        text += f"; {counted(export.placeholders, 'clip')} without text got a placeholder"
    say(screen, text)
    for sentence in export.coverage.sentences() if export.coverage else ():
        say(screen, sentence)
