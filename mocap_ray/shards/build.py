"""The plan of a run, made before any work: what to make, what is finished, what is superseded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

from mocap_ray.options import digest
from mocap_ray.shards import exclusions, manifest, receipts, recipe
from mocap_ray.shards.cutting import Group, InputT, Shard, cut
from mocap_ray.shards.exclusions import Exclusions
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
        excluded: inputs that the finished data set leaves out -> why.
        listed: whether the data set lists exactly these exclusions already.
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
    excluded: Exclusions
    listed: bool
    manifest: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        finished = len(self.done) == len(self.shards) and not self.superseded and self.listed
        return finished and self.manifest is not None

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
        return Job(self.product, self.out, self.recipe_hash, metadata, self.excluded, strict)


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
    excluded: Exclusions | None = None,
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
        excluded: inputs to leave out -> why; default: those that the data set excludes already.
        overwrite: whether to replace a data set made by another recipe.
        notes: sentences about what is left out.

    Raises:
        UserError: the output was made by another recipe, or holds foreign files.
    """
    recipe.require_same(out, settings, overwrite=overwrite)
    if old is None:
        old = earlier(out, product.layout, recipe_hash=digest(settings))
    shards = cut(inputs, groups, layout=product.layout, target=target)
    return _compared(shards, old, product, out, settings, excluded, notes)


def plan_exclusion(
    product: Product[InputT, ItemT, SumsT],
    inputs: Mapping[str, InputT],
    old: Mapping[str, Receipt[SumsT]],
    *,
    out: Place,
    settings: dict[str, Any],
    excluded: Exclusions,
    notes: Sequence[str] = (),
) -> Build[InputT, ItemT, SumsT]:
    """Plan to remake those shards of a finished data set whose exclusions change. Nothing is changed.

    All other shards stay as they are, whatever has become of their inputs.

    Args:
        product: what to make.
        inputs: the inputs of the shards to remake, by name (`inputs_to_remake`).
        old: the receipts of all shards (`earlier`).
        out: root of the data set.
        settings: its recipe, as plain values.
        excluded: inputs to leave out -> why.
        notes: sentences for the user.
    """
    layout = product.layout
    shards = [
        Shard(layout.folder, layout.keys, r.group, tuple(inputs.get(i.name, i) for i in r.inputs))
        for r in sorted(old.values(), key=lambda r: r.path)
    ]
    # An excluded input is only named, never read, so that its listing in the receipt is enough.
    return _compared(cast("list[Shard[InputT]]", shards), old, product, out, settings, excluded, notes)


def inputs_to_remake(receipts: Iterable[Receipt[Any]], excluded: Exclusions) -> list[InputListing]:
    """The inputs to read again after a change of the exclusions: those that stay in the shards that it changes."""
    changed = (r for r in receipts if not exclusions.respected(r, excluded))
    return [i for r in changed for i in r.inputs if i.name not in excluded]


def _compared(
    shards: Sequence[Shard[InputT]],
    old: Mapping[str, Receipt[SumsT]],
    product: Product[InputT, ItemT, SumsT],
    out: Place,
    settings: dict[str, Any],
    excluded: Exclusions | None,
    notes: Sequence[str],
) -> Build[InputT, ItemT, SumsT]:
    """The plan that makes these shards from what is there."""
    current = exclusions.read(out)
    excluded = current if excluded is None else excluded
    done = _valid(shards, old, out, excluded)
    superseded = _superseded(shards, out, folder=product.layout.folder)
    return Build(
        product=product,
        out=out,
        recipe=settings,
        recipe_hash=digest(settings),
        shards=tuple(shards),
        done=done,
        superseded=superseded,
        excluded=dict(excluded),
        listed=excluded == current,
        manifest=manifest.read(out, product.layout) if recipe.is_written(out, settings) else None,
        notes=tuple(notes),
    )


def _valid(
    shards: Sequence[Shard[InputT]], old: Mapping[str, Receipt[SumsT]], out: Place, excluded: Exclusions
) -> dict[str, Receipt[SumsT]]:
    """Receipts of these shards whose inputs and exclusions are unchanged and whose file exists with its size."""
    folders = {s.folder for s in shards}
    sizes = {out.relative(i.path): i.size for folder in folders for i in out.files(folder)}
    valid = {}
    for shard in shards:
        receipt = old.get(shard.name)
        if (
            receipt is not None
            and (receipt.path, receipt.group) == (shard.path, shard.group)
            and receipt.inputs == tuple(InputListing.of(i) for i in shard.inputs)
            and exclusions.respected(receipt, excluded)
            and (receipt.sha256 is None or sizes.get(receipt.path) == receipt.bytes)
        ):
            valid[shard.name] = receipt
    return valid


def _superseded(shards: Sequence[Shard[Any]], out: Place, *, folder: str) -> tuple[str, ...]:
    """Files of shards that are not part of the finished data set, and partial files of a killed run."""
    keep = {s.path for s in shards} | {f"{receipts.FOLDER}/{s.name}.json" for s in shards}
    found = [out.relative(i.path) for place in (folder, receipts.FOLDER) for i in out.files(place)]
    return tuple(p for p in found if p not in keep)
