"""The recipe of a data set: every setting that changes rows, in a file that is written before the first shard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mocap_ray.documents import Document, parse
from mocap_ray.errors import UserError
from mocap_ray.options import differences, digest
from mocap_ray.storage import Place
from mocap_ray.wording import counted

NAME = "recipe.json"
REPLACE = "Pass --overwrite to replace it, or choose another output.root."


class Replaced(UserError):
    """Another run has started to replace the data set, so a worker that outlived its own run must not write to it."""


def write(out: Place, settings: Mapping[str, Any]) -> None:
    """Publish the recipe."""
    out.write_atomic(json.dumps(settings, indent=1, sort_keys=True).encode(), NAME)


def read(out: Place) -> dict[str, Any]:
    """The recipe of a data set.

    Raises:
        FileNotFoundError: there is none.
        UserError: the file is edited or damaged.
    """
    return parse(
        out.read(NAME),
        Document,
        where=f"{out.uri}/{NAME}",
        what="the recipe of a data set",
        remedy="Copy it again, pass --overwrite to replace the data set, or choose another output.root.",
    ).others


def is_written(out: Place, settings: Mapping[str, Any]) -> bool:
    """Whether the data set has this recipe on disk, and not none, another or a damaged one."""
    try:
        return digest(read(out)) == digest(settings)
    except (FileNotFoundError, UserError):
        return False


def require_same(out: Place, settings: Mapping[str, Any], *, overwrite: bool, remedy: str = REPLACE) -> None:
    """Raise unless the output is empty or was made by the same recipe.

    Args:
        out: root of the data set.
        settings: the recipe of the run.
        overwrite: whether another recipe is allowed.
        remedy: what to do about another recipe.

    Raises:
        UserError: the data set was made by another recipe (the message lists all differences), or the folder holds
            foreign files.
    """
    if out.exists(NAME):
        lines = [] if overwrite else differences(read(out), settings)
        if lines:
            listing = "".join(f"\n  {line}" for line in lines)
            raise UserError(f"{out.uri} was made by another recipe:{listing}\n{remedy}")
        return
    foreign = [
        out.relative(i.path)
        for i in out.files()
        if not out.relative(i.path).startswith((".lock", "_runs/", ".tmp-"))
    ]
    if foreign:
        raise UserError(
            f"{out.uri} holds {counted(len(foreign), 'file')} that no extraction wrote (first: {foreign[0]}). "
            "Choose an empty or new folder as output.root."
        )


def require_current(out: Place, recipe_hash: str) -> None:
    """Raise Replaced if another run has replaced the recipe of the data set."""
    try:
        current = digest(read(out))
    except FileNotFoundError:  # a single shard, made without a run
        return
    if current != recipe_hash:
        raise Replaced(
            f"{out.uri}: while this run was working, another run started to replace the data set with another recipe. "
            "This worker stopped and wrote nothing more."
        )
