"""Caveats about the figures of an evaluation, most serious first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from pydantic import JsonValue
from torch import Tensor

from mocap_ray.errors import UserError
from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.degeneracy import grouped
from mocap_ray.priors.forms import parts_of
from mocap_ray.priors.judging.common_axes import still_axes
from mocap_ray.priors.judging.judgement import Judgement
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.wording import counted, listed


def notes_of(
    judgements: Mapping[str, Judgement],
    abouts: Sequence[Mapping[str, JsonValue]],
    *,
    coordinates: Sequence[Coordinates],
    held_out: Float[Tensor, "N 55 3"],
    still: Mapping[str, str],
    common: Sequence[int],
    manifest: str,
    own_poses: Sequence[bool],
    split: str,
) -> list[str]:
    """All notes that apply.

    Args:
        judgements: name -> figures of each prior.
        abouts: the descriptions of the priors, in this order, and so for the arguments below.
        coordinates: the axes of each prior.
        held_out: all held-out poses.
        still: axes that these hold still -> reason.
        common: joints whose NLL was computed for all priors.
        manifest: hash of the data set.
        own_poses: whether the training poses are those of the prior's own data set.
        split: name of the held-out split.
    """
    others = [name for name, a in zip(judgements, abouts, strict=True) if a.get("manifest_hash") != manifest]
    moving = {
        name: found
        for name, c in zip(judgements, coordinates, strict=True)
        if name in others and (found := left_out_axes(c, held_out))
    }
    notes = [
        *_unbounded(judgements),
        *_axes(judgements, still, common),
        *_bounds(judgements, len(held_out)),
    ]
    if moving:
        texts = "; ".join(f"{name}: {', '.join(axes)}" for name, axes in moving.items())
        notes.append(
            "The held-out poses move axes that a prior leaves out, because its training poses held them still or at "
            f"one value. No NLL counts these axes ({texts})."
        )
    if others:
        strange = [n for n, own in zip(judgements, own_poses, strict=True) if n in others and not own]
        notes.append(
            f"Trained on another data set, or on another version of it: {', '.join(others)}. Subjects of this split "
            "may have been in the training data."
            + (
                f" The training poses of {listed(strange)} are not where they were: those of this data set stand in "
                "for them, also for the baselines."
                if strange
                else ""
            )
        )
    chosen = [n for n, a in zip(judgements, abouts, strict=True) if trained_on(a).get("val") == split]
    if chosen:
        notes.append(
            f"The split {split} chose the best epoch of {', '.join(chosen)}, so its figures are slightly optimistic."
        )
    return [*notes, *_broken(judgements)]


def trained_on(about: Mapping[str, JsonValue]) -> dict[str, str]:
    """The string values of the `data` section in the description of a prior; empty if it has no such section."""
    config = about.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}


def modelled_parts(abouts: Sequence[Mapping[str, JsonValue]]) -> tuple[str, ...] | None:
    """The parts of a pose that these priors model together; None, all of them, if one does not say."""
    found: dict[str, None] = {}
    for about in abouts:
        config = about.get("config")
        data = config.get("data") if isinstance(config, dict) else None
        joints = data.get("joints") if isinstance(data, dict) else None
        if not isinstance(joints, str | list):
            return None
        try:
            found |= dict.fromkeys(parts_of(joints if isinstance(joints, str) else [str(j) for j in joints]))  # type: ignore[arg-type]
        except UserError:
            return None
    return tuple(found)


def left_out_axes(coordinates: Coordinates, poses: Float[Tensor, "N 55 3"]) -> list[str]:
    """Axes that a prior leaves out although they vary in the poses, joined to joints where all three do.

    Axes that follow from others of their joint are not counted: they move in the training poses too.
    """
    excluded = [axis for axis, reason in coordinates.degenerate.items() if not reason.startswith("follows")]
    index = sorted(3 * SMPLX_JOINTS.index(a.partition(".")[0]) + "xyz".index(a[-1]) for a in excluded)
    still = still_axes(poses, index)
    return grouped({a: "moves" for a in excluded if a not in still}).get("moves", [])


def _unbounded(judgements: Mapping[str, Judgement]) -> list[str]:
    found = {joint: reason for j in judgements.values() for joint, reason in j.unbounded.items()}
    if not found:
        return []
    texts = "; ".join(f"{joint.replace('_', ' ')}: {reason}" for joint, reason in found.items())
    return [
        "The likelihood is unbounded on some joints, so NLLs of flows mean little here. "
        f"{texts}. Train without them (data.joints with a list of names) to compare NLLs."
    ]


def _axes(judgements: Mapping[str, Judgement], still: Mapping[str, str], common: Sequence[int]) -> list[str]:
    notes = []
    if still:
        texts = "; ".join(f"{', '.join(axes)}: {reason}" for reason, axes in grouped(still).items())
        notes.append(
            f"The held-out poses hold {counted(len(still), 'axis', 'axes')} still that a prior models, or at one exact "
            f"value in many poses ({texts}). The NLL over all axes counts them; the NLL over the common joints does "
            "not."
        )
    if len({j.index for j in judgements.values()}) > 1:
        texts = ", ".join(f"{name} {j.likelihood.active}" for name, j in judgements.items())
        where = (
            f"The NLL over the {counted(len(common), 'common joint')} is. "
            if common
            else "They have no joint with the same axes. "
        )
        notes.append(
            f"The priors are densities over different axes ({texts}), so their NLLs and averages over joints are "
            f"not comparable. {where}To compare all figures, train them with the same data.joints."
        )
    return notes


def _bounds(judgements: Mapping[str, Judgement], count: int) -> list[str]:
    notes = []
    first = next(iter(judgements.values()))
    samples = counted(first.options.importance, "importance sample")
    if any(j.likelihood.bound for j in judgements.values()):
        notes.append(
            f"The NLL of a VAE is an upper bound, from {samples} per pose; its energy, used for all other figures, "
            "is the ELBO with one sample."
        )
    loose = {name: j.common for name, j in judgements.items() if j.common is not None and j.common.bound}
    if loose:
        poses = counted(min(c.poses for c in loose.values()), "pose")
        notes.append(
            f"The NLL of {listed(list(loose))} over the common joints is an upper bound, from {samples} of the other "
            f"joints for each of {poses}. It may be looser the more joints are left out."
        )
    seen = {
        name: j.likelihood.tail.poses for name, j in judgements.items() if j.likelihood.tail.poses < count
    }
    if seen:
        texts = ", ".join(f"{name} {number:,}" for name, number in seen.items())
        poses = counted(count, "held-out pose")
        notes.append(f"NLLs, and the worst pose, are of some of the {poses}, drawn at random ({texts}).")
    return notes


def _broken(judgements: Mapping[str, Judgement]) -> list[str]:
    each = judgements.items()
    kinds = {
        "Samples with non-finite values, excluded from all figures": {n: j.samples.broken for n, j in each},
        "Held-out poses without a finite NLL": {n: j.likelihood.tail.broken for n, j in each},
        "Points without a finite energy or gradient on the way to random rotations": {
            n: j.geodesics.broken for n, j in each
        },
    }
    return [
        f"{text}: {', '.join(f'{name} {k}' for name, k in counts.items() if k)}."
        for text, counts in kinds.items()
        if any(counts.values())
    ]
