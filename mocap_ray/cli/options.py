"""Options that several commands share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="KEY=VALUE ...",
        help="Set keys of the config; takes every KEY=VALUE up to the next option.",
    ),
]
More = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", hidden=True)]


def in_order(arguments: Sequence[str]) -> list[str]:
    """The words of a command line, with an `--override` before each KEY=VALUE that follows one.

    So all are parsed in their order, and the last value of a key counts, such as one pasted to the end of a command.

    >>> in_order(["extract", "amass", "-o", "a=1", "b=2", "--override", "b=3", "--strict"])
    ['extract', 'amass', '-o', 'a=1', '--override', 'b=2', '--override', 'b=3', '--strict']
    """
    found: list[str] = []
    taking = False
    for before, word in zip(["", *arguments], arguments, strict=False):
        assigns = "=" in word and not word.startswith("-")
        if taking and assigns:
            found.append("--override")
        taking = word.startswith("--override=") or (assigns and (taking or before in ("-o", "--override")))
        found.append(word)
    return found


def assignments(config: str | None, override: list[str] | None, more: list[str] | None) -> list[str]:
    """All KEY=VALUE of a command line. Raises BadParameter for any other argument."""
    from mocap_ray.storage import without_secrets

    if config is not None and "=" in config and not Path(config).exists():
        raise typer.BadParameter(
            f"found {without_secrets(config)!r} in place of CONFIG. Name the config first, then --override."
        )
    for text in more or []:
        if "=" not in text:
            raise typer.BadParameter(
                f"{without_secrets(text)!r} is not KEY=VALUE. Expected, for example, motion.mirror=true."
            )
    return [*(override or []), *(more or [])]


def config_list(kind: str) -> str:
    """The configs that come with the package, with what each is for, as a part of a help text of 80 columns."""
    from mocap_ray.config import shipped

    chosen = [config for config in shipped() if config.kind == kind]
    wide = max((len(config.name) for config in chosen), default=0)
    lines = []
    for config in chosen:
        # Two columns of the help's own indent; two before the name, two after it.
        text = textwrap.wrap(config.purpose, 80 - 2 - 4 - wide)
        names = [config.name, *[""] * (len(text) - 1)]
        lines += [f"  {name:{wide}}  {part}".rstrip() for name, part in zip(names, text, strict=True)]
    return "\n".join(["\b", f"Configs (`mocap-ray configs copy {kind}/NAME` copies one, to edit):", *lines])


def local_file(path: Path) -> Path:
    """The path. Raises BadParameter if it is the address of a bucket."""
    if ":/" in str(path):
        raise typer.BadParameter(f"{path} is an address. Expected a path on this machine.")
    return path
