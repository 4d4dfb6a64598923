"""Inputs that are left out of a data set for good, by name, with the reason: the file `excluded.json`.

The list belongs to the data set and not to its recipe: every later run respects it, also one with another recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from mocap_ray.documents import Document, parse
from mocap_ray.shards.layout import EXCLUDED, Input
from mocap_ray.shards.receipts import Receipt
from mocap_ray.storage import Place

NAME = "excluded.json"
LONGEST = 1000
"""Characters of a reason."""

Exclusions = Mapping[str, str]
"""Name of an input -> why it is excluded."""


class _File(Document):
    """The content of the file."""

    version: Literal[1] = 1
    excluded: dict[
        Annotated[str, Field(min_length=1, max_length=4096)],
        Annotated[str, Field(min_length=1, max_length=LONGEST)],
    ]


def read(out: Place) -> dict[str, str]:
    """The exclusions of a data set; empty without the file.

    Raises:
        UserError: the file is damaged, or of a newer version.
    """
    try:
        data = out.read(NAME)
    except FileNotFoundError:
        return {}
    return parse(
        data,
        _File,
        where=f"{out.uri}/{NAME}",
        what="a list of exclusions",
        remedy="Restore the file, or remove it and exclude again what it listed.",
    ).excluded


def write(out: Place, exclusions: Exclusions) -> None:
    """Publish the exclusions; without any, there is no file."""
    if exclusions:
        values = _File(excluded=dict(exclusions)).model_dump()
        out.write_atomic(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False).encode(), NAME)
    else:
        out.remove(NAME)


def among(inputs: Iterable[Input], exclusions: Exclusions) -> dict[str, str]:
    """The exclusions of these inputs."""
    return {i.name: exclusions[i.name] for i in inputs if i.name in exclusions}


def respected(receipt: Receipt[Any], exclusions: Exclusions) -> bool:
    """Whether a finished shard leaves out exactly those of its inputs that are excluded, for the same reasons."""
    left_out = {r.name: r.detail for r in receipt.rejections if r.reason == EXCLUDED}
    return left_out == among(receipt.inputs, exclusions)
