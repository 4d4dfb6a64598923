"""The plan of a run, made before any work: what to make, what is finished, what is superseded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from mocap_ray.options import digest
from mocap_ray.shards import manifest, receipts, recipe
from mocap_ray.shards.cutting import Group, InputT, Shard, cut
from mocap_ray.shards.layout import Layout, SumsT
from mocap_ray.shards.making import Job
from mocap_ray.shards.product import ItemT, Product
from mocap_ray.shards.receipts import InputListing, Receipt
from mocap_ray.storage import Place
from mocap_ray.version import __version__


@dataclass(frozen=True, slots=True)
class Build(Generic[InputT, ItemT, SumsT]):
    """The plan of a run, before the first input is processed.

    Attributes:
        product: what is made from the inputs.
        out: root of the data set.
        recipe, recipe_hash: the settings that change rows.
        shards: of the finished data set.
        done: valid receipts of these shards, by shard name.
        superseded: paths of files that are not part of the finished data set.
        manifest: the manifest of an earlier run of this recipe; None if there is none, or a damaged one.
        notes: sentences about what is left out, to be printed.
    """

    product: Product[InputT, ItemT, SumsT]
    out: Place
    recipe: dict[str, Any]
    recipe_hash: str
    shards: tuple[Shard[InputT], ...]
    done: dict[str, Receipt[SumsT]]
    superseded: tuple[str, ...]
    manifest: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.manifest is not None and len(self.done) == len(self.shards) and not self.superseded

    @property
    def todo(self) -> list[Shard[InputT]]:
        """Shards without a valid receipt, the largest first, so that no worker finishes long after the others."""
        return sorted((s for s in self.shards if s.name not in self.done), key=lambda s: (-s.size, s.name))

    def job(self, *, strict: bool = False) -> Job[InputT, ItemT, SumsT]:
        """What the workers need to make these shards."""
        metadata = {
            "schema_version": str(self.product.layout.schema_version),
            "package_version": __version__,
            **self.product.metadata(),
        }
        return Job(self.product, self.out, self.recipe_hash, metadata, strict)


def earlier(out: Place, layout: Layout[SumsT], *, recipe_hash: str) -> dict[str, Receipt[SumsT]]:
    """Receipts of an earlier run of the same recipe.

    With --overwrite, receipts of another recipe are ignored, but a killed run of this recipe is resumed.
    """
    return {n: r for n, r in receipts.read_all(out, layout).items() if r.recipe_hash == recipe_hash}


def plan_run(
    product: Product[InputT, ItemT, SumsT],
    inputs: Iterable[InputT],
    groups: Mapping[str, Group],
    *,
    out: Place,
    settings: dict[str, Any],
    target: int,
    old: Mapping[str, Receipt[SumsT]] | None = None,
    overwrite: bool = False,
    notes: Sequence[str] = (),
) -> Build[InputT, ItemT, SumsT]:
    """Cut the inputs into shards and compare these with the output. Nothing is changed.

    Args:
        product: what to make.
        inputs: all inputs of the finished data set.
        groups: input name -> group; inputs that are not listed are left out.
        out: root of the data set.
        settings: the recipe, as plain values.
        target: target size of a shard, in source bytes.
        old: the result of `earlier`, if the caller has it already.
        overwrite: whether to replace a data set made by another recipe.
        notes: sentences about what is left out.

    Raises:
        UserError: the output was made by another recipe, or holds foreign files.
    """
    recipe.require_same(out, settings, overwrite=overwrite)
    recipe_hash = digest(settings)
    shards = cut(inputs, groups, layout=product.layout, target=target)
    if old is None:
        old = earlier(out, product.layout, recipe_hash=recipe_hash)
    done = _valid(shards, old, out)
    superseded = _superseded(shards, out, folder=product.layout.folder)
    return Build(
        product=product,
        out=out,
        recipe=settings,
        recipe_hash=recipe_hash,
        shards=tuple(shards),
        done=done,
        superseded=superseded,
        manifest=manifest.read(out, product.layout) if recipe.is_written(out, settings) else None,
        notes=tuple(notes),
    )


def _valid(
    shards: Sequence[Shard[InputT]], old: Mapping[str, Receipt[SumsT]], out: Place
) -> dict[str, Receipt[SumsT]]:
    """Receipts of these shards whose inputs are unchanged and whose file exists with the expected size."""
    folders = {s.folder for s in shards}
    sizes = {out.relative(i.path): i.size for folder in folders for i in out.files(folder)}
    valid = {}
    for shard in shards:
        receipt = old.get(shard.name)
        if (
            receipt is not None
            and (receipt.path, receipt.group) == (shard.path, shard.group)
            and receipt.inputs == tuple(InputListing.of(i) for i in shard.inputs)
            and (receipt.sha256 is None or sizes.get(receipt.path) == receipt.bytes)
        ):
            valid[shard.name] = receipt
    return valid


def _superseded(shards: Sequence[Shard[Any]], out: Place, *, folder: str) -> tuple[str, ...]:
    """Files of shards that are not part of the finished data set, and partial files of a killed run."""
    keep = {s.path for s in shards} | {f"{receipts.FOLDER}/{s.name}.json" for s in shards}
    found = [out.relative(i.path) for place in (folder, receipts.FOLDER) for i in out.files(place)]
    return tuple(p for p in found if p not in keep)
