"""Bring a data set from before it could have several sources up to date, without reading its archive again.

Its rows are the same; they only lack the columns `domain` and `name`. So each file is read, extended and written
again, with its receipt; the recipe and the manifest come last. The bytes are those of a new extraction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json, to_json

from mocap_ray.dataset import schema
from mocap_ray.dataset.product import CLIPS, ClipSums, finish
from mocap_ray.dataset.recipe import RECIPE_VERSION, UPGRADABLE, of_one_source
from mocap_ray.errors import UserError
from mocap_ray.lock import lock
from mocap_ray.shards import manifest, receipts, recipe
from mocap_ray.shards.making import file_metadata
from mocap_ray.shards.receipts import Receipt
from mocap_ray.shards.recipe import SOURCES, Origin, Recipes
from mocap_ray.storage import Place

Progress = Callable[[int, int], None]


def upgrade(out: Place, *, name: str | None = None, progress: Progress | None = None) -> int | None:
    """Bring a data set up to date; a second call resumes.

    Args:
        out: root of the data set.
        name: the name of its source; default: that of its archive.
        progress: called with the number of files that are done, and of all.

    Returns:
        The number of files that were written again, or None if the data set is up to date already.

    Raises:
        UserError: no data set, or one that is too old or not finished; the message says what to do.
        Locked: another run is writing this data set.
    """
    with lock(out, what="data set"):
        try:
            values = recipe.read_values(out)
        except FileNotFoundError:
            raise UserError(f"{out.uri}: no data set. Expected one that `mocap-ray extract` wrote.") from None
        if values.get(SOURCES) is not None:
            return None
        recipes = _recipes(values, name, out)
        (origin,) = (recipes.origin(one) for one in recipes.sources)
        assert origin is not None, "it has one source"
        was_finished = out.exists(manifest.NAME)
        out.remove(manifest.NAME)
        columns = recipes.shared["columns"]
        paths = [out.relative(i.path) for i in out.files(receipts.FOLDER) if i.path.endswith(".json")]
        found, written = [], 0
        for done, path in enumerate(paths, start=1):
            receipt, changed = _upgraded(out, path, origin, columns)
            found.append(receipt)
            written += changed
            if progress is not None:
                progress(done, len(paths))
        if not was_finished:
            recipe.write(out, replace(recipes, unfinished=frozenset(recipes.sources)))
            raise UserError(
                f"{out.uri}: its files are up to date, but the run that wrote it had not finished. Run the same "
                "extract command again: finished shards are kept."
            )
        recipe.write(out, recipes)
        manifest.publish(out, found, CLIPS, ClipSums.empty(), finish, recipes=recipes)
        return written


def _recipes(values: dict[str, Any], name: str | None, out: Place) -> Recipes:
    """The recipe of the data set as it is after the upgrade. Raises UserError if its rows are other ones."""
    version = values.get("recipe_version")
    if version != UPGRADABLE:
        raise UserError(
            f"{out.uri}: made by recipe version {version}, whose rows differ from those of version {RECIPE_VERSION}. "
            "Extract it again with --overwrite."
        )
    recipes = of_one_source(values, name=name)
    return replace(recipes, shared={**recipes.shared, "recipe_version": RECIPE_VERSION})


def _upgraded(out: Place, path: str, origin: Origin, columns: list[str]) -> tuple[Receipt[ClipSums], bool]:
    """The receipt of a shard after its upgrade, and whether the file was written again."""
    values = from_json(out.read(path))
    if "recipe_hash" not in values:  # an upgrade that was stopped came as far as this
        return receipts.parsed(out.read(path), CLIPS), False
    del values["recipe_hash"]
    values |= {"source": origin.source, "shared_hash": origin.shared_hash, "source_hash": origin.source_hash}
    if values["sha256"] is not None:
        data = _with_columns(out.read(values["path"]), origin, columns)
        out.write_atomic(data, values["path"])
        values |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": data.size}
    receipt = receipts.parsed(to_json(values), CLIPS)
    receipt.write_atomic(out, CLIPS)
    return receipt, True


def _with_columns(data: bytes, origin: Origin, columns: list[str]) -> pa.Buffer:
    """A Parquet file with the columns and the metadata of this version."""
    table = pq.read_table(pa.BufferReader(data)).combine_chunks()
    table = schema.with_added(table, origin.source)
    old = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    prefix = "mocap_ray."
    metadata = {k.removeprefix(prefix): v for k, v in old.items() if k.startswith(prefix)}
    metadata.pop("recipe_hash", None)
    wanted = schema.schema(columns)
    table = table.select(wanted.names).cast(wanted)
    return schema.to_parquet(table.replace_schema_metadata(file_metadata(metadata, origin)))
