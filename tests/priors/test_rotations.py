"""Laws of the rotations that priors compute with, drawn evenly, near angle 0 and near pi; scipy is the twin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from mocap_ray.priors.judging import metrics
from mocap_ray.priors.rotations import canonical, log_haar, matrix_from_6d, noisy_rotations, times, turned

SHAPES = [(), (1,), (2, 3), (0,)]
NEAR_0 = [0.0, 1e-300, 1e-160, 1e-20, 1e-12, 1e-8, 1e-6, 1e-4, 1e-3]
NEAR_PI = [math.pi - d for d in (1e-3, 1e-5, 1e-7, 1e-9, 1e-12, 0.0)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def drawn(angle: float | None, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """Rotation vectors [*shape, 3] float64 about any axis; None: any angle below pi."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    if angle is not None:
        return angle * axis
    return axis * (math.pi - 0.01) * torch.rand(*shape, 1, generator=generator, dtype=torch.float64)


def hard(shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """[K, *shape, 3]: near 0, near pi, and in between."""
    angles = [*NEAR_0, *NEAR_PI, None, 1.0, 2.5]
    return torch.stack([drawn(a, shape, seed=seed + k) for k, a in enumerate(angles)])


def turns(rotvecs: Tensor) -> Rotation:
    return Rotation.from_rotvec(rotvecs.double().reshape(-1, 3).numpy())


def apart(a: Rotation, b: Rotation) -> float:
    """Largest angle between two sets of rotations, rad."""
    return float((a.inv() * b).magnitude().max()) if len(a) else 0.0


@each_shape
def test_canonical_is_the_same_rotation_within_half_a_turn(shape: tuple[int, ...]) -> None:
    r = hard(shape)
    assert torch.equal(torch.where(r.norm(dim=-1, keepdim=True) <= math.pi, canonical(r), r), r)
    largest = r.abs().amax(-1, keepdim=True).clamp_min(1e-305)  # so that squares of tiny vectors are not 0
    axis = torch.nn.functional.normalize(r / largest, dim=-1)
    axis[0] = drawn(1.0, shape)  # the angle 0 has none
    assert torch.allclose(axis.norm(dim=-1), torch.ones(()).double())
    for k in (-2, -1, 1, 3):
        wound = r + 2 * math.pi * k * axis
        found = canonical(wound)
        assert found.shape == r.shape
        assert (found.norm(dim=-1) <= math.pi * (1 + 1e-12)).all()
        assert apart(turns(found), turns(r)) < 1e-9


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(st.sampled_from(NEAR_0), st.sampled_from(NEAR_PI), st.floats(0, math.pi)),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-3),
)
def test_turning_there_and_back_is_the_identity(angle: float, axis: list[float]) -> None:
    v = angle * torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)[None, None]
    by = drawn(2.0, (1,))
    back = turned(-by, turned(by, v))
    assert apart(turns(back), turns(v)) < 1e-7
    assert back.norm() <= math.pi + 1e-9


@pytest.mark.parametrize("rows", [0, 1, 6])
def test_turned_is_the_product_of_rotations(rows: int) -> None:
    v = hard((4,))[:rows]
    for angle in (*NEAR_0, *NEAR_PI, None):
        by = drawn(angle, (4,), seed=5)
        found = turned(by, v)
        assert found.shape == (len(v), 4, 3)
        assert (found.norm(dim=-1) <= math.pi + 1e-9).all()
        if rows:
            expected = turns(by.expand_as(v)) * turns(v)
            assert apart(turns(found), expected) < 1e-7


@each_shape
def test_log_haar_is_the_volume_of_the_exponential_map(shape: tuple[int, ...]) -> None:
    r = hard(shape)
    half = r.norm(dim=-1).numpy() / 2
    # numpy's sinc is of pi x, and its log is exact where the angle is not small.
    expected = 2 * np.log(np.sinc(half / math.pi))
    found = log_haar(r)
    assert found.shape == r.shape[:-1]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert ((found <= 0) & (found >= 2 * math.log(2 / math.pi) - 1e-12)).all()


