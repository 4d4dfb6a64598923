"""`mocap-ray configs`: what is shipped, and a copy to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mocap_ray.cli.options import local_file

app = typer.Typer(help="The configs that come with the package.")


@app.callback(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  mocap-ray configs                       all of them, with what each is for\n"
    "  mocap-ray configs copy extract/amass    amass.yaml in this folder, to edit\n"
    "  mocap-ray extract amass.yaml            use the copy",
)
def configs(context: typer.Context) -> None:
    """The configs that come with the package, with what each is for."""
    if context.invoked_subcommand is not None:
        return
    from mocap_ray.cli.screen import console, say
    from mocap_ray.cli.tables import show, simple_table
    from mocap_ray.config import shipped

    out = console()
    for kind in dict.fromkeys(c.kind for c in shipped()):
        rows = [(c.name, c.purpose) for c in shipped() if c.kind == kind]
        show(out, simple_table(f"mocap-ray {kind} ...", ["", ""], rows))
    say(
        out,
        "Every key can be set on the command line with --override; `mocap-ray configs copy KIND/NAME` gives a file.",
    )


@app.command(
    "copy",
    short_help="Copy one, to edit.",
    epilog="\b\nExamples:\n  mocap-ray configs copy extract/amass\n"
    "  mocap-ray configs copy train/joint_flow my_flow.yaml",
)
def copy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="KIND/NAME, or NAME alone where only one has it.")
    ],
    out: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to write; default: NAME.yaml in this folder.")
    ] = None,
) -> None:
    """Copy a shipped config, comments and all, to a file of your own."""
    from mocap_ray.cli.screen import console, say, typed
    from mocap_ray.config import find_shipped

    found = find_shipped(name)
    target = local_file(out) if out is not None else Path(f"{found.name}.yaml")
    target = target / f"{found.name}.yaml" if target.is_dir() else target
    if target.exists():
        raise typer.BadParameter(f"{target} exists. Name another file, or remove it first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(found.path.read_bytes())
    say(console(), f"{target}: edit it, then")
    say(console(), f"  {typed(*found.words(str(target)))}")
