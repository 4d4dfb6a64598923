"""Laws of flows and of the VAE's likelihoods: inverses, log determinants, normalisation, the naive twin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from mocap_ray.priors import MODELS
from mocap_ray.priors.flow import Flow
from mocap_ray.priors.hand_vae import PACE
from tests.priors.made import VARIANTS, poses, prior, reference

FLOWS = [(k, o) for k, (_, model) in MODELS.items() if issubclass(model, Flow) for o in VARIANTS[k]]
FLOW_IDS = [f"{k}-{'-'.join(map(str, o.values()))}" for k, o in FLOWS]
each_flow = pytest.mark.parametrize(("kind", "options"), FLOWS, ids=FLOW_IDS)
SOME_JOINTS = ["pelvis", "left_hip", "left_knee", "spine1", "jaw", "left_index1", "left_index2"]


def flow(kind: str, options: dict[str, Any], **more: Any) -> Flow:
    model = prior(kind, options, **more)
    assert isinstance(model, Flow)
    return model


def degenerate_poses(n: int) -> torch.Tensor:
    """Two joints with one and with two constant axes."""
    train = poses(n)
    train[:, 4, 1] = 0
    train[:, 22, [0, 2]] = 0
    return train


def normal(n: int, D: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def base_log_density(model: Flow, z: torch.Tensor) -> torch.Tensor:
    """Of the base that the class documents, by scipy: normal, or Student-t for each joint or coordinate."""
    if model.dof is None:
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    if not model.factorised:
        return torch.from_numpy(scipy.stats.t(model.dof).logpdf(z.numpy())).sum(-1)
    total = z.new_zeros(len(z))
    for joint in range(len(model.coordinates.active_joints)):
        part = z[:, model.coordinates.position_of == joint].numpy()
        t = scipy.stats.multivariate_t(np.zeros(part.shape[1]), np.eye(part.shape[1]), df=model.dof)
        total += torch.from_numpy(np.atleast_1d(t.logpdf(part))) if len(part) else 0.0
    return total


def test_both_flows_are_members() -> None:
    assert {kind for kind, _ in FLOWS} == {"joint_flow", "global_flow"}


@each_flow
@pytest.mark.parametrize("whole", [True, False])
def test_the_inverse_inverts(kind: str, options: dict[str, Any], whole: bool) -> None:
    model = flow(kind, options, train=poses(200) if whole else degenerate_poses(200), joints=SOME_JOINTS)
    D = model.coordinates.active
    assert 21 - (0 if whole else 3) == D
    x = 1.5 * normal(50, D)
    assert torch.allclose(model.inverse(model.transform(x)[0]), x, atol=1e-8)
    assert torch.allclose(model.transform(model.inverse(x))[0], x, atol=1e-8)
    assert not torch.allclose(model.transform(x)[0], x, atol=0.1)


@each_flow
@pytest.mark.parametrize("whole", [True, False])
def test_the_log_determinant_is_that_of_the_jacobian(kind: str, options: dict[str, Any], whole: bool) -> None:
    model = flow(kind, options, train=poses(200) if whole else degenerate_poses(200), joints=SOME_JOINTS)
    x = normal(3, model.coordinates.active)
    _, log_det = model.transform(x)
    for row, expected in zip(x, log_det, strict=True):
        J = torch.autograd.functional.jacobian(lambda v: model.transform(v[None])[0][0], row)
        assert torch.allclose(torch.linalg.slogdet(J)[1], expected, atol=1e-8)


@each_flow
@pytest.mark.parametrize("whole", [True, False])
def test_the_density_is_the_base_density_and_the_log_determinant(
    kind: str, options: dict[str, Any], whole: bool
) -> None:
    model = flow(kind, options, train=poses(200) if whole else degenerate_poses(200), joints=SOME_JOINTS)
    for rows in (0, 1, 6):
        x = normal(rows, model.coordinates.active)
        z, log_det = model.transform(x)
        exact = base_log_density(model, z.detach()) + log_det
        assert torch.allclose(model.log_density(x), exact, atol=1e-9)
        assert exact.shape == (rows,)


@each_flow
def test_draws_are_the_inverse_of_the_noise_that_the_density_sees(kind: str, options: dict[str, Any]) -> None:
    model = flow(kind, options)
    x = model.draw(20, torch.Generator().manual_seed(1))
    noise = model.noise(20, torch.Generator().manual_seed(1))
    assert torch.allclose(model.transform(x)[0], noise, atol=1e-8, rtol=1e-6)
    assert model.dof is not None or torch.equal(noise, normal(20, 165))


@each_flow
def test_the_inverse_has_gradients_for_every_parameter(kind: str, options: dict[str, Any]) -> None:
    """Reparameterised draws: a loss on samples trains the flow too."""
    model = flow(kind, options)
    model.draw(16, torch.Generator().manual_seed(1)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


def test_joint_flow_equals_the_naive_twin_with_its_weights() -> None:
    for options in ({"hidden": 16}, {"hidden": 16, "standardise": "none", "K": 3}):
        model = prior("joint_flow", {**options, "tails": "gaussian"})
        twin = (
            reference()
            .ReferenceJointFlow(model.coordinates.parents(), K=model.config.K, hidden=model.config.hidden)
            .double()
        )
        with torch.no_grad():
            for k, coupling in enumerate(model.couplings):
                for j, flow in enumerate(twin.flows):
                    layers = (coupling.first, coupling.second, coupling.last)
                    for linear, stacked in zip(flow[k].net[::2], layers, strict=True):
                        linear.weight.copy_(stacked.weight[j].T)
                        linear.bias.copy_(stacked.bias[j, 0])
        assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in model.parameters())
        x = torch.randn(9, 165, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(model.log_density(x), twin.log_prob(x), atol=1e-9)


def test_reference_definitions_have_the_reference_counts() -> None:
    twins = reference()
    parents = prior("gaussian_prior", {}).coordinates.parents()
    counts = {
        twins.ReferenceGaussian(165): 330,
        twins.ReferenceJointFlow(parents): 3_872_660,
        twins.ReferenceGlobalFlow(165): 2_344_278,
        twins.ReferenceHandVAE(90): 352_484,
    }
    for twin, count in counts.items():
        assert sum(p.numel() for p in twin.parameters()) == count


def test_hiding_a_subtree_of_a_joint_flow_gives_the_marginal() -> None:
    """Hide the knee below the hip: integrating the full density over the knee gives what is left."""
    model = prior("joint_flow", {"hidden": 8, "dof": None}, joints=["left_hip", "left_knee"])
    side = torch.linspace(-6, 6, 61, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side, side)
    hip = torch.tensor([0.4, -0.3, 0.2], dtype=torch.float64)
    x = torch.cat([hip.expand(len(grid), 3), grid], 1)
    with torch.no_grad():
        total = torch.logsumexp(model.log_density(x), 0) + 3 * math.log(12 / 60)
        seen = torch.tensor([[True] * 3 + [False] * 3])
        assert abs(total - model.log_density(x[:1], seen)[0]) < 1e-4


def ball(n: int) -> tuple[torch.Tensor, float]:
    """Grid points within the ball of radius pi, and the volume of a cell."""
    side = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 * math.pi - math.pi
    grid = torch.cartesian_prod(side, side, side)
    return grid[grid.norm(dim=-1) < math.pi], (2 * math.pi / n) ** 3


def one_joint(r: torch.Tensor) -> torch.Tensor:
    full = r.new_zeros(len(r), 55, 3)
    full[:, 25] = r
    return full


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gaussian_prior", {}),
        ("gaussian_prior", {"representation": "tangent"}),
        ("joint_flow", {"hidden": 8, "representation": "tangent"}),
        ("global_flow", {"hidden": 8, "K": 2, "coupling": "spline"}),
        ("global_flow", {"hidden": 8, "K": 2, "representation": "tangent", "standardise": "none"}),
    ],
)
def test_log_prob_integrates_to_one_over_rotations(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options, train=poses(200, spread=0.6), joints=["left_index1"])
    r, cell = ball(40)
    with torch.no_grad():
        mass = model.log_prob(one_joint(r)).exp().sum() * cell
    assert abs(mass - 1) < 0.01


@pytest.mark.parametrize("type_", ["standard", "so3"])
@pytest.mark.parametrize("representation", ["rotvec", "tangent"])
def test_the_likelihood_of_the_vae_integrates_to_one(type_: str, representation: str) -> None:
    options = {"hidden": 8, "z_dim": 2, "type": type_, "representation": representation}
    model = prior("hand_vae", options, train=poses(200, spread=0.6), joints=["left_index1"])
    if type_ == "so3":
        # Wide: the cut at pi and Haar measure both matter.
        model.likelihood.spread.data.fill_(math.log(0.8) / PACE)
    r, cell = ball(48)
    z = torch.tensor([0.7, -1.2], dtype=torch.float64)
    with torch.no_grad():
        x, _, _ = model.coordinates.encode(one_joint(r))
        density = model.log_likelihood(x, z.expand(len(x), 2)) + model.coordinates.log_volume(x)
        assert abs(density.exp().sum() * cell - 1) < 0.01


@pytest.mark.parametrize("type_", ["standard", "so3"])
def test_more_importance_samples_tighten_the_bound(type_: str) -> None:
    model = prior("hand_vae", {"hidden": 16, "z_dim": 4, "type": type_, "tails": "gaussian"})
    some = poses(200, seed=1)
    with torch.no_grad():
        bounds = [
            model.log_prob(some, samples=k, generator=torch.Generator().manual_seed(1)).mean()
            for k in (1, 4, 64)
        ]
    assert bounds[0] < bounds[1] < bounds[2]


def test_a_generator_makes_the_bound_repeatable() -> None:
    model = prior("hand_vae", {"hidden": 16, "z_dim": 4})
    a, b = (model.log_prob(poses(5), samples=3, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(a, b)


def test_warm_up_starts_without_kl_and_free_bits_cost_nothing_below_them() -> None:
    some = poses(32, seed=1)
    model = prior("hand_vae", {"hidden": 16, "z_dim": 4, "dropout": 0.0, "kl_warmup_epochs": 10}).train()
    losses = []
    for epoch in (0.0, 0.25, 5.0, 10.0, 1000.0):
        torch.manual_seed(0)
        loss, scalars = model.loss(some, epoch=epoch)
        losses.append(((loss - scalars["reconstruction"]) / scalars["kl"]).item())
    assert losses == pytest.approx([0.0, 0.025, 0.5, 1.0, 1.0], abs=1e-6)
    free = prior("hand_vae", {"hidden": 16, "z_dim": 4, "free_bits": 100.0}).train()
    free.loss(some)[0].backward()
    assert free.posterior.weight.grad is not None
    loss, scalars = free.loss(some, epoch=1e6)
    assert (loss - scalars["reconstruction"]).item() == pytest.approx(4 * 100 / 90)
    torch.manual_seed(0)
    plain, scalars = free.eval().loss(some)
    assert plain.item() == pytest.approx(scalars["nll"].item())


def test_so3_draws_have_the_likelihoods_own_spread() -> None:
    model = prior("hand_vae", {"hidden": 8, "z_dim": 2, "type": "so3"}, joints=["left_index1"])
    with torch.no_grad():
        model.likelihood.spread.fill_(math.log(0.2) / PACE)
        out = torch.zeros(20000, 6, dtype=torch.float64)
        e = torch.randn(20000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        x = model.likelihood.draw(out, e, model.coordinates)
        entropy = -model.likelihood.log_terms(x, out, model.coordinates).sum(-1).mean()
        expected = 1.5 * (1 + math.log(2 * math.pi)) + 3 * math.log(0.2) - model.coordinates.std.log().sum()
    # Entropy of the Gaussian of s, moved to coordinates: the mean of log_haar differs little at 0.2 rad.
    assert abs(entropy - expected) < 0.15


@pytest.mark.parametrize(
    ("joints", "options", "words"),
    [("all", {}, "Set data.joints: hands"), ("hands", {"type": "so3"}, "needs all three axes")],
)
def test_hand_vae_refuses_what_is_not_hands(joints: str, options: dict[str, Any], words: str) -> None:
    train = poses(50)
    train[:, 30, 1] = 0
    with pytest.raises(ValueError, match=words):
        prior("hand_vae", options, train=train, joints=joints)
