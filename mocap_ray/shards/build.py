"""The plan of a run, made before any work: what to make, what is finished, what is superseded."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, cast

from mocap_ray.errors import UserError
from mocap_ray.shards import exclusions, manifest, receipts, recipe
from mocap_ray.shards.cutting import Group, InputT, Shard, cut
from mocap_ray.shards.exclusions import Exclusions
from mocap_ray.shards.layout import Layout, SumsT
from mocap_ray.shards.making import Job
from mocap_ray.shards.product import ItemT, Product
from mocap_ray.shards.receipts import InputListing, Receipt
from mocap_ray.shards.recipe import Recipe, Recipes
from mocap_ray.storage import Place
from mocap_ray.version import __version__
from mocap_ray.wording import listed


@dataclass(frozen=True, slots=True)
class Build(Generic[InputT, ItemT, SumsT]):
    """The plan of a run, before the first input is processed.

    Attributes:
        product: what is made from the inputs.
        out: root of the data set.
        recipe: the settings that change rows: those of the source that the run makes, and the shared ones.
        shards: of the finished source.
        done: valid receipts of these shards, by shard name.
        superseded: paths of files that are not part of the finished data set; those of other sources are.
        excluded: inputs that the finished data set leaves out -> why.
        listed: whether the data set lists exactly these exclusions already.
        manifest: the manifest of an earlier run, with this source; None if there is none, or a damaged one.
        notes: sentences about what is left out, to be printed.
    """

    product: Product[InputT, ItemT, SumsT]
    out: Place
    recipe: Recipe
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
        return Job(self.product, self.out, self.recipe.origin, metadata, self.excluded, strict)


@dataclass(frozen=True, slots=True)
class Earlier(Generic[SumsT]):
    """The shards that earlier runs made.

    Attributes:
        own: receipts of the source that the run makes, made by the same recipe.
        others: receipts of the other sources of the data set.
        unfinished: other sources whose run has not finished.
        dropped: other sources that the run removes, because it shares its settings no longer with them.
    """

    own: Mapping[str, Receipt[SumsT]]
    others: Mapping[str, Receipt[SumsT]]
    unfinished: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def finished(self) -> dict[str, Receipt[SumsT]]:
        """Receipts of the other sources whose run has finished."""
        return {n: r for n, r in self.others.items() if r.origin.source not in self.unfinished}

    def inputs(self) -> dict[str, InputListing]:
        """The inputs of the source that the run makes, by name."""
        return {i.name: i for receipt in self.own.values() for i in receipt.inputs}


def earlier(out: Place, layout: Layout[SumsT], run: Recipe) -> Earlier[SumsT]:
    """What earlier runs made in the data set.

    With --overwrite, receipts of another recipe are ignored, but a killed run of this recipe is resumed.
    """
    found = recipe.current(out)
    receipts_of_all = receipts.read_all(out, layout)
    own = {n: r for n, r in receipts_of_all.items() if r.origin == run.origin}
    if found is None:
        return Earlier(own, {})
    others = tuple(sorted(found.sources.keys() - {run.name}))
    if not found.shares(run):
        return Earlier(own, {}, dropped=others)
    unfinished = tuple(name for name in others if name in found.unfinished)
    return Earlier(own, of_others(receipts_of_all, found, run), unfinished)


def of_others(
    found: Mapping[str, Receipt[SumsT]], recipes: Recipes, run: Recipe
) -> dict[str, Receipt[SumsT]]:
    """The receipts of the other sources of a data set, made by the recipe that it has now."""
    origins = {recipes.origin(name) for name in recipes.sources if name != run.name}
    return {name: r for name, r in found.items() if r.origin in origins}


def plan_run(
    product: Product[InputT, ItemT, SumsT],
    inputs: Iterable[InputT],
    groups: Mapping[str, Group],
    *,
    out: Place,
    run: Recipe,
    target: int,
    old: Earlier[SumsT] | None = None,
    excluded: Exclusions | None = None,
    overwrite: bool = False,
    notes: Sequence[str] = (),
) -> Build[InputT, ItemT, SumsT]:
    """Cut the inputs into shards and compare these with the output. Nothing is changed.

    Args:
        product: what to make.
        inputs: all inputs of the finished source.
        groups: input name -> group; inputs that are not listed are left out.
        out: root of the data set.
        run: the recipe.
        target: target size of a shard, in source bytes.
        old: the result of `earlier`, if the caller has it already.
        excluded: inputs to leave out -> why; default: those that the data set excludes already.
        overwrite: whether to replace a data set made by another recipe.
        notes: sentences about what is left out.

    Raises:
        UserError: the output was made by another recipe, or holds foreign files, or another source has an input of
            the same name.
    """
    recipe.require_same(out, run, overwrite=overwrite)
    if old is None:
        old = earlier(out, product.layout, run)
    shards = cut(inputs, groups, layout=product.layout, target=target)
    _require_new_names(shards, old, product.layout, run, out)
    return _compared(shards, old, product, out, run, excluded, [*notes, *_on_others(old, out)])


def _require_new_names(
    shards: Sequence[Shard[Any]], old: Earlier[Any], layout: Layout[Any], run: Recipe, out: Place
) -> None:
    """Raise UserError if another source of the data set has an input of the same name: rows are named after it."""
    taken = {i.name: r.origin.source for r in old.others.values() for i in r.inputs}
    twice = sorted(i.name for s in shards for i in s.inputs if i.name in taken)
    if not twice:
        return
    words, other = layout.words, taken[twice[0]]
    noun = words.input if len(twice) == 1 else words.inputs
    raise UserError(
        f"{out.uri}: {len(twice):,} {noun} of the source {run.name} {'has' if len(twice) == 1 else 'have'} the name of "
        f"one of the source {other} (first: {twice[0]}), and names are unique in a data set.\n"
        f"If both are the same, leave them out here: --exclude {shlex.quote(twice[0])} (also folders and globs)\n"
        "If they are different, and source.root is one sub-dataset, name it: --override source.dataset=NAME\n"
        f"If this run is to update the source {other}: --override "
        f"{shlex.quote(f'source.name={other}')}"
    )


def _on_others(old: Earlier[Any], out: Place) -> list[str]:
    """Notes on the other sources of the data set."""
    found = [
        f"The source {name} of {out.uri} is unfinished, and left out until the command that extracts it is run again."
        for name in old.unfinished
    ]
    if old.dropped:
        found.append(
            f"Removed from {out.uri}, because the shared settings change: {listed(old.dropped)}. Extract "
            f"{'it' if len(old.dropped) == 1 else 'them'} again."
        )
    return found


def plan_exclusion(
    product: Product[InputT, ItemT, SumsT],
    inputs: Mapping[str, InputT],
    old: Earlier[SumsT],
    *,
    out: Place,
    run: Recipe,
    excluded: Exclusions,
    notes: Sequence[str] = (),
) -> Build[InputT, ItemT, SumsT]:
    """Plan to remake those shards of a finished data set whose exclusions change. Nothing is changed.

    All other shards stay as they are, whatever has become of their inputs.

    Args:
        product: what to make.
        inputs: the inputs of the shards to remake, by name (`inputs_to_remake`).
        old: the result of `earlier`.
        out: root of the data set.
        run: the recipe of the source.
        excluded: inputs to leave out -> why.
        notes: sentences for the user.
    """
    layout = product.layout
    shards = [
        Shard(layout.folder, layout.keys, r.group, tuple(inputs.get(i.name, i) for i in r.inputs))
        for r in sorted(old.own.values(), key=lambda r: r.path)
    ]
    # An excluded input is only named, never read, so that its listing in the receipt is enough.
    return _compared(cast("list[Shard[InputT]]", shards), old, product, out, run, excluded, notes)


def inputs_to_remake(receipts: Iterable[Receipt[Any]], excluded: Exclusions) -> list[InputListing]:
    """The inputs to read again after a change of the exclusions: those that stay in the shards that it changes."""
    changed = (r for r in receipts if not exclusions.respected(r, excluded))
    return [i for r in changed for i in r.inputs if i.name not in excluded]


def _compared(
    shards: Sequence[Shard[InputT]],
    old: Earlier[SumsT],
    product: Product[InputT, ItemT, SumsT],
    out: Place,
    run: Recipe,
    excluded: Exclusions | None,
    notes: Sequence[str],
) -> Build[InputT, ItemT, SumsT]:
    """The plan that makes these shards from what is there."""
    current = exclusions.read(out)
    excluded = current if excluded is None else excluded
    done = _valid(shards, old.own, out, excluded)
    superseded = _superseded(shards, old.others.values(), out, folder=product.layout.folder)
    return Build(
        product=product,
        out=out,
        recipe=run,
        shards=tuple(shards),
        done=done,
        superseded=superseded,
        excluded=dict(excluded),
        listed=excluded == current,
        manifest=manifest.read(out, product.layout) if recipe.is_finished(out, run) else None,
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


def _superseded(
    shards: Sequence[Shard[Any]], others: Iterable[Receipt[Any]], out: Place, *, folder: str
) -> tuple[str, ...]:
    """Files of shards that are not part of the finished data set, and partial files of a killed run."""
    shards_and_names = [(s.path, s.name) for s in shards] + [(r.path, r.shard) for r in others]
    keep = {p for path, name in shards_and_names for p in (path, f"{receipts.FOLDER}/{name}.json")}
    found = [out.relative(i.path) for place in (folder, receipts.FOLDER) for i in out.files(place)]
    return tuple(p for p in found if p not in keep)
