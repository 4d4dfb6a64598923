"""Laws of the rectified flow: what its loss is, what conditions do, padding, gradients, guidance, and samples."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from mocap_ray.errors import UserError
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.conditions import NAMES, Conditions
from mocap_ray.generation.flow_options import ConditionRates, FlowConfig
from mocap_ray.generation.requests import GivenFrames, Keypoints, Request, RootPath
from mocap_ray.generation.sampling import conditions_of, sample
from mocap_ray.generation.shown import kept_at_random, random_frames, random_places, shown
from tests.generation.made import EVERY, TINY, flow, rows

LENGTHS = [24, 7, 13, 1, 24, 20]


def given_for(
    made: Any, lengths: list[int], *, size: int = 24
) -> tuple[torch.Tensor, torch.Tensor, Conditions]:
    """Latents, times, and conditions that are all there."""
    windows = unpack(rows(lengths, size=size))
    torch.manual_seed(1)
    given = replace(shown(windows, made.clips, made.config.conditions))
    given = replace(given, style=given.style.clamp_min(1), action=given.action.clamp_min(1),
                    text=torch.nn.functional.normalize(torch.ones_like(given.text), dim=-1),
                    text_known=torch.ones_like(given.text_known),
                    path_known=windows.mask)  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(len(lengths), made.vae.latent_count(24), 4, generator=generator)
    x = torch.nn.functional.pad(x, (0, 0, 0, made.vae.latent_count(size) - x.shape[1]))
    return x, torch.linspace(0.1, 0.9, len(lengths)), given


def test_the_loss_is_the_squared_error_of_the_velocity_over_real_latents() -> None:
    made = flow()
    batch = rows(LENGTHS)
    torch.manual_seed(3)
    found, parts = made.loss(batch)
    # The same draws in the same order.
    torch.manual_seed(3)
    windows = unpack(batch)
    x1, given = made.latents(windows), made._given(windows)
    x0 = torch.randn_like(x1)
    t = torch.sigmoid(torch.randn(len(x1)))
    v = made.velocity((1 - t[:, None, None]) * x0 + t[:, None, None] * x1, t, given)
    each = [
        (v[k, : made.vae.latent_count(n)] - (x1 - x0)[k, : made.vae.latent_count(n)]).square().flatten()
        for k, n in enumerate(LENGTHS)
    ]
    torch.testing.assert_close(found, torch.cat(each).mean())
    for name, of in (("early", t < 0.5), ("late", t >= 0.5)):
        expected = torch.cat([e for e, chosen in zip(each, of, strict=True) if chosen]).mean()
        torch.testing.assert_close(parts[name], expected)


def test_a_new_flow_predicts_nothing_and_its_gates_are_closed() -> None:
    made = flow()
    fresh = type(made)(made.config, made.facts)
    assert not fresh.velocity(*given_for(fresh, LENGTHS)).any()
    for block in fresh.blocks:
        assert not block.modulation.weight.any()
        assert not block.cross.out.weight.any()


@pytest.mark.parametrize("compression", [4, 3])
def test_a_longer_batch_does_not_change_the_velocity(compression: int) -> None:
    made = flow(vae={**TINY, "compression": compression})
    lengths = [24, 7, 13]
    x, t, given = given_for(made, lengths)
    longer, _, padded = given_for(made, lengths, size=37)
    pad = padded.frames.shape[1] - given.frames.shape[1]
    wide = {
        "frames": torch.nn.functional.pad(given.frames, (0, 0, 0, pad), value=1e3),
        "frames_known": torch.nn.functional.pad(given.frames_known, (0, pad)),
        "path": torch.nn.functional.pad(given.path, (0, 0, 0, pad), value=1e3),
        "path_known": torch.nn.functional.pad(given.path_known, (0, pad)),
    }
    a = made.velocity(x, t, given)
    longer = torch.where(longer == 0, 9.0, longer)
    longer[:, : x.shape[1]] = x
    b = made.velocity(longer, t, replace(given, **wide))
    for k, n in enumerate(lengths):
        real = made.vae.latent_count(n)
        torch.testing.assert_close(a[k, :real], b[k, :real], rtol=1e-4, atol=1e-5)
        assert not b[k, real:].any()


def test_every_condition_changes_the_velocity_and_none_that_is_dropped() -> None:
    made = flow()
    x, t, given = given_for(made, [24, 20, 24])
    every = dict.fromkeys(NAMES, torch.ones(3, dtype=torch.bool))
    full, none = made.velocity(x, t, given.kept(every)), made.velocity(x, t, given.dropped())
    torch.testing.assert_close(full, made.velocity(x, t, given))
    for name in NAMES:
        only = made.velocity(x, t, given.kept({name: every[name]}))
        assert (only - none).abs().max() > 1e-4, name
        without = made.velocity(x, t, given.kept({k: v for k, v in every.items() if k != name}))
        assert (without - full).abs().max() > 1e-4, name
    # What is dropped may be anything, as long as the lengths stay.
    other = replace(
        given.dropped(),
        text=given.text + 9,
        frames=given.frames + 9,
        path=given.path - 7,
        keypoints=given.keypoints + 5,
    )
    torch.testing.assert_close(made.velocity(x, t, other), none)
    one = given.kept({"style": torch.tensor([True, False, True])})
    assert one.style.tolist() == [int(given.style[0]), 0, int(given.style[2])]


def test_a_model_without_a_condition_has_no_weights_for_it() -> None:
    made = flow(conditions={**dict.fromkeys(EVERY, 0.0), "style": 0.5})
    names = {name for name, p in made.named_parameters() if p.requires_grad}
    assert not any(
        word in name for word in ("aligned", "tokens", "cross", "length", "text") for name in names
    )
    assert {n for n in names if "vector" in n} == {"vector.tables.style.weight"}
    x, t, given = given_for(flow(), [24, 20])
    torch.testing.assert_close(
        made.velocity(x, t, given), made.velocity(x, t, given.kept({"style": given.style > 0}))
    )


def test_every_parameter_gets_a_finite_gradient_and_the_vae_none() -> None:
    made = flow().train()
    assert not made.vae.training
    before = {name: t.clone() for name, t in made.vae.state_dict().items()}
    for k in range(6):
        made.loss(rows([24, 20, 24, 7, 24, 24], seed=k))[0].backward()
    for name, p in made.named_parameters():
        if name.startswith("vae."):
            assert p.grad is None
            assert not p.requires_grad
        else:
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all(), name
            assert p.grad.abs().max() > 0, name
    assert all(torch.equal(t, before[name]) for name, t in made.vae.state_dict().items())


def test_steps_on_one_batch_lower_the_loss() -> None:
    made = flow().train()
    batch = rows([24, 20, 24, 9] * 2)
    optimiser = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=3e-3)
    torch.manual_seed(0)
    found = []
    for _ in range(60):
        loss, _ = made.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(float(loss.detach()))
    assert sum(found[-10:]) < 0.8 * sum(found[:10])


def test_bf16_gives_nearly_the_same_loss_and_the_loss_is_one_graph() -> None:
    made = flow().train()
    batch = rows(LENGTHS)

    def loss_of(call: Any) -> torch.Tensor:
        torch.manual_seed(5)
        return call(batch)[0]

    full = loss_of(made.loss)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss_of(made.loss)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)
    compiled = loss_of(torch.compile(made.loss, backend="eager", fullgraph=True))
    torch.testing.assert_close(compiled, full)
    compiled.backward()


def test_guidance_is_linear_between_the_free_and_the_conditional_velocity() -> None:
    made = flow()
    x, t, given = given_for(made, [24, 7])
    free, conditional = made.velocity(x, t, given.dropped()), made.velocity(x, t, given)
    for g in (0.0, 0.5, 1.0, 3.0):
        expected = free + g * (conditional - free)
        torch.testing.assert_close(made.guided(x, t, given, guidance=g), expected, rtol=1e-4, atol=1e-5)


def test_labels_of_clips_reach_the_conditions() -> None:
    made = flow()
    windows = unpack(rows([24] * 8))
    torch.manual_seed(0)
    given = shown(windows, made.clips, made.config.conditions)
    assert given.action.tolist() == made.clips.action.tolist()
    assert given.domain.tolist() == [1, 2] * 4
    assert given.text_known.tolist() == (made.clips.count > 0).tolist()
    own = {0: [0], 1: [1, 2], 3: [3], 5: [4, 5]}
    seen: dict[int, set[int]] = {k: set() for k in own}
    for _ in range(20):
        text = shown(windows, made.clips, made.config.conditions).text
        for k in own:
            seen[k].add(int((made.clips.text @ text[k]).argmax()))
    assert {k: sorted(found) for k, found in seen.items()} == own


def test_conditions_are_kept_at_their_rates_and_a_share_has_none() -> None:
    torch.manual_seed(0)
    rates = ConditionRates(
        domain=1.0, style=0.5, action=0.2, length=1.0, text=0.0, keypoints=0.3, frames=0.3, path=0.3
    )
    keep = kept_at_random(rates, 20_000, 0.1, torch.device("cpu"))
    for name in NAMES:
        assert float(keep[name].float().mean()) == pytest.approx(0.9 * getattr(rates, name), abs=0.02)
    assert torch.equal(keep["domain"], keep["length"]), "a sample without any"
    both = (keep["style"] & keep["frames"]).float().mean() / keep["domain"].float().mean()
    assert float(both) == pytest.approx(0.15, abs=0.02), "independent of each other"


def test_given_frames_are_beginnings_ends_or_single_ones() -> None:
    torch.manual_seed(0)
    length = torch.tensor([24, 16, 3, 24] * 200)
    mask = torch.arange(24) < length[:, None]
    known = random_frames(mask, length)
    assert not (known & ~mask).any()
    begin = known[:, 0] & (known.int().diff(dim=1) > 0).sum(1).eq(0)
    share = begin[length == 24].float().mean()
    assert 0.3 < share < 0.5
    whole = random_places(mask)
    assert not (whole & ~mask).any()
    assert 0.4 < (whole == mask).all(1)[length == 24].float().mean() < 0.6


def test_a_seed_gives_the_same_motion_in_any_batch() -> None:
    made = flow()
    requests = [
        Request(seed=7, frames=20, style="old", domain="aist"),
        Request(seed=8, frames=31, action="walk"),
        Request(seed=9, seconds=0.25),
        Request(seed=7, frames=20, style="old", domain="aist"),
    ]
    together = sample(made, requests, steps=3)
    assert [len(x) for x in together] == [20, 31, 5, 20]
    np.testing.assert_array_equal(together[0], together[3])
    for k in (0, 1, 2):
        alone = sample(made, [requests[k]], steps=3)[0]
        np.testing.assert_allclose(alone, together[k], rtol=1e-4, atol=1e-4)
    other = sample(made, [Request(seed=10, frames=20, style="old", domain="aist")], steps=3)[0]
    assert np.abs(other - together[0]).max() > 1e-3
    calm = sample(made, [Request(seed=7, frames=20, style="calm", domain="aist")], steps=3)[0]
    assert np.abs(calm - together[0]).max() > 1e-3
    assert ((together[1][:, 259:] >= 0) & (together[1][:, 259:] <= 1)).all()


def test_a_batch_larger_than_one_pass_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from mocap_ray.generation import sampling

    made = flow()
    requests = [Request(seed=k, frames=n) for k, n in enumerate((9, 24, 5, 16, 12))]
    whole = sample(made, requests, steps=2)
    monkeypatch.setattr(sampling, "BATCH", 2)
    seen: list[tuple[int, int]] = []
    parts = sample(made, requests, steps=2, progress=lambda done, total: seen.append((done, total)))
    assert [len(x) for x in parts] == [9, 24, 5, 16, 12]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert seen == [(k, 6) for k in range(1, 7)]


def test_given_frames_come_back_as_given_and_parts_of_requests_reach_their_places() -> None:
    made = flow()
    values = 0.1 * np.ones((2, 263), np.float32)
    points = np.zeros((1, 25, 3), np.float32)
    points[0, 2], points[0, 4], points[0, 0] = (100, 50, 0.8), (300, 90, 0.5), (5000, 5000, 1.0)
    request = Request(
        frames=12,
        given=GivenFrames(frames=(0, 3), values=values),
        root=RootPath(frames=(5,), values=[[1.0, 2.0]]),
        keypoints=Keypoints(frames=(6,), values=points),
    )
    found = sample(made, [request, Request(frames=20)], steps=2)[0]
    np.testing.assert_array_equal(found[[0, 3]], values)
    given = conditions_of(made, [Request(frames=20), request])
    assert given.frames_known.nonzero().tolist() == [[1, 0], [1, 3]]
    assert given.path_known.nonzero().tolist() == [[1, 5]]
    assert given.path[1, 5].tolist() == [1.0, 2.0]
    assert given.keypoints_at.tolist() == [[-1], [6]]
    # In the box of the points that SMPL has; the nose, which it has not, is left out.
    shown_points = given.keypoints[1, 0]
    assert shown_points[2].tolist() == pytest.approx([-1.0, -0.2, 0.8])
    assert shown_points[4].tolist() == pytest.approx([1.0, 0.2, 0.5])
    assert not shown_points[0].any()
    assert {1, 2} >= set(given.domain.tolist())
    assert conditions_of(made, [request]).domain.tolist() == given.domain.tolist()[1:]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"style": "angry"}, "knows no style 'angry'. Expected one of calm, old"),
        ({"action": "walk"}, "knows no action 'walk'. Expected none"),
        (
            {"root": {"frames": [0], "values": [[0, 0]]}},
            r"trained without root \(model.conditions.path is 0\)",
        ),
        ({"text": "a person walks"}, "trained without text"),
        ({"frames": 8, "given": {"frames": [8], "values": [[0.0] * 263]}}, "names frame 8"),
    ],
)
def test_requests_that_the_model_cannot_take_are_refused(request_: dict[str, Any], said: str) -> None:
    made = flow(conditions={**EVERY, "action": 0.0, "path": 0.0, "text": 0.0})
    with pytest.raises(UserError, match=said):
        sample(made, [Request(), Request.model_validate(request_)], steps=1)


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width 30: with 4 heads it must be a multiple of 8"):
        FlowConfig(vae="x", width=30, heads=4)
    assert {f.name for f in fields(Conditions)} >= {"domain", "style", "action"}
