"""A variational autoencoder of both hands, with a Gaussian or a geodesic likelihood.

Kingma & Welling 2014; importance weighted bound of Burda et al. 2016; free bits of Kingma et al. 2016; 6-D
rotations of Zhou et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import roma
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from mocap_ray.errors import UserError
from mocap_ray.options import MAY_CHANGE
from mocap_ray.priors.bound import ImportanceWeighted
from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.forms import HANDS
from mocap_ray.priors.prior import Layers, PriorConfig, Width
from mocap_ray.priors.rotations import log_haar, matrix_from_6d, times
from mocap_ray.priors.tails import LOG_2PI, normal_draw
from mocap_ray.skeleton import SMPLX_JOINTS

LOG_VARIANCE_LIMIT = 8.0
PACE = 20.0
"""Factor by which the spread of `so3` learns faster than the weights. Adam changes a parameter by at most the learning
rate per step: at the shipped 3e-4, 2,500 steps of a cosine schedule could narrow it from 20 degrees to only 14."""


class HandVAEConfig(PriorConfig):
    """An MLP VAE of the 90 numbers of two hands."""

    foreign: ClassVar[Mapping[str, str]] = {
        "training.beta_max": "Use model.beta, the weight of the KL term after the warm-up.",
        "training.kl_warmup_epochs": "Use model.kl_warmup_epochs.",
        "training.free_bits": "Use model.free_bits.",
    }

    kind: Literal["hand_vae"] = "hand_vae"
    tails: Literal["heavy", "gaussian"] = "gaussian"
    """`gaussian`: the bare model, whose limited variances bound its likelihood. `heavy`: every pose has a least density
    (see `priors/tails.py`); then a hidden hand is not found from the mean hand, which is a minimum of the energy."""
    type: Literal["standard", "so3"] = "standard"
    """`standard`: the decoder returns mean and log variance of each coordinate; `so3`: it returns rotations, with
    one learned spread of the geodesic distance."""
    z_dim: Width = 24
    """Latent dimensions."""
    hidden: Width = 256
    """Width of the layers of encoder and decoder."""
    n_layers: Layers = 3
    """Number of layers of the encoder, and of the decoder."""
    dropout: Annotated[float, Field(ge=0, lt=1), MAY_CHANGE] = 0.1
    """After each GELU, in training."""
    beta: Annotated[float, Field(ge=0), MAY_CHANGE] = 1.0
    """Weight of the KL term in the loss; 1 is the ELBO."""
    kl_warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    """Epochs over which the weight of the KL term rises from 0 to `beta`; 0: no warm-up."""
    free_bits: Annotated[float, Field(ge=0), MAY_CHANGE] = 0.0
    """Nats of KL per latent dimension that are free in training; 0: none."""
    samples: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Importance samples of `log_prob`: 1 is the ELBO, more are a tighter bound (IWAE)."""


