"""Laws of the tails: a least density, mixtures that integrate to one, samples that follow them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import roma
import scipy.stats
import torch

from mocap_ray.priors import MODELS, Coordinates, build, fit_coordinates, tails
from mocap_ray.priors.broad import broad_log_density
from tests.priors.made import ALL, IDS, poses, prior
from tests.priors.test_flows import ball, one_joint
from tests.priors.test_priors import seeded_log_prob

HEAVY = [(k, o) for k, o in ALL if MODELS[k][0](**o).tails == "heavy"]
IDS_OF_HEAVY = [i for (k, o), i in zip(ALL, IDS, strict=True) if (k, o) in HEAVY]
each_heavy = pytest.mark.parametrize(("kind", "options"), HEAVY, ids=IDS_OF_HEAVY)


def anywhere(n: int, *, seed: int = 0) -> torch.Tensor:
    """Poses whose rotations are uniformly distributed."""
    whole = torch.ones(55, 3, dtype=torch.bool)
    return tails.uniform_draw(n, whole, torch.Generator().manual_seed(seed)).double()


@each_heavy
def test_no_pose_is_less_likely_than_the_least_density(kind: str, options: dict[str, Any]) -> None:
    train = poses(200)
    if options.get("type") != "so3":
        train[:, [4, 30], 1] = 0.3
        train[:, 31, :2] = 0.0
    model = prior(kind, options, train=train)
    least = model.least_log_density
    far = torch.cat([anywhere(300), anywhere(50) * (math.pi / anywhere(50).norm(dim=-1, keepdim=True))])
    with torch.no_grad():
        found = seeded_log_prob(model, far)
    assert (found >= least - 1e-6).all()
    # The bound is not far off: a model that fits some poses says next to nothing about these.
    assert found.min() < least + 3 * model.coordinates.active


def test_the_energy_grows_with_the_logarithm_of_the_distance() -> None:
    """Twice as far from a thin sheet costs at most (dof + 3) log 2 nats per joint; Gaussian tails cost four times."""
    train = poses(300)
    train[:, 18] = 0.001 * train[:, 18]  # a joint that hardly moves
    away = torch.tensor([0.1, 0.2, 0.4, 0.8, 1.6], dtype=torch.float64)
    path = train[:1].repeat(len(away), 1, 1)
    path[:, 18] = away[:, None] * torch.nn.functional.normalize(torch.ones(3, dtype=torch.float64), dim=0)
    rises = {}
    for tails_ in ("heavy", "gaussian"):
        config = MODELS["joint_flow"][0](hidden=8, tails=tails_)
        model = build(config, fit_coordinates(config, train)).double().eval()
        with torch.no_grad():
            rises[tails_] = model.energy(path).diff()
    assert (rises["heavy"] >= 0).all()
    assert (rises["heavy"] <= (4 + 3) * math.log(2) + 0.1).all()
    assert rises["gaussian"].min() > 1000


def test_gaussian_tails_are_the_bare_model() -> None:
    for kind in ("gaussian_prior", "joint_flow", "global_flow"):
        options = {} if kind == "gaussian_prior" else {"hidden": 8}
        model = prior(kind, {**options, "tails": "gaussian"})
        x, _, _ = model.coordinates.encode(poses(5, seed=1))
        bare = model.log_density(x) + model.coordinates.log_volume(x)
        assert torch.equal(model.log_prob(poses(5, seed=1)), bare)
        assert model.least_log_density == -math.inf
        drawn = model.coordinates.decode(model.draw(5, torch.Generator().manual_seed(0)))
        assert torch.equal(model.sample(5, torch.Generator().manual_seed(0)), drawn)


def test_each_joint_of_a_factorised_prior_is_a_mixture() -> None:
    model = prior("joint_flow", {"hidden": 8, "broad_weight": 0.2, "representation": "tangent"})
    some = poses(6, seed=1)
    x, _, _ = model.coordinates.encode(some)
    uniform = tails.log_haar(some) - math.log(8 * math.pi**2)
    volume = model.coordinates.measures(x).log_volume
    student = scipy.stats.multivariate_t(np.zeros(3), np.eye(3), df=3).logpdf(x.reshape(6, 55, 3).numpy())
    broad = 0.99 * (torch.from_numpy(student) + volume).exp() + 0.01 * uniform.exp()
    joints = model.joint_log_densities(x) + volume
    expected = torch.log(0.8 * joints.exp() + 0.2 * broad).sum(-1)
    assert torch.allclose(model.log_prob(some), expected, atol=1e-9)
    assert torch.allclose(model.log_density(x), model.joint_log_densities(x).sum(-1), atol=1e-9)


def test_other_priors_are_mixed_as_a_whole_and_trained_without_the_broad_density() -> None:
    model = prior("global_flow", {"hidden": 8, "broad_weight": 0.2})
    some = poses(6, seed=1)
    x, _, _ = model.coordinates.encode(some)
    measures = model.coordinates.measures(x)
    bare = model.log_density(x) + measures.log_volume.sum(-1)
    broad = broad_log_density(model.coordinates, x, measures).sum(-1)
    assert torch.allclose(model.log_prob(some), torch.log(0.8 * bare.exp() + 0.2 * broad.exp()), atol=1e-9)
    model.eval()
    assert torch.allclose(model.loss(some)[0], -bare.mean() / model.coordinates.active, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("gaussian_prior", {}), ("joint_flow", {"hidden": 8}), ("global_flow", {"hidden": 8, "K": 2})],
)
def test_log_prob_with_tails_integrates_to_one(kind: str, options: dict[str, Any]) -> None:
    options = (
        {**options, "broad_weight": 0.3, "dof": None} if kind != "gaussian_prior" else {"broad_weight": 0.3}
    )
    model = prior(kind, options, train=poses(200, spread=0.3), joints=["left_index1"])
    r, cell = ball(40)
    with torch.no_grad():
        assert abs(model.log_prob(one_joint(r)).exp().sum() * cell - 1) < 0.02


@pytest.mark.parametrize(
    ("kind", "options"),
    [("gaussian_prior", {}), ("joint_flow", {"hidden": 8}), ("global_flow", {"hidden": 8, "K": 2})],
)
def test_samples_follow_the_density_into_the_tails(kind: str, options: dict[str, Any]) -> None:
    model = prior(
        kind, {**options, "broad_weight": 0.3}, train=poses(200, spread=0.3), joints=["left_index1"]
    )
    centre = poses(200)[:, 25].mean(0)
    r, cell = ball(40)
    with torch.no_grad():
        density = model.log_prob(one_joint(r)).exp() * cell
        drawn = model.sample(40_000, torch.Generator().manual_seed(0))[:, 25].double()
    for radius in (0.3, 1.0, 2.0):
        expected = float(density[(r - centre).norm(dim=-1) > radius].sum())
        found = float(((drawn - centre).norm(dim=-1) > radius).double().mean())
        assert found == pytest.approx(expected, abs=0.02), radius
    bare = model.sample(4_000, torch.Generator().manual_seed(0), tails=False)[:, 25].double()
    assert ((bare - centre).norm(dim=-1) > 2.0).double().mean() < 0.01


def test_a_joint_follows_the_odd_one_above_it() -> None:
    model = prior("joint_flow", {"hidden": 8}, joints=["left_hip", "left_knee"])
    given = torch.zeros(2000, 6, dtype=torch.bool)
    given[:, :3] = True
    knees = []
    for value in (-3.0, 3.0):
        x = model.draw_around(given, torch.full((2000, 6), value).double(), torch.Generator().manual_seed(0))
        assert (x[:, :3] == value).all()
        knees.append(x[:, 3:])
    z = [
        model.transform(torch.cat([torch.full((2000, 3), v).double(), k], 1))[0][:, 3:]
        for v, k in zip((-3.0, 3.0), knees, strict=True)
    ]
    assert torch.allclose(z[0], z[1], atol=1e-8)
    assert not torch.allclose(knees[0], knees[1], atol=1e-2)


def test_uniform_densities_integrate_to_one_and_draws_follow_them() -> None:
    active = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    r, cell = ball(60)
    axes = active.sum(1)
    whole = tails.uniform_log_density(r[:, None].expand(-1, 3, 3), axes)
    assert float(whole[:, 0].exp().sum()) * cell == pytest.approx(1.0, abs=0.01)
    assert math.exp(float(whole[0, 1])) * math.pi**3 == pytest.approx(1.0)
    assert math.exp(float(whole[0, 2])) * 2 * math.pi == pytest.approx(1.0)
    assert tails.least_uniform(axes) <= float(whole.min(0).values.sum())
    drawn = tails.uniform_draw(5000, active, torch.Generator().manual_seed(0)).double()
    assert (drawn[:, ~active] == 0).all()
    angle = drawn.norm(dim=-1)
    laws = [lambda a: (a - np.sin(a)) / math.pi, lambda a: (a / math.pi) ** 2, lambda a: a / math.pi]
    for joint, law in enumerate(laws):
        assert scipy.stats.kstest(angle[:, joint].numpy(), law).pvalue > 0.001
    assert roma.rotvec_to_rotmat(drawn[:, 0]).mean(0).abs().max() < 0.05


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_student_t_is_that_of_scipy(axes: int) -> None:
    z = torch.randn(20, axes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 10
    expected = scipy.stats.multivariate_t(np.zeros(axes), np.eye(axes), df=4).logpdf(z.numpy())
    found = tails.student_log_density(z.square().sum(-1), axes, 4)
    assert np.allclose(found.numpy(), expected)
    like = torch.zeros((), dtype=torch.float64)
    scale = tails.student_scale((20_000,), 4, torch.Generator().manual_seed(0), like)
    normal = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert scipy.stats.kstest((normal * scale).numpy(), scipy.stats.t(4).cdf).pvalue > 0.001


@pytest.mark.parametrize("standardise", ["axis", "joint"])
def test_no_unit_is_narrower_than_the_floor(standardise: Any) -> None:
    train = poses(500)
    train[:, 18] = torch.tensor([0.3, -0.8, 0.2]) * train[:, 18, :1] + 0.001 * train[:, 18]  # nearly a hinge
    bare, floored = (
        Coordinates.fit(train, standardise=standardise, floor_deg=f).double() for f in (0.0, 2.0)
    )
    # Widths of the coordinates' units in rad: singular values of the map from coordinates to rotation vectors.
    widths = [torch.linalg.svdvals(c.spread[54:57, 54:57]) for c in (bare, floored)]
    assert widths[1].min() >= math.radians(2.0) * (1 - 1e-6)
    assert standardise == "axis" or widths[0].min() < math.radians(0.2)
    assert torch.allclose(widths[0].max(), widths[1].max(), rtol=0.05)
