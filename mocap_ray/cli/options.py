"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="KEY=VALUE ...",
        help="Set keys of the config; every KEY=VALUE that follows counts, up to the next option.",
    ),
]
More = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", hidden=True)]


def assignments(config: str | None, override: list[str] | None, more: list[str] | None) -> list[str]:
    """All KEY=VALUE of a command line. Raises BadParameter for anything else among them."""
    from mocap_ray.storage import without_secrets

    if config is not None and "=" in config and not Path(config).exists():
        raise typer.BadParameter(
            f"{without_secrets(config)!r} stands where CONFIG belongs. Name the config first, then --override."
        )
    for text in more or []:
        if "=" not in text:
            raise typer.BadParameter(
                f"{without_secrets(text)!r} is not KEY=VALUE, such as motion.mirror=true"
            )
    return [*(override or []), *(more or [])]


def local_file(path: Path) -> Path:
    """The path, unless somebody meant a bucket: then BadParameter."""
    if ":/" in str(path):
        raise typer.BadParameter(f"{path} is an address. Expected a path on this machine.")
    return path
