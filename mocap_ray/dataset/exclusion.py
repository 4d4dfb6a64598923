"""Take recordings out of a finished data set, or take them in again: only their shards are remade."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mocap_ray.archives.selection import matched, unmatched
from mocap_ray.dataset.build import load_sources, make_product, need_bodies, prepare
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.dataset.product import CLIPS, ClipBuild
from mocap_ray.errors import UserError
from mocap_ray.shards import exclusions, manifest, receipts, recipe
from mocap_ray.shards.build import Earlier, earlier, inputs_to_remake, plan_exclusion
from mocap_ray.shards.exclusions import LONGEST, Exclusions
from mocap_ray.shards.receipts import InputListing
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted, listed

_CLIP = re.compile(r"@\d+(~M)?$")
"""The end of a `clip_id`, which is the name of its recording before that."""
_OTHER = (
    "Its shards can only be remade with the settings that made them: name these with --config and --override."
)


@dataclass(frozen=True, slots=True)
class Change:
    """What to take out of a data set, or in again.

    Attributes:
        patterns: names of recordings or folders, or globs on them (`archives.selection`); a clip's id means its
            recording.
        reason: why they are taken out; None takes them in again.
    """

    patterns: tuple[str, ...]
    reason: str | None = None

    def applied(self, held: Mapping[str, InputListing], excluded: Exclusions, out: Place) -> dict[str, str]:
        """The exclusions after this change.

        Args:
            held: the recordings of the data set, by name.
            excluded: the exclusions before.
            out: root of the data set, for messages.

        Raises:
            UserError: a pattern means no recording of the data set, nothing would be left, or the reason is empty or
                too long.
        """
        patterns = [_CLIP.sub("", pattern) for pattern in self.patterns]
        # An excluded recording that an extraction dropped with --prune has no listing any more.
        known = {name: InputListing(source=name, name=name, size=0, fingerprint="") for name in excluded}
        known |= held
        if lost := unmatched(list(known.values()), patterns):
            raise UserError(
                f"{out.uri}: it holds no recording {listed([repr(p) for p in lost], most=3)}. Expected names or "
                f"folders such as {next(iter(known), 'CMU/01')!r}, or globs on them."
            )
        meant = {r.name for r in matched(known.values(), patterns)}
        if self.reason is None:
            return {name: text for name, text in excluded.items() if name not in meant}
        text = " ".join(self.reason.split())
        if not 0 < len(text) <= LONGEST:
            raise UserError(
                f"--reason: {counted(len(text), 'character')}. Expected a sentence of at most {LONGEST:,} characters."
            )
        changed = {**excluded, **dict.fromkeys(sorted(meant), text)}
        if held.keys() <= changed.keys():
            raise UserError(
                f"{out.uri}: that would exclude all of its {counted(len(held), 'recording')}. Delete the folder "
                "instead, or exclude fewer."
            )
        return changed

    def sources(self, out: Place) -> list[str]:
        """The sources that it changes, or that are to be finished; empty if there is nothing to do.

        Raises:
            UserError: as `applied`, or `out` is not a data set.
        """
        try:
            recipes = recipe.read(out)
        except FileNotFoundError:
            raise UserError(f"{out.uri}: no data set. Expected one that `mocap-ray extract` wrote.") from None
        found = list(receipts.read_all(out, CLIPS).values())
        excluded, held = exclusions.read(out), {i.name: i for r in found for i in r.inputs}
        changed = self.applied(held, excluded, out)
        by_name = {n: [r for r in found if r.origin == recipes.origin(n)] for n in recipes.sources}
        needed = [
            name for name, mine in by_name.items() if not all(exclusions.respected(r, changed) for r in mine)
        ]
        all_finished = manifest.is_finished(
            out, [r for n in recipes.finished.sources for r in by_name[n]], CLIPS
        )
        if not needed and (changed != excluded or not all_finished):
            return sorted(recipes.unfinished or by_name)[:1]
        return needed

    def of_source(self, old: Earlier[Any], excluded: Exclusions, out: Place) -> dict[str, str]:
        """The exclusions after this change of one source; those of the other sources stay as they are.

        Args:
            old: what earlier runs made, for the source.
            excluded: the exclusions before.
            out: root of the data set.

        Raises:
            UserError: as `applied`.
        """
        others = {i.name: i for r in old.others.values() for i in r.inputs}
        changed = self.applied({**others, **old.inputs()}, excluded, out)
        elsewhere = {name: text for name, text in excluded.items() if name in others}
        return {**{name: text for name, text in changed.items() if name not in others}, **elsewhere}


def prepare_change(
    source: SourceOptions,
    body: BodyOptions,
    motion: MotionOptions,
    output: OutputOptions,
    change: Change,
    *,
    lists: Mapping[str, Any] | None = None,
    gpus: float = 0.0,
) -> ClipBuild:
    """Plan a change of one source. A source that is not finished is finished as well, as an extraction would.

    Args:
        source, body, motion, output: sections of the config that made the source.
        change: what to take out or in.
        lists, gpus: see `build.prepare`.

    Raises:
        UserError: the archive, its recordings or the body models are not where they were, or the config is not that of
            the data set. Nothing was changed.
    """
    out = place(output.root)
    found = load_sources(source, body, motion, output, lists=lists)
    recipe.require_same(out, found.recipe, overwrite=False, remedy=_OTHER)
    old = earlier(out, CLIPS, found.recipe)
    before = exclusions.read(out)
    excluded = change.of_source(old, before, out)
    if not manifest.is_finished(out, [*old.own.values(), *old.finished.values()], CLIPS):
        return prepare(source, body, motion, output, lists=lists, gpus=gpus, excluded=excluded)
    needed = {i.name for i in inputs_to_remake(old.own.values(), excluded)}
    others = {r.name for r in found.listed if r.name not in needed}
    product, recordings, _ = make_product(
        found, body, motion, output, fps=source.fps, gpus=gpus, left_out=others
    )
    inputs = {r.name: r for r in recordings if r.name in needed}
    if missing := sorted(needed - inputs.keys()):
        raise UserError(
            f"{place(source.root).uri} no longer lists {counted(len(missing), 'recording')} of the shards to remake "
            f"(first: {missing[0]})."
        )
    need_bodies(list(inputs.values()), product.plan)
    return plan_exclusion(
        product,
        inputs,
        old,
        out=out,
        run=found.recipe,
        excluded=excluded,
        notes=[_summary(before, excluded)],
    )


def _summary(before: Exclusions, after: Exclusions) -> str:
    """What a change does, in a sentence."""
    out, back = after.keys() - before.keys(), before.keys() - after.keys()
    parts = [f"{counted(len(out), 'recording')} taken out"] * bool(out)
    parts += [f"{counted(len(back), 'recording')} taken in again"] * bool(back)
    return f"{listed(parts)}; {counted(len(after), 'recording')} excluded in all."
