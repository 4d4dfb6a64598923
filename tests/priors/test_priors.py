"""Laws of every prior: the table is walked, with each option that changes how a model computes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import roma
import torch
from pydantic import TypeAdapter, ValidationError

from mocap_ray.priors import MODELS, Coordinates, ModelConfig, build, fit_coordinates
from tests.priors.made import ALL, IDS, VARIANTS, hard_rotations, poses, prior

each = pytest.mark.parametrize(("kind", "options"), ALL, ids=IDS)


def seeded_log_prob(model: Any, *args: Any) -> torch.Tensor:
    """The VAE draws; one seed makes two calls comparable."""
    torch.manual_seed(0)
    return model.log_prob(*args)


def test_every_member_of_the_table_is_tested_and_parsed_by_its_kind() -> None:
    assert set(VARIANTS) == set(MODELS)
    parse = TypeAdapter(ModelConfig).validate_python
    for kind, (config_class, _) in MODELS.items():
        assert parse({"kind": kind}) == config_class()
    with pytest.raises(ValidationError):
        parse({"kind": "joint_flow", "hiden": 3})


@pytest.mark.parametrize(
    ("kind", "options", "count"),
    [
        ("gaussian_prior", {}, 330),
        ("joint_flow", {}, 3_872_660),
        ("global_flow", {}, 2_344_278),
        ("hand_vae", {}, 352_484),
        ("hand_vae", {"type": "so3"}, 352_485),
    ],
)
def test_parameter_counts_of_the_reference_definitions(
    kind: str, options: dict[str, Any], count: int
) -> None:
    config = MODELS[kind][0](**options)
    joints = "hands" if kind == "hand_vae" else "all"
    model = build(config, fit_coordinates(config, poses(50), joints=joints))
    assert sum(p.numel() for p in model.parameters()) == count


@each
def test_every_parameter_gets_a_gradient(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options).train()
    loss, _ = model.loss(poses(16, seed=1), epoch=5.0)
    loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


@each
def test_leading_shapes_agree(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options)
    some = poses(6, seed=1)
    flat = seeded_log_prob(model, some)
    assert flat.shape == (6,)
    assert torch.equal(seeded_log_prob(model, some.reshape(2, 3, 55, 3)), flat.reshape(2, 3))
    assert seeded_log_prob(model, some[:0]).shape == (0,)
    assert model.sample(0).shape == (0, 55, 3)
    one = seeded_log_prob(model, some[:1])
    assert one.shape == (1,)
    assert torch.allclose(seeded_log_prob(model, some[0]), one[0], atol=1e-9)
    if not model.bound:
        assert torch.allclose(one[0], flat[0], atol=1e-9)


@each
def test_three_forms_give_one_log_prob(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options)
    some = poses(5, seed=1)
    R = roma.rotvec_to_rotmat(some)
    expected = seeded_log_prob(model, some)
    for form in (R, torch.cat([R[..., 0], R[..., 1]], -1)):
        assert torch.allclose(seeded_log_prob(model, form), expected, atol=1e-6)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energy_and_gradient_are_finite_at_angle_0_and_pi(
    kind: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    model = prior(kind, options).to(dtype)
    hard = hard_rotations(20).to(dtype)
    for form in (hard, roma.rotvec_to_rotmat(hard)):
        form = form.clone().requires_grad_()
        energy = model.energy(form)
        energy.sum().backward()
        assert torch.isfinite(energy).all()
        assert form.grad is not None
        assert torch.isfinite(form.grad).all()


@each
def test_hidden_joints_contribute_nothing_and_get_no_gradient(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options)
    some, other = poses(4, seed=1), poses(4, seed=2)
    visible = torch.ones(4, 55, dtype=torch.bool)
    visible[:, [17, 19, 21, 26, 30]] = False
    visible[1] = True
    mixed = torch.where(visible[..., None], some, other).requires_grad_()
    expected = seeded_log_prob(model, some, visible)
    got = seeded_log_prob(model, mixed, visible)
    assert torch.allclose(got, expected, atol=1e-9)
    got.sum().backward()
    assert mixed.grad is not None
    assert (mixed.grad[~visible] == 0).all()
    everything = seeded_log_prob(model, some, torch.ones(55, dtype=torch.bool))
    assert torch.allclose(everything, seeded_log_prob(model, some), atol=1e-9)
    assert torch.allclose(expected[1], everything[1], atol=1e-9)


@each
def test_save_and_load_are_bit_equal(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options).float()
    description = json.loads(json.dumps(model.export()))
    config = TypeAdapter(ModelConfig).validate_python(description["model"])
    torch.manual_seed(77)
    again = build(config, Coordinates.from_description(description["coordinates"])).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    some = poses(5, seed=1).float()
    assert torch.equal(seeded_log_prob(model, some), seeded_log_prob(again, some))
    a, b = (m.sample(5, torch.Generator().manual_seed(1)) for m in (model, again))
    assert torch.equal(a, b)


@each
def test_one_seed_gives_one_sample_of_canonical_poses(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, options)
    a = model.sample(7, torch.Generator().manual_seed(5))
    assert torch.equal(a, model.sample(7, torch.Generator().manual_seed(5)))
    assert not torch.equal(a, model.sample(7, torch.Generator().manual_seed(6)))
    assert a.shape == (7, 55, 3)
    assert a.norm(dim=-1).max() <= torch.pi + 1e-9
    inactive = [j for j in range(55) if j not in model.coordinates.active_joints]
    assert (a[:, inactive] == 0).all()


@each
def test_fifty_steps_on_one_batch_lower_the_loss(kind: str, options: dict[str, Any]) -> None:
    config = MODELS[kind][0](**options)
    torch.manual_seed(0)
    joints = "hands" if kind == "hand_vae" else "all"
    model = build(config, fit_coordinates(config, poses(300), joints=joints))
    batch = poses(32, seed=4, spread=0.2).float()

    def evaluation() -> float:
        torch.manual_seed(1)
        return model.eval().loss(batch)[0].item()

    before = evaluation()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(50):
        optimiser.zero_grad()
        model.loss(batch, epoch=float(step))[0].backward()
        optimiser.step()
    assert evaluation() < before - 0.01


@each
def test_degenerate_axes_stay_out_of_the_density(kind: str, options: dict[str, Any]) -> None:
    train = poses(200)
    train[:, [1, 23, 24, 27]] = 0
    if options.get("type") != "so3":
        train[:, [4, 30], 1] = 0.3
    model = prior(kind, options, train=train)
    some = poses(3, seed=1)
    moved = some.clone()
    moved[:, [1, 23, 24, 27]] += 0.2
    assert torch.allclose(seeded_log_prob(model, some), seeded_log_prob(model, moved), atol=1e-9)
    sample = model.sample(3)
    assert (sample[:, [1, 23, 24, 27]] == 0).all()
    assert torch.isfinite(sample).all()


@pytest.mark.parametrize("kind", ["gaussian_prior", "joint_flow", "global_flow"])
def test_the_untrained_score_does_not_depend_on_scaling(kind: str) -> None:
    """Densities are per rad^D: a Gaussian at the training moments, whether it works in rad or in deviations."""
    some = poses(20, seed=1)
    scores = []
    for standardise in ("axis", "none"):
        config = MODELS[kind][0](standardise=standardise, tails="gaussian")
        if kind == "joint_flow" and standardise == "none":
            continue  # it starts as a standard normal of its coordinates
        model = build(config, fit_coordinates(config, poses(300))).double()
        scores.append(model.log_prob(some))
    gaussian = MODELS["gaussian_prior"][0](tails="gaussian")
    scores.append(build(gaussian, fit_coordinates(gaussian, poses(300))).double().log_prob(some))
    for score in scores[1:]:
        assert torch.allclose(score, scores[0], atol=1e-3)


def test_closed_form_is_the_maximum_of_the_likelihood() -> None:
    model = prior("gaussian_prior", {"tails": "gaussian"})
    some = poses(400, seed=5)
    model.fit_closed_form(some)
    best = model.log_prob(some).mean()
    best.backward()
    for p in model.parameters():
        assert p.grad.abs().max() < 1e-9
    x = model.coordinates.encode(some)[0]
    exact = torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum(-1)
    assert torch.allclose(model.log_density(x), exact)
    with pytest.raises(ValueError, match="no maximum likelihood"):
        model.fit_closed_form(some[:1])


def test_bf16_autocast_computes_the_density_in_float32() -> None:
    for kind, options in ALL:
        model = prior(kind, options).float()
        some = poses(8, seed=1).float()
        exact = seeded_log_prob(model, some)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            coarse = seeded_log_prob(model, some)
            loss, _ = model.loss(some)
        loss.backward()
        assert coarse.dtype == loss.dtype == torch.float32
        assert torch.allclose(coarse, exact, rtol=0.05, atol=0.05 * model.coordinates.active), (kind, options)


@each
def test_geodesic_noise_is_for_training_alone(kind: str, options: dict[str, Any]) -> None:
    model = prior(kind, {**options, "noise_deg": 5.0})
    some = poses(500, seed=1)
    assert model.noisy(some) is some
    turned = model.train().noisy(some)
    apart = roma.rotmat_geodesic_distance(roma.rotvec_to_rotmat(some), roma.rotvec_to_rotmat(turned))
    assert apart.square().mean().div(3).sqrt().rad2deg().item() == pytest.approx(5.0, rel=0.03)


def test_geodesic_noise_costs_likelihood_of_a_sharp_density() -> None:
    plain, noisy = (prior("gaussian_prior", {"noise_deg": d}).train() for d in (0.0, 20.0))
    assert noisy.loss(poses(200))[0] > plain.loss(poses(200))[0] + 0.1
    assert torch.equal(noisy.eval().loss(poses(9))[0], plain.loss(poses(9))[0])
