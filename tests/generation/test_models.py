"""Laws of every motion model: padding changes nothing, gradients reach all parameters, lengths are free."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.generation import MotionVAE
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.description import MotionFacts
from mocap_ray.generation.labels import Labels
from mocap_ray.generation.options import MotionVAEConfig
from tests.generation.made import FACTS, IDS, TINY, VARIANTS, model, rows

VAES = pytest.mark.parametrize(("kind", "options"), VARIANTS[:3], ids=IDS[:3])
ALL = pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=IDS)


def loss_of(made: Any, batch: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    return made.loss(batch)


def test_the_reference_has_its_number_of_parameters() -> None:
    facts = MotionFacts(Labels(("aist", "mvhumannet"), tuple(map(str, range(10)))), 30.0, "flowmimic", 120)
    with torch.device("meta"):
        made = MotionVAE(MotionVAEConfig(variant="reference"), facts)
    assert sum(p.numel() for p in made.parameters()) == 60_100_242
    # Four frames share a latent in ours, whose other parts have the same size.
    with torch.device("meta"):
        ours = MotionVAE(MotionVAEConfig(), facts)
    assert ours.latent_count(120) * 4 == made.latent_count(120) == 120


@ALL
def test_padding_does_not_change_the_loss_or_its_gradients(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, options)
    lengths = [24, 7, 13, 1]
    batch = rows(lengths)
    garbage = batch.clone()
    for k, length in enumerate(lengths):
        garbage[k, 1 + length :] = 1e3
    found = []
    for each in (batch, garbage):
        made.zero_grad()
        if kind == "motion_vae":
            # The noise of a longer batch is drawn for other places.
            windows = unpack(each)
            posterior = made.encode(
                windows.features, length=windows.length, domain=windows.domain, style=windows.style
            )
            out = made.coder.decode(posterior.mean, windows.mask, windows.domain, windows.style)
            loss = torch.stack([*made._terms(windows, posterior, out).values()]).sum()
        else:
            loss = loss_of(made, each)[0]
        loss.backward()
        found.append((loss.detach(), [p.grad for p in made.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


@VAES
def test_a_longer_batch_changes_neither_latents_nor_reconstructions(
    kind: str, options: dict[str, Any]
) -> None:
    made = model(kind, options)
    lengths = [12, 7, 10]
    short, long = unpack(rows(lengths, size=12)), unpack(rows(lengths, size=31))
    results = []
    for windows in (short, long):
        known = {"length": windows.length, "domain": windows.domain, "style": windows.style}
        posterior = made.encode(windows.features, **known)
        out = made.decode(posterior.mean, frames=windows.features.shape[1], **known)
        assert posterior.mean.shape[1] == made.latent_count(windows.features.shape[1])
        results.append((posterior, out))
    for k, length in enumerate(lengths):
        real = made.latent_count(length)
        assert results[1][0].mask[k].sum() == real
        for name in ("mean", "log_variance"):
            a, b = (getattr(posterior, name)[k, :real] for posterior, _ in results)
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(results[0][1][k, :length], results[1][1][k, :length], rtol=1e-4, atol=1e-5)
        assert not results[1][1][k, length:].any()
    torch.testing.assert_close(results[0][0].style, results[1][0].style, rtol=1e-4, atol=1e-5)


@ALL
def test_every_parameter_gets_a_finite_gradient(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, options).train()
    batch = rows([24, 20, 24, 7, 24, 24])
    for _ in range(2):
        loss, _ = made.loss(batch)
        loss.backward()
    for name, p in made.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 0, name


@ALL
def test_steps_on_one_batch_lower_the_loss(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, options).train()
    batch = rows([24, 20, 24, 9] * 2)
    optimiser = torch.optim.AdamW(made.parameters(), lr=3e-3)
    found = []
    for _ in range(30):
        loss, _ = made.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    assert sum(found[-5:]) < 0.95 * sum(found[:5])


@ALL
def test_bf16_gives_nearly_the_same_loss(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, options)
    batch = rows([24, 7, 13, 24])
    full = loss_of(made, batch)[0]
    with torch.autocast("cpu", torch.bfloat16):
        half, terms = loss_of(made, batch)
    assert half.dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in terms.values())
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


@ALL
def test_the_loss_is_one_graph_for_compile(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, {**options, "style_dropout": 0.0} if kind == "motion_vae" else options).train()
    batch = rows([24, 7, 13, 24])
    compiled = torch.compile(made.loss, backend="eager", fullgraph=True)
    torch.manual_seed(5)
    found, _ = compiled(batch)
    found.backward()
    again = model(kind, {**options, "style_dropout": 0.0} if kind == "motion_vae" else options).train()
    expected, _ = loss_of(again, batch)
    torch.testing.assert_close(found, expected)


@ALL
def test_no_window_depends_on_the_others(kind: str, options: dict[str, Any]) -> None:
    made = model(kind, options)
    windows, alone = unpack(rows([24, 7, 13])), unpack(rows([24, 7, 13])[1:2])
    if kind == "motion_evaluator":
        one, other = (made.features(w.features, w.length) for w in (windows, alone))
    else:
        one, other = (
            made.encode(w.features, length=w.length, domain=w.domain, style=w.style).mean
            for w in (windows, alone)
        )
    torch.testing.assert_close(one[1:2], other, rtol=1e-4, atol=1e-5)


def test_ours_takes_any_length_and_the_reference_its_positions() -> None:
    ours, reference = model(*VARIANTS[0]), model(*VARIANTS[2])
    for frames in (1, 2, 5, 300):
        windows = unpack(rows([frames], size=frames))
        posterior = ours.encode(windows.features, domain=windows.domain)
        assert ours.decode(posterior.mean, frames=frames, domain=windows.domain).shape == (1, frames, 263)
    long = unpack(rows([33], size=33))
    with pytest.raises(UserError, match=r"a window of 33 frames, and this model knows 32 positions"):
        reference.encode(long.features, domain=long.domain)


def test_our_encoder_is_blind_to_the_style_and_the_others_use_their_conditions() -> None:
    ours, reference = model(*VARIANTS[0]), model(*VARIANTS[2])
    windows = unpack(rows([24, 24]))
    one, two = torch.ones(2, dtype=torch.int64), torch.full((2,), 2)
    for made, blind in ((ours, True), (reference, False)):
        a, b = (made.encode(windows.features, domain=windows.domain, style=s).mean for s in (one, two))
        assert torch.equal(a, b) == blind
        c, d = (made.decode(a, frames=24, domain=windows.domain, style=s) for s in (one, two))
        assert not torch.equal(c, d)
        e, f = (made.decode(a, frames=24, domain=d, style=one) for d in (one, one - 1))
        assert not torch.equal(e, f)


@VAES
def test_decoded_features_are_not_normalised_and_contacts_are_probabilities(
    kind: str, options: dict[str, Any]
) -> None:
    made = model(kind, options)
    windows = unpack(rows([24]))
    z = made.encode(windows.features, domain=windows.domain).mean
    raw = made.coder.decode(z, windows.mask, windows.domain, torch.zeros_like(windows.domain))
    features = made.decode(z, frames=24, domain=windows.domain)
    torch.testing.assert_close(made.normalised(features)[..., :259], raw[..., :259], rtol=1e-4, atol=1e-5)
    assert ((features[..., 259:] > 0) & (features[..., 259:] < 1)).all()


def test_the_latents_are_normalised_by_the_moments_of_the_training() -> None:
    made = model(*VARIANTS[0]).train()
    batch = rows([24, 20] * 16)
    for _ in range(30):
        made.loss(batch)
    windows = unpack(batch)
    made.eval()
    with torch.no_grad():
        posterior = made.encode(windows.features, length=windows.length, domain=windows.domain)
    noise = torch.randn(40, *posterior.mean.shape, generator=torch.Generator().manual_seed(0))
    z = posterior.mean + (0.5 * posterior.log_variance).exp() * noise
    normal = made.normalised_latents(z[:, posterior.mask]).flatten(0, 1)
    torch.testing.assert_close(normal.mean(0), torch.zeros(4), atol=0.1, rtol=0)
    torch.testing.assert_close(normal.std(0), torch.ones(4), atol=0.1, rtol=0)
    torch.testing.assert_close(made.plain_latents(made.normalised_latents(z)), z, rtol=1e-4, atol=1e-5)


def test_weights_follow_their_schedules() -> None:
    made = model("motion_vae", {**TINY, "root_late_epoch": 5.0})
    assert float(made._weights(0.0)["kl"]) == 0.002, "no warm-up in evaluation"
    made.train()
    batch = rows([24, 24])
    kl = []
    for _ in range(12):
        kl.append(float(made._weights(0.0)["kl"]))
        made.loss(batch)
    assert kl == pytest.approx([0.002 * min(1, k / 10) for k in range(12)])
    assert made._weights(4.9)["root"] == 2.0
    assert made._weights(5.0)["root"] == 4.0


def test_keys_of_the_other_variant_are_refused() -> None:
    with pytest.raises(ValueError, match=r"compression: a key of variant default"):
        MotionVAEConfig(variant="reference", compression=2)
    with pytest.raises(ValueError, match=r"positions: a key of variant reference"):
        MotionVAEConfig(positions=128)
    with pytest.raises(ValueError, match=r"width 30: with 4 heads it must be a multiple of 8"):
        MotionVAEConfig(width=30, heads=4)
    assert MotionVAEConfig.model_validate(MotionVAEConfig(variant="reference").model_dump()).positions == 256


def test_style_dropout_hides_the_style_in_training_alone() -> None:
    made = model("motion_vae", {**TINY, "variant": "reference", "style_dropout": 0.999})
    seen: list[torch.Tensor] = []
    made.coder.condition.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    batch = rows([24] * 6)
    made.loss(batch)
    assert seen[-1].tolist() == [0, 1, 2] * 2
    made.train().loss(batch)
    assert seen[-1].tolist() == [0] * 6
    assert FACTS.labels.style_count == 3


def test_our_linear_paths_start_as_principal_components() -> None:
    made = model("motion_vae", {**TINY, "latent": 40})
    generator = torch.Generator().manual_seed(4)
    batch = rows([24, 20, 7, 24] * 8)
    # Motion of 12 degrees of freedom for four frames, which 40 numbers can say.
    low = torch.randn(32, 6, 12, generator=generator) @ torch.randn(12, 4 * 263, generator=generator)
    batch[:, 1:] = low.reshape(32, 24, 263) * unpack(batch).mask[..., None]
    made.start_from(batch)
    windows = unpack(batch)
    x = made.normalised(windows.features) * windows.mask[..., None]
    z = made.coder.linear_latents(x)
    back = made.coder.linear_out(z).reshape(x.shape)
    whole = torch.zeros_like(windows.mask)
    for k, length in enumerate(windows.length.tolist()):
        whole[k, : length - length % 4] = True
    error = (back - x)[whole].abs().mean() / x[whole].abs().mean()
    assert error < 0.02
    used = z[windows.length == 24][..., :12].flatten(0, 1)
    torch.testing.assert_close(used.std(0), torch.ones(12), atol=0.25, rtol=0)
    before = [p.clone() for p in made.parameters()]
    made.start_from(batch[2:3, :3])  # not even two latents: nothing to start from
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True))
