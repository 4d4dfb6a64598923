"""The reference variant against `bench/reference_vae.py`, which was written from the description alone."""

from __future__ import annotations

import torch

from bench.reference_vae import PlainVAE, mean_of
from mocap_ray.generation import losses
from mocap_ray.generation.batch import unpack
from tests.generation.made import VARIANTS, model, rows


def _weights(plain: PlainVAE) -> dict[str, torch.Tensor]:
    """The weights of the plain model under our names."""
    found = {
        "to_mean": plain.mean,
        "to_log_variance": plain.log_variance,
        "style_head": plain.guess,
        "coder.condition.domain": plain.domain,
        "coder.condition.style": plain.style,
        "coder.condition.mix": plain.condition,
        "coder.to_states": plain.inputs,
        "coder.from_latent": plain.from_latent,
        "coder.to_features": plain.outputs,
    }
    named = {f"{a}.{b}": t for a, module in found.items() for b, t in module.state_dict().items()}
    named["coder.encoder_positions"], named["coder.decoder_positions"] = plain.place1[0], plain.place2[0]
    for part in ("encoder", "decoder"):
        for k, layer in enumerate(getattr(plain, part)):
            at = f"coder.{part}.{k}"
            named |= {
                f"{at}.attention.qkv.{n}": getattr(layer.attention, f"in_proj_{n}")
                for n in ("weight", "bias")
            }
            for ours, module in (
                ("norm1.modulation", layer.first.to_both),
                ("norm2.modulation", layer.second.to_both),
                ("attention.out", layer.attention.out_proj),
                ("feedforward", layer.hidden),
            ):
                named |= {f"{at}.{ours}.{n}": t for n, t in module.state_dict().items()}
    return named


def test_equal_weights_give_equal_outputs_and_terms() -> None:
    torch.manual_seed(1)
    plain = PlainVAE(
        width=16,
        blocks=1,
        heads=2,
        hidden=32,
        latent=4,
        domains=2,
        styles=3,
        positions=32,
        condition=8,
        dropout=0.0,
    )
    made = model("motion_vae", {**VARIANTS[2][1], "domain_width": 16, "style_width": 32})
    with torch.no_grad():
        plain.place1.normal_()
        plain.place2.normal_()
    missing = made.load_state_dict(_weights(plain), strict=False)
    assert {*missing.missing_keys} == {"mean", "std", "steps", "latent_mean", "latent_square"}
    assert not missing.unexpected_keys
    windows = unpack(rows([24, 9, 17]))
    x = made.normalised(windows.features) * windows.mask[..., None]
    out, mean, log_variance, logits = plain.eval()(x, windows.domain, windows.style, windows.mask)
    posterior = made.encode(
        windows.features, length=windows.length, domain=windows.domain, style=windows.style
    )
    real = windows.mask
    for ours, theirs in (
        (posterior.mean[real], mean[real]),
        (posterior.log_variance[real], log_variance[real]),
        (posterior.style, logits),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    z = mean.detach()
    h = plain.from_latent(z) + plain.place2[:, : z.shape[1]]
    c = plain.condition(torch.cat([plain.domain(windows.domain), plain.style(windows.style)], -1))
    for block in plain.decoder:
        h = block(h, c, ~real)
    decoded = made.coder.decode(z, real, windows.domain, windows.style)
    torch.testing.assert_close(decoded[real], plain.outputs(h)[real], rtol=1e-4, atol=1e-5)
    l1 = torch.nn.functional.smooth_l1_loss
    theirs = mean_of(l1(out[..., :259], x[..., :259], reduction="none"), real)
    torch.testing.assert_close(losses.smooth_l1(out[..., :259], x[..., :259], real), theirs)


def test_both_have_the_same_number_of_parameters() -> None:
    with torch.device("meta"):
        plain = PlainVAE(width=512, blocks=8, heads=8, hidden=2048, latent=256, domains=2, styles=11)
    assert sum(p.numel() for p in plain.parameters()) == 60_100_242
