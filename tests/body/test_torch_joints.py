"""Joints in torch: equal to the compiled ones, differentiable everywhere, for any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mocap_ray.body.files import find
from mocap_ray.body.model import ShapedBody, load_body
from mocap_ray.body.torch_joints import torch_joints
from tests.body.test_model import made_up


@pytest.fixture
def body() -> ShapedBody:
    return made_up(3, family="smplx").shaped(np.linspace(-1, 1, 16))


def drawn(*batch: int, joints: int = 55, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(*batch, joints, 3)))


@pytest.mark.parametrize("count", [1, 2, 22, 55])
def test_equal_to_the_compiled_joints(body: ShapedBody, count: int) -> None:
    poses, trans = drawn(7), torch.as_tensor(np.random.default_rng(1).normal(size=(7, 3)))
    expected = body.joints(poses.numpy(), trans.numpy(), count=count)
    np.testing.assert_allclose(torch_joints(body, poses, trans=trans, count=count), expected, atol=1e-13)


@pytest.mark.parametrize("family", ["smpl", "smplh", "smplx"])
def test_equal_for_every_family_in_single_precision(standins: Path, family: str) -> None:
    person = load_body(find(standins)[family, "neutral"], family=family, gender="neutral").shaped(np.ones(10))
    joints = len(person.rest)
    poses = 0.5 * drawn(4, joints=joints).float()
    expected = person.joints(poses.numpy(), np.zeros((4, 3), np.float32), count=joints)
    found = torch_joints(person, poses, count=joints)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)])
def test_any_batch_shape(body: ShapedBody, batch: tuple[int, ...]) -> None:
    poses = drawn(*batch)
    found = torch_joints(body, poses, count=30)
    assert found.shape == (*batch, 30, 3)
    one_by_one = [torch_joints(body, pose, count=30) for pose in poses.reshape(-1, 55, 3)]
    for got, alone in zip(found.reshape(-1, 30, 3), one_by_one, strict=True):
        torch.testing.assert_close(got, alone)


def test_matrices_give_what_their_rotation_vectors_give(body: ShapedBody) -> None:
    poses = drawn(5)
    matrices = torch.as_tensor(Rotation.from_rotvec(poses.reshape(-1, 3).numpy()).as_matrix()).reshape(
        5, 55, 3, 3
    )
    torch.testing.assert_close(torch_joints(body, matrices), torch_joints(body, poses))


def test_gradients_are_those_of_finite_differences(body: ShapedBody) -> None:
    poses = (0.7 * drawn(2)).requires_grad_()
    trans = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, t: torch_joints(body, p, trans=t, count=26)[..., [7, 21, 25], :], (poses, trans)
    )


@pytest.mark.parametrize("angle", [0.0, 1e-9, np.pi, 2 * np.pi])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_degenerate_angles(
    body: ShapedBody, angle: float, dtype: torch.dtype
) -> None:
    poses = torch.zeros(55, 3, dtype=dtype)
    poses[:, 1] = angle
    poses.requires_grad_()
    torch_joints(body, poses, count=55).square().sum().backward()
    assert poses.grad is not None
    assert poses.grad.isfinite().all()
    assert poses.grad.abs().max() > 0


def test_at_rest_the_gradient_is_the_cross_product(body: ShapedBody) -> None:
    """Turning the pelvis by a small w moves joint j by w x (j - pelvis)."""
    poses = torch.zeros(55, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    (torch_joints(body, poses)[5] @ direction).backward()
    assert poses.grad is not None
    arm = torch.as_tensor(body.rest[5] - body.rest[0])
    torch.testing.assert_close(poses.grad[0], torch.linalg.cross(arm, direction))


def test_what_does_not_fit_is_refused_by_name(body: ShapedBody) -> None:
    with pytest.raises(ValueError, match="56 joints requested; the poses have 55"):
        torch_joints(body, drawn(2), count=56)
    with pytest.raises(ValueError, match=r"shape \(2, 165\)"):
        torch_joints(body, torch.zeros(2, 165))
    with pytest.raises(ValueError, match="int64"):
        torch_joints(body, torch.zeros(2, 55, 3, dtype=torch.long))
