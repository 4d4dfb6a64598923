"""The table of fits: all settings in one batch give what each gives alone, and failures are named."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import fitting
from bench.fitting_table import Cell, at_border, failures, picture, text
from mocap_ray import priors
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.judging import metrics


def bodies(n: int, seed: int) -> Tensor:
    """Joints that move about a mean pose."""
    poses = np.zeros((n, 55, 3))
    poses[:, 1:22] = 0.2 + 0.3 * np.random.default_rng(seed).normal(size=(n, 21, 3))
    return torch.as_tensor(poses, dtype=torch.float32)


def test_a_batch_of_settings_gives_what_each_gives_alone() -> None:
    train = bodies(300, 1)
    config = GaussianConfig()
    prior = priors.build(config, priors.fit_coordinates(config, train, joints="body")).eval()
    task = fitting.Task({"a": bodies(3, 2), "b": bodies(2, 3)}, tune=bodies(2, 4),
                        start=metrics.mean_pose(train), joints=range(1, 22), seed=0, steps=8)  # fmt: skip
    truth = torch.cat([bodies(8, 2), bodies(8, 2)])
    noise, weight = torch.tensor([0.01] * 8 + [0.1] * 8), torch.tensor([0.1] * 8 + [1.0] * 8)
    options = {"observed": "2d", "seed": 5}
    together, _ = fitting.fitted(task, truth, prior, noise=noise, weight=weight, **options)
    alone, _ = fitting.fitted(task, truth[:8], prior, noise=noise[:8], weight=weight[:8], **options)
    assert torch.allclose(together[:8], alone, atol=1e-3)
    assert not torch.allclose(together[:8], together[8:], atol=0.1)
    cells = fitting.merged([fitting.errors(task, "gaussian_prior", prior) for _ in range(2)])
    assert len(cells) == 2 * 2 * 3
    assert {c.people for c in cells} == {"a", "b"}
    assert all(c.degrees[0] == c.degrees[1] > 0 for c in cells), "equal seeds give equal fits"
    assert all(set(c.weights) <= set(fitting.WEIGHTS) for c in cells)


def cell(method: str, *degrees: float, noise: float = 0.03) -> Cell:
    return Cell("people <&>", "2d", noise, method, degrees, degrees, (0.1,) * len(degrees))


def test_a_prior_that_is_not_below_the_baselines_is_named() -> None:
    cells = [
        cell("no prior", 20, 21),
        cell("gaussian_prior", 15, 16),
        cell("flow", 14, 15),
        cell("bad", 15.5, 16.5),
    ]
    found = failures(cells, baselines=["no prior", "gaussian_prior"])
    assert found == ["people <&>, 2d, 3 cm: bad is 0.50 degrees above gaussian_prior"]
    ties = [cell("no prior", 20, 21, noise=0.01), cell("flow", 20.5, 20.7, noise=0.01)]
    assert failures(ties, baselines=["no prior"]) == []
    ties[1] = cell("flow", 20.8, 21.7, noise=0.01)
    assert len(failures(ties, baselines=["no prior"])) == 1


def test_weights_at_the_border_of_the_grid_are_named() -> None:
    cells = [cell("flow", 1.0, 2.0)]
    assert at_border(cells, (0.03, 0.1, 0.3)) == []
    (found,) = at_border(cells, (0.03, 0.1))
    assert "flow chose 0.1, at the border" in found


@pytest.mark.parametrize("methods", [["no prior"], ["no prior", "flow"]])
def test_the_picture_and_the_text_have_all_figures(methods: list[str]) -> None:
    cells = [cell(m, 20.04 + k, 22.04 + k) for k, m in enumerate(methods)]
    drawn = picture(cells)
    shown = "".join(ET.fromstring(drawn).itertext())
    for k, method in enumerate(methods):
        for part in (method, f"{21.04 + k:.1f} ± 1.0"):
            assert part in shown
            assert part in text(cells)