@each_shape
def test_a_6d_number_is_its_matrix_whatever_its_scale_and_skew(shape: tuple[int, ...]) -> None:
    r = hard(shape)
    R = (
        torch.as_tensor(turns(r).as_matrix()).reshape(*r.shape, 3)
        if r.numel()
        else r[..., None].expand(*r.shape, 3)
    )
    a, b = R[..., 0], R[..., 1]
    for first, second in ((a, b), (3 * a, 0.2 * b), (a, b + 2 * a)):
        found = matrix_from_6d(torch.cat([first, second], -1))
        assert found.shape == R.shape
        torch.testing.assert_close(found, R, atol=1e-12, rtol=0)


@each_shape
def test_times_is_the_matrix_product(shape: tuple[int, ...]) -> None:
    A, B = torch.randn(2, *shape, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(times(A, B), A @ B)
    one = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(times(A, one), A)
    torch.testing.assert_close(times(one, B), B)


@each_shape
def test_noisy_rotations_have_the_spread_asked_for(shape: tuple[int, ...]) -> None:
    r = hard(shape)
    torch.manual_seed(0)
    many = r.expand(300, *r.shape)
    moved = noisy_rotations(many, spread=0.01)
    assert moved.shape == many.shape
    assert torch.isfinite(moved).all()
    if r.numel():
        away = (turns(many).inv() * turns(moved)).as_rotvec()
        assert np.sqrt((away**2).mean()) == pytest.approx(0.01, rel=0.05)
        assert abs(away.mean()) < 1e-3


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "canonical": canonical,
    "log_haar": log_haar,
    "turned": lambda r: turned(drawn(1.0, (3,), seed=9).to(r.dtype), r.reshape(-1, 3, 3)),
    "turned back": lambda r: turned(-r.reshape(-1, 3, 3)[0].detach(), r.reshape(-1, 3, 3)),
    "noisy_rotations": lambda r: noisy_rotations(r, spread=0.1),
}


@each_dtype
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("angle", [*NEAR_0, *NEAR_PI], ids=str)
def test_gradients_are_finite_and_bounded_near_0_and_pi(name: str, angle: float, dtype: torch.dtype) -> None:
    r = drawn(angle, (4, 3), seed=2).to(dtype).requires_grad_()
    out = FUNCTIONS[name](r)
    (gradient,) = torch.autograd.grad(out.sum(), r)
    assert torch.isfinite(out).all()
    assert torch.isfinite(gradient).all()
    # A rotation of a unit turns by a unit: numbers such as 1e6 would be finite and of no use.
    assert gradient.abs().max() < 1e2


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.5, math.pi - 0.1], ids=str)
def test_gradients_are_those_of_finite_differences(name: str, angle: float) -> None:
    r = drawn(angle, (1, 3), seed=2)

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return FUNCTIONS[name](x)

    if name != "turned back":  # its first argument is the point itself
        assert torch.autograd.gradcheck(seeded, r.requires_grad_(), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("angle", [*NEAR_0, 1.0, 2.5, *NEAR_PI], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (0, 3)], ids=str)
def test_geodesic_distances_are_exact_near_0_and_pi(angle: float, shape: tuple[int, ...]) -> None:
    a = drawn(None, shape, seed=1)
    b = torch.as_tensor((turns(a) * turns(drawn(angle, shape, seed=2))).as_rotvec()).reshape(a.shape)
    found = metrics.geodesic_deg(a, b)
    assert found.shape == shape
    np.testing.assert_allclose(found, np.full(shape, math.degrees(angle)), atol=3e-6)


@each_dtype
def test_a_6d_number_without_a_direction_has_finite_gradients(dtype: torch.dtype) -> None:
    a = torch.tensor([1.0, 2.0, 3.0])
    for pair in ((0 * a, 0 * a), (a, 2 * a), (a, 0 * a), (1e-20 * a, a)):
        d = torch.cat(pair).to(dtype).requires_grad_()
        R = matrix_from_6d(d)
        (gradient,) = torch.autograd.grad(R.sum(), d)
        assert torch.isfinite(R).all()
        assert torch.isfinite(gradient).all()
