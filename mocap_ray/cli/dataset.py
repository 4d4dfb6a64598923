"""`mocap-ray dataset`: take recordings out of a finished data set, and in again; `checking.py` has the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mocap_ray.cli import checking
from mocap_ray.cli.options import Overrides

if TYPE_CHECKING:
    from mocap_ray.dataset.exclusion import Change
    from mocap_ray.storage import Place

app = typer.Typer(
    help="Check a data set, compute statistics, exclude recordings.",
    no_args_is_help=True,
)
app.add_typer(checking.app)

Root = Annotated[str, typer.Argument(metavar="ROOT", help="The data set: a path, or s3://..., gs://...")]
Recordings = Annotated[
    list[str],
    typer.Argument(
        metavar="RECORDING...",
        help="Names as in the column `recording`, folders of them such as CMU/01, or globs such as 'CMU/*_stageii'.",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(metavar="CONFIG", help="The config that made it; default: that of its last run."),
]


@app.command(
    short_help="Take recordings out of a data set for good.",
    epilog="\b\nExamples:\n  mocap-ray dataset exclude data/amass_263 CMU/01/01_05_poses --reason 'markers swapped'\n"
    "  mocap-ray dataset exclude data/amass_263 CMU/01 KIT/3 --reason 'no consent' \\\n"
    "      --override source.root=/new/amass\n\n"
    "Only the shards of these recordings are remade, from the archive and the body models of the last run. A later "
    "`mocap-ray extract` respects the list, which is ROOT/excluded.json; rejected.parquet shows each recording with "
    "the reason `excluded` and the text.",
)
def exclude(
    root: Root,
    recordings: Recordings,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for rejected.parquet.")],
    config: Config = None,
    override: Overrides = None,
) -> None:
    """Take recordings out of a finished data set for good; the same command again resumes or changes nothing."""
    from mocap_ray.dataset.exclusion import Change

    _change(root, Change(tuple(recordings), reason), config=config, overrides=override or [])


@app.command(
    short_help="Take excluded recordings in again.",
    epilog="\b\nExample:\n  mocap-ray dataset include data/amass_263 CMU/01",
)
def include(root: Root, recordings: Recordings, config: Config = None, override: Overrides = None) -> None:
    """Undo `mocap-ray dataset exclude`; only the shards of these recordings are remade."""
    from mocap_ray.dataset.exclusion import Change

    _change(root, Change(tuple(recordings)), config=config, overrides=override or [])


def _change(root: str, change: Change, *, config: str | None, overrides: list[str]) -> None:
    from mocap_ray import config as configs
    from mocap_ray.cli.data import show_run
    from mocap_ray.cli.screen import console, say
    from mocap_ray.runs.extract import ExtractConfig, last_config
    from mocap_ray.storage import place

    _require_clips(place(root))
    sources = change.sources(place(root))
    if not sources:
        say(console(), f"{root}: nothing to change")
        return
    from mocap_ray.distributed.extract import change_exclusions

    texts = [*overrides, f"output.root={root}"]
    for source in sources:
        settings = (
            configs.load(config, ExtractConfig, kind="extract", overrides=texts)
            if config is not None
            else last_config(place(root), source, overrides=texts)
        )
        show_run(settings.output.root, partial(change_exclusions, settings, change))


def _require_clips(out: Place) -> None:
    """Raise UserError for a finished data set of single poses."""
    from mocap_ray.dataset.views import product_of
    from mocap_ray.errors import UserError
    from mocap_ray.shards.manifest import NAME

    if out.exists(NAME) and product_of(out.read(NAME)) != "clips":
        raise UserError(
            f"{out.uri}: a data set of single poses, from which this command takes nothing. Move the files out of "
            "source.root and run the same extract command with --prune, or extract into another root with "
            "source.exclude."
        )
