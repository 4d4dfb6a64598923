"""The terms of the loss of a motion VAE; each is a mean over the real frames, whatever the padding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mocap_ray.generation.labels import UNKNOWN
from mocap_ray.motion.features import GROUPS, decode_torch

_COLUMNS = {group.name: group.columns for group in GROUPS}
CONTACTS = _COLUMNS["feet_contact"]
CONTINUOUS = slice(0, CONTACTS.start)
ROOT = slice(0, _COLUMNS["root_y"].stop)
SMOOTH = (ROOT, _COLUMNS["rot_6d"], _COLUMNS["local_vel"])
"""Columns whose differences over time are compared."""


def masked_mean(values: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """The mean over the columns of the real frames; 0 without any."""
    # `where`, not a product: 0 * inf is not 0.
    total = torch.where(mask[..., None], values, 0.0).sum()
    return total / (mask.sum() * values.shape[-1]).clamp_min(1)


def smooth_l1(
    found: Float[Tensor, "B T C"], true: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """The masked mean of the smooth L1 distance with beta 1."""
    return masked_mean(functional.smooth_l1_loss(found, true, reduction="none"), mask)


def differences(
    found: Float[Tensor, "B T C"], true: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Smooth L1 of the first and second differences over time; one counts if all of its frames are real."""
    if found.shape[1] < 3:
        return found.new_zeros(()), found.new_zeros(())
    error = torch.cat([found[..., c] - true[..., c] for c in SMOOTH], dim=-1)
    first = error.diff(dim=1)
    both = mask[:, 1:] & mask[:, :-1]
    second = first.diff(dim=1)
    zero = torch.zeros_like
    return (
        smooth_l1(first, zero(first), both),
        smooth_l1(second, zero(second), both[:, 1:] & both[:, :-1]),
    )


def kl_of(mean: Float[Tensor, "B K D"], log_variance: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
    """KL(N(mean, variance) | N(0, 1)) of each latent number, nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def free_kl(kl: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"], *, free: float) -> Float[Tensor, ""]:
    """The mean KL of the real latents, where each of the D numbers has `free` nats that cost nothing."""
    if not free:
        return masked_mean(kl, mask)
    each = torch.where(mask[..., None], kl, 0.0).sum((0, 1)) / mask.sum().clamp_min(1)
    return each.clamp_min(free).mean()


def style_loss(logits: Float[Tensor, "B S"], style: Int[Tensor, "B"]) -> Float[Tensor, ""]:
    """Cross-entropy of the known styles; 0 if none is known."""
    known = style != UNKNOWN
    each = functional.cross_entropy(logits, style, reduction="none")
    return torch.where(known, each, 0.0).sum() / known.sum().clamp_min(1)


def joint_distance(
    found: Float[Tensor, "B T 263"], true: Float[Tensor, "B T 263"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean distance of the decoded joints, metres (MPJPE), from features that are not normalised.

    The square root is rounded off below a millimetre, where its gradient would have no limit.
    """
    squared = (decode_torch(found) - decode_torch(true)).square().sum(-1)
    return masked_mean((squared + 1e-6).sqrt() - 1e-3, mask)