class HandVAE(ImportanceWeighted):
    """The VAE: `log_prob` is a lower bound, estimated with samples from the posterior.

    Hidden joints: the likelihood factorises over coordinates (over joints for `so3`), so dropping the hidden terms
    bounds the exact marginal of the visible ones; the encoder gets the training mean in their place.

    In training mode, `loss` uses the KL warm-up and free bits; in evaluation mode it is the plain negative ELBO.
    """

    config: HandVAEConfig

    def __init__(self, config: HandVAEConfig, coordinates: Coordinates) -> None:
        super().__init__(config, coordinates)
        D, H = coordinates.active, config.hidden
        _check(config, coordinates)
        self.encoder = _trunk(D, config)
        self.posterior = nn.Linear(H, 2 * config.z_dim)
        self.decoder = _trunk(config.z_dim, config)
        outputs = 2 * D if config.type == "standard" else 6 * len(coordinates.active_joints)
        self.head = nn.Linear(H, outputs)
        self.likelihood: Standard | Geodesic = (
            Standard() if config.type == "standard" else Geodesic(coordinates)
        )

    def log_density(
        self,
        x: Float[Tensor, "B D"],
        visible: Bool[Tensor, "B D"] | None = None,
        *,
        samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B"]:
        """Log mean of p(x, z) / q(z | x) over samples; one sample uses the KL in closed form."""
        K = self.config.samples if samples is None else samples
        mean, log_variance = self.infer(x, visible)
        if K == 1:
            z = mean + torch.exp(0.5 * log_variance) * normal_draw(mean, len(mean), generator)
            return self.log_likelihood(x, z, visible) - kl_per_dimension(mean, log_variance).sum(-1)
        weights = []
        for _ in range(K):
            e = normal_draw(mean, len(mean), generator)
            z = mean + torch.exp(0.5 * log_variance) * e
            prior_over_posterior = 0.5 * (e * e + log_variance - z * z).sum(-1)
            weights.append(self.log_likelihood(x, z, visible) + prior_over_posterior)
        return torch.logsumexp(torch.stack(weights), 0) - math.log(K)

    def infer(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> tuple[Float[Tensor, "B z"], Float[Tensor, "B z"]]:
        """Mean and log variance of q(z | x)."""
        c = self.coordinates
        if visible is not None:
            x = torch.where(visible, x, c.fill)
        standard = (x - c.mean) / c.std if c.standardise == "none" else x
        mean, log_variance = self.posterior(self.encoder(standard)).to(x.dtype).chunk(2, -1)
        return mean, _limited(log_variance)

    def log_likelihood(
        self, x: Float[Tensor, "B D"], z: Float[Tensor, "B z"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Log p(x | z), of the visible coordinates."""
        out = self.head(self.decoder(z)).to(x.dtype)
        terms: Tensor = self.likelihood.log_terms(x, out, self.coordinates)
        return (terms if visible is None else torch.where(visible, terms, 0.0)).sum(-1)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Sample z from the prior, then x from the likelihood."""
        z = normal_draw(self.posterior.weight.new_zeros(self.config.z_dim), n, generator)
        out = self.head(self.decoder(z))
        x: Tensor = self.likelihood.draw(
            out, normal_draw(self.coordinates.mean, n, generator), self.coordinates
        )
        return x

    def loss(self, batch: Float[Tensor, "B 55 3"], *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative ELBO per active dimension; in training mode with beta, warm-up and free bits."""
        c = self.coordinates
        x, mask, _ = c.encode(self.noisy(batch))
        x = self.jittered(x)
        mean, log_variance = self.infer(x, mask)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        fit = (self.log_likelihood(x, z, mask) + c.log_volume(x, mask)).mean() / c.active
        per_dimension = kl_per_dimension(mean, log_variance).mean(0)
        kl = per_dimension.sum() / c.active
        nll = kl - fit
        scalars = {"nll": nll.detach(), "kl": kl.detach(), "reconstruction": -fit.detach()}
        if not self.training:
            return nll, scalars
        warmup = min(1.0, epoch / self.config.kl_warmup_epochs) if self.config.kl_warmup_epochs else 1.0
        clamped_kl = per_dimension.clamp_min(self.config.free_bits).sum() / c.active
        return self.config.beta * warmup * clamped_kl - fit, scalars


class Standard(nn.Module):
    """Independent Gaussians; the decoder returns means and log variances."""

    def log_terms(
        self, x: Float[Tensor, "B D"], out: Float[Tensor, "B o"], c: Coordinates
    ) -> Float[Tensor, "B D"]:
        """Log density of each coordinate."""
        mean, log_variance = out.chunk(2, -1)
        log_variance = _limited(log_variance)
        return -0.5 * ((x - mean) ** 2 * torch.exp(-log_variance) + log_variance + LOG_2PI)

    def draw(
        self, out: Float[Tensor, "B o"], e: Float[Tensor, "B D"], c: Coordinates
    ) -> Float[Tensor, "B D"]:
        """Mean plus noise."""
        mean, log_variance = out.chunk(2, -1)
        return mean + torch.exp(0.5 * _limited(log_variance)) * e


class Geodesic(nn.Module):
    """Rotations around the decoded one: s = log(R_decoded^T R) is Gaussian with one spread for all joints.

    p(s) = N(s; 0, sigma^2 I) / m(sigma) on the ball of radius pi, |s| being the geodesic distance, with m the mass
    of the Gaussian in the ball (in closed form; 1 to float precision below 30 degrees). The density is normalised;
    only samples come from the Gaussian without truncation, so samples beyond pi (none, below 30 degrees) fold. The
    change of variables from s to the coordinates is log_haar(t) - log_haar(s) per joint, and the scaling.
    """

    offset: Tensor

    def __init__(self, coordinates: Coordinates) -> None:
        super().__init__()
        centre = roma.rotvec_to_rotmat(coordinates.mean.reshape(-1, 3))
        # The decoder learns an offset to the mean pose; the spread starts at that of the data.
        self.register_buffer("offset", centre[..., :2].mT.reshape(-1), persistent=False)
        self.spread = nn.Parameter(coordinates.std.square().mean().sqrt().log() / PACE)

    def log_terms(
        self, x: Float[Tensor, "B D"], out: Float[Tensor, "B o"], c: Coordinates
    ) -> Float[Tensor, "B D"]:
        """Log density of each joint, a third on each of its axes."""
        t = c.unscale(x).reshape(len(x), len(c.active_joints), 3)
        R_decoded_joint = times(self._decoded(out).mT, roma.rotvec_to_rotmat(t))
        s = roma.rotmat_to_rotvec(R_decoded_joint)
        log_sigma = self._log_sigma()
        cut = math.pi * torch.exp(-log_sigma)
        mass = torch.erf(cut / math.sqrt(2)) - math.sqrt(2 / math.pi) * cut * torch.exp(-0.5 * cut * cut)
        gaussian = -0.5 * (s * s).sum(-1) * torch.exp(-2 * log_sigma) - 1.5 * LOG_2PI - 3 * log_sigma
        joint = gaussian - mass.log() + log_haar(t) - log_haar(s)
        terms = (joint / 3).repeat_interleave(3, -1)
        per_axis: Tensor = terms + c.log_scale
        return per_axis

    def draw(
        self, out: Float[Tensor, "B o"], e: Float[Tensor, "B D"], c: Coordinates
    ) -> Float[Tensor, "B D"]:
        """Multiply the decoded rotation by a small random one."""
        small = roma.rotvec_to_rotmat(
            torch.exp(self._log_sigma()) * e.reshape(len(e), len(c.active_joints), 3)
        )
        R = times(self._decoded(out), small)
        return c.scale(roma.rotmat_to_rotvec(R).flatten(1))

    def _decoded(self, out: Float[Tensor, "B o"]) -> Float[Tensor, "B J 3 3"]:
        return matrix_from_6d((out + self.offset).reshape(len(out), len(self.offset) // 6, 6))

    def _log_sigma(self) -> Tensor:
        """Bounded: the mass within pi must not vanish."""
        return (PACE * self.spread).clamp(-7.0, 0.5)


def kl_per_dimension(mean: Float[Tensor, "B z"], log_variance: Float[Tensor, "B z"]) -> Float[Tensor, "B z"]:
    """KL(N(mean, variance) | N(0, 1)), nats."""
    return 0.5 * (mean**2 + torch.exp(log_variance) - log_variance - 1)


def _limited(log_variance: Tensor) -> Tensor:
    """Limit to +-8 smoothly: this bounds the likelihood, and gradients do not vanish as with a clamp."""
    return LOG_VARIANCE_LIMIT * torch.tanh(log_variance / LOG_VARIANCE_LIMIT)


def _trunk(inputs: int, config: HandVAEConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, *[config.hidden] * (config.n_layers - 1)):
        layers += [nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.LayerNorm(config.hidden))


def _check(config: HandVAEConfig, coordinates: Coordinates) -> None:
    """Raise UserError unless all joints are of hands and, for `so3`, have three active axes."""
    others = [SMPLX_JOINTS[j] for j in coordinates.active_joints if j not in HANDS]
    if others:
        raise UserError(
            f"hand_vae: found joints that are not of a hand: {_first(others, 3)}. Set data.joints: hands."
        )
    if config.type == "so3" and coordinates.active != 3 * len(coordinates.active_joints):
        axes = [f"{axis} ({reason})" for axis, reason in coordinates.degenerate.items()]
        raise UserError(
            f"hand_vae: degenerate axes in the training poses: {_first(axes, 4)}. The geodesic likelihood needs "
            "all three axes of a joint. Set model.type: standard, or leave these joints out of data.joints."
        )


def _first(names: Sequence[str], count: int) -> str:
    """The first names of a list, and an ellipsis if there are more."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
