"""The conditions that a training sample is shown: drawn at random from its window, and kept at random."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mocap_ray.generation.batch import Windows
from mocap_ray.generation.conditions import NAMES, Conditions
from mocap_ray.generation.flow_facts import ClipTable
from mocap_ray.generation.flow_options import ConditionRates
from mocap_ray.generation.keypoints import VIEWS, random_views
from mocap_ray.motion.features import decode_torch

SINGLE = 0.1
"""Share of the frames that are known where single frames are given."""


def shown(windows: Windows, clips: ClipTable, rates: ConditionRates) -> Conditions:
    """All conditions of windows that have a rate: labels, and random parts of the motion itself.

    Args:
        windows: of the training.
        clips: actions and captions of their clips.
        rates: conditions with rate 0 are left out.
    """
    views = VIEWS if rates.keypoints else 0
    given = Conditions.none(windows.length, frames=windows.features.shape[1], views=views)
    given = replace(
        given,
        length_known=torch.ones_like(given.length_known),
        domain=windows.domain + 1,
        style=windows.style,
        frames=windows.features,
        frames_known=random_frames(windows.mask, windows.length),
    )
    given = _of_clips(given, windows.clip, clips)
    if rates.path or rates.keypoints:
        joints = decode_torch(windows.features.float())
        given = replace(given, path=joints[:, :, 0, [0, 2]], path_known=random_places(windows.mask))
        if views:
            at = (
                torch.rand(len(windows), views, device=windows.length.device) * windows.length[:, None]
            ).long()
            seen = joints.gather(1, at[..., None, None].expand(-1, -1, 22, 3))
            given = replace(given, keypoints=random_views(seen), keypoints_at=at)
    return given


def kept_at_random(
    rates: ConditionRates, count: int, unconditional: float, device: torch.device
) -> dict[str, Bool[Tensor, "B"]]:
    """Which windows keep each condition: each at its own rate, and a share of the windows none.

    Args:
        rates: of the conditions.
        count: number of windows, B.
        unconditional: share of the windows without any condition.
        device: of the result.
    """
    some = torch.rand(count, device=device) >= unconditional
    drawn = torch.rand(len(NAMES), count, device=device)
    return {name: some & (drawn[k] < getattr(rates, name)) for k, name in enumerate(NAMES)}


def random_frames(mask: Bool[Tensor, "B T"], length: Int[Tensor, "B"]) -> Bool[Tensor, "B T"]:
    """Given frames of each window: a beginning, a beginning and an end, or single frames, a third of each.

    A beginning has up to half of the frames, an end up to a quarter.
    """
    B, T = mask.shape
    kind, first, last = torch.rand(3, B, 1, device=mask.device)
    single = torch.rand(B, T, device=mask.device) < SINGLE
    at = torch.arange(T, device=mask.device)
    frames = length[:, None]
    begin, end = at < (0.5 * first * frames).ceil(), at >= frames - (0.25 * last * frames).ceil()
    known = torch.where(kind < 1 / 3, begin, torch.where(kind < 2 / 3, begin | end, single))
    return known & mask


def random_places(mask: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The frames whose place is known: all of a window, or single ones."""
    whole = torch.rand(len(mask), 1, device=mask.device) < 0.5
    single = torch.rand(mask.shape, device=mask.device) < SINGLE
    return (whole | single) & mask


def _of_clips(given: Conditions, clip: Int[Tensor, "B"], clips: ClipTable) -> Conditions:
    """The conditions with the action and a random caption of the clip of each window."""
    if not len(clips.action):
        return given
    given = replace(given, action=clips.action[clip])
    if not len(clips.text):
        return given
    count = clips.count[clip]
    drawn = (torch.rand(len(clip), device=clip.device) * count).long()
    at = (clips.first[clip] + drawn).clamp_max(len(clips.text) - 1)
    text: Float[Tensor, "B E"] = clips.text[at]
    return replace(given, text=text, text_known=count > 0)
