"""The recipe of a data set: every setting that changes rows, in a file that stands there before the first shard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mocap_ray.errors import UserError
from mocap_ray.options import differences, digest
from mocap_ray.storage import Place

NAME = "recipe.json"


class Replaced(UserError):
    """Another run has begun to replace the data set: a worker that outlived its own run must not write into it."""


def write(out: Place, settings: Mapping[str, Any]) -> None:
    """Publish the recipe."""
    out.write_atomic(json.dumps(settings, indent=1, sort_keys=True).encode(), NAME)


def require_same(out: Place, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse to mix two recipes in one data set, or to write among foreign files.

    Raises:
        UserError: the data set was made by another recipe, with all that differs; foreign files in the folder.
    """
    if out.exists(NAME):
        lines = differences(json.loads(out.read(NAME)), settings)
        if lines and not overwrite:
            listing = "".join(f"\n  {line}" for line in lines)
            raise UserError(
                f"{out.uri} was made by another recipe:{listing}\n"
                "Pass --overwrite to replace it, or choose another output.root."
            )
        return
    strangers = [
        out.relative(i.path)
        for i in out.files()
        if not out.relative(i.path).startswith((".lock", "_runs/", ".tmp-"))
    ]
    if strangers:
        raise UserError(
            f"{out.uri} holds {len(strangers)} files that no extraction wrote (first: {strangers[0]}). "
            "Choose an empty or new folder as output.root."
        )


def require_current(out: Place, recipe_hash: str) -> None:
    """Raise Replaced where the data set has another recipe by now."""
    try:
        now = digest(json.loads(out.read(NAME)))
    except FileNotFoundError:  # no run, a single shard
        return
    if now != recipe_hash:
        raise Replaced(
            f"{out.uri}: another run replaced this data set with another recipe while a worker of this run was at "
            "work; it wrote nothing more."
        )
