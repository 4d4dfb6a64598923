"""The terms of the loss against naive twins that loop over frames."""

from __future__ import annotations

import math

import numpy as np
import torch

from mocap_ray.generation import losses
from mocap_ray.generation.batch import frame_mask
from mocap_ray.motion.features import decode

LENGTHS = torch.tensor([9, 1, 2, 5])
SMOOTH = [*range(4), *range(67, 259)]


def _pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(4, 9, 263, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b, frame_mask(LENGTHS, 9)


def _smooth_l1(error: np.ndarray) -> np.ndarray:
    return np.where(abs(error) < 1, 0.5 * error**2, abs(error) - 0.5)


def test_smooth_l1_is_the_mean_over_real_frames() -> None:
    a, b, mask = _pair()
    parts = [(_smooth_l1((a - b)[k, : LENGTHS[k]].numpy())).ravel() for k in range(4)]
    found = float(losses.smooth_l1(a, b, mask))
    assert math.isclose(found, np.concatenate(parts).mean(), rel_tol=1e-12)


def test_differences_need_all_of_their_frames() -> None:
    a, b, mask = _pair()
    first, second = [], []
    for k in range(4):
        error = (a - b)[k, : LENGTHS[k]][:, SMOOTH].numpy()
        first.append(_smooth_l1(np.diff(error, axis=0)).ravel())
        second.append(_smooth_l1(np.diff(error, n=2, axis=0)).ravel())
    found = losses.differences(a, b, mask)
    assert math.isclose(float(found[0]), np.concatenate(first).mean(), rel_tol=1e-12)
    assert math.isclose(float(found[1]), np.concatenate(second).mean(), rel_tol=1e-12)
    short = losses.differences(a[:, :2], b[:, :2], mask[:, :2])
    assert [float(x) for x in short] == [0.0, 0.0]


def test_padding_that_is_not_finite_changes_nothing() -> None:
    a, b, mask = _pair()
    a, b = (torch.where(mask[..., None], x, torch.inf) for x in (a, b))
    assert math.isfinite(float(losses.masked_mean(a, mask)))
    plain = a.clone().requires_grad_()
    losses.masked_mean(plain, mask).backward()
    assert plain.grad is not None
    assert torch.isfinite(plain.grad).all()


def test_the_kl_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    found = losses.kl_of(mean, log_variance)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(losses.free_kl(found, mask, free=0.0), found[mask].mean())
    free = losses.free_kl(found, mask, free=0.7)
    torch.testing.assert_close(free, found[mask].mean(0).clamp_min(0.7).mean())


def test_unknown_styles_cost_nothing() -> None:
    logits = torch.randn(4, 3)
    style = torch.tensor([0, 2, 0, 1])
    expected = torch.nn.functional.cross_entropy(logits[[1, 3]], style[[1, 3]])
    torch.testing.assert_close(losses.style_loss(logits, style), expected)
    assert float(losses.style_loss(logits, torch.zeros(4, dtype=torch.int64))) == 0.0


def test_the_distance_of_joints_is_that_of_the_decoded_motion() -> None:
    a, b, mask = _pair()
    each = [
        np.linalg.norm(decode(a[k, :n].numpy()) - decode(b[k, :n].numpy()), axis=-1).ravel()
        for k, n in enumerate(LENGTHS.tolist())
    ]
    found = losses.joint_distance(a, b, mask)
    assert math.isclose(float(found), np.concatenate(each).mean(), abs_tol=2e-3)
    same = a.clone().requires_grad_()
    losses.joint_distance(same, a, mask).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()
