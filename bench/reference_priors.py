"""Straightforward implementations of the four priors as the reference defines them: baselines and test oracles.

Written from the definitions alone (masks, widths, activations, counts). Inputs are active coordinates, without
standardisation; ActNorm uses the first batch; the small flows of the joints run in a Python loop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


def normal_log_density(z: Tensor) -> Tensor:
    return -0.5 * (z * z + LOG_2PI).sum(-1)


def network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class AffineCoupling(nn.Module):
    """The `kept` dimensions (and a condition) determine tanh log scale and shift of the others."""

    def __init__(self, dimensions: int, kept: list[int], condition: int, hidden: int) -> None:
        super().__init__()
        self.kept = kept
        self.changed = [d for d in range(dimensions) if d not in kept]
        self.net = network(len(kept) + condition, hidden, 2 * len(self.changed))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Changed numbers and log |det|."""
        log_scale, shift = self.net(torch.cat([x[:, self.kept], condition], -1)).chunk(2, -1)
        log_scale = torch.tanh(log_scale)
        y = x.clone()
        y[:, self.changed] = x[:, self.changed] * torch.exp(log_scale) + shift
        return y, log_scale.sum(-1)


class ReferenceGaussian(nn.Module):
    """Mean and log variance of each dimension, initialised to zero."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(dimensions))
        self.log_variance = nn.Parameter(torch.zeros(dimensions))

    def log_prob(self, x: Tensor) -> Tensor:
        """[B] nats."""
        z2 = (x - self.mean) ** 2 * torch.exp(-self.log_variance)
        return -0.5 * (z2 + self.log_variance + LOG_2PI).sum(-1)


class ReferenceJointFlow(nn.Module):
    """A RealNVP per joint, conditioned on the parent's axis-angle; x [B, 3 J] of whole joints."""

    def __init__(self, parents: tuple[int, ...], *, K: int = 4, hidden: int = 128) -> None:
        super().__init__()
        self.parents = parents
        self.flows = nn.ModuleList(
            nn.ModuleList(AffineCoupling(3, [0, 2] if k % 2 == 0 else [1], 3, hidden) for k in range(K))
            for _ in parents
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """[B] nats."""
        joints = x.reshape(len(x), -1, 3)
        total = x.new_zeros(len(x))
        for j, (flow, parent) in enumerate(zip(self.flows, self.parents, strict=True)):
            z = joints[:, j]
            condition = torch.zeros_like(z) if parent < 0 else joints[:, parent]
            for coupling in flow:
                z, log_det = coupling(z, condition)
                total = total + log_det
            total = total + normal_log_density(z)
        return total


class ReferenceActNorm(nn.Module):
    """Shift and log scale, set by the first batch."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dimensions))
        self.log_scale = nn.Parameter(torch.zeros(dimensions))
        self.ready = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Changed numbers and log |det|."""
        if not self.ready:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.log_scale.copy_(-torch.log(x.std(0) + 1e-6))
            self.ready = True
        return (x + self.shift) * torch.exp(self.log_scale), self.log_scale.sum()


class ReferenceGlobalFlow(nn.Module):
    """K blocks of ActNorm, coupling, ActNorm, permutation on x [B, D]."""

    def __init__(self, dimensions: int, *, K: int = 6, hidden: int = 512) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.orders = [torch.randperm(dimensions) for _ in range(K)]
        for k in range(K):
            coupling = AffineCoupling(dimensions, list(range(k % 2, dimensions, 2)), 0, hidden)
            self.blocks.append(
                nn.ModuleList([ReferenceActNorm(dimensions), coupling, ReferenceActNorm(dimensions)])
            )

    def log_prob(self, x: Tensor) -> Tensor:
        """[B] nats."""
        total = x.new_zeros(len(x))
        nothing = x.new_zeros(len(x), 0)
        for (before, coupling, after), order in zip(self.blocks, self.orders, strict=True):
            x, first = before(x)
            x, second = coupling(x, nothing)
            x, third = after(x)
            x = x[:, order]
            total = total + first + second + third
        return total + normal_log_density(x)


class ReferenceHandVAE(nn.Module):
    """The standard VAE on standardised numbers [B, D]; `log_prob` is the ELBO with one sample."""

    def __init__(self, dimensions: int, *, z_dim: int = 24, hidden: int = 256, dropout: float = 0.1) -> None:
        super().__init__()

        def trunk(inputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for width in (inputs, hidden, hidden):
                layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
            return nn.Sequential(*layers, nn.LayerNorm(hidden))

        self.encoder, self.decoder = trunk(dimensions), trunk(z_dim)
        self.mean, self.log_variance = nn.Linear(hidden, z_dim), nn.Linear(hidden, z_dim)
        self.out_mean, self.out_log_variance = nn.Linear(hidden, dimensions), nn.Linear(hidden, dimensions)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log likelihood with one sample of the posterior, and the KL term, each [B] nats."""
        mean, log_variance = self.posterior(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.fit(x, z), 0.5 * (mean**2 + torch.exp(log_variance) - log_variance - 1).sum(-1)

    def log_prob(self, x: Tensor, *, samples: int = 1) -> Tensor:
        """[B] nats: the ELBO of one sample, or the importance-weighted bound of several."""
        if samples == 1:
            fit, kl = self.terms(x)
            return fit - kl
        mean, log_variance = self.posterior(x)
        weights = []
        for _ in range(samples):
            e = torch.randn_like(mean)
            z = mean + torch.exp(0.5 * log_variance) * e
            weights.append(self.fit(x, z) + 0.5 * (e * e + log_variance - z * z).sum(-1))
        return torch.logsumexp(torch.stack(weights), 0) - math.log(samples)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z."""
        h = self.encoder(x)
        return self.mean(h), self.log_variance(h)

    def fit(self, x: Tensor, z: Tensor) -> Tensor:
        """Log likelihood [B]."""
        h = self.decoder(z)
        out, out_log_variance = self.out_mean(h), self.out_log_variance(h)
        return -0.5 * ((x - out) ** 2 * torch.exp(-out_log_variance) + out_log_variance + LOG_2PI).sum(-1)
