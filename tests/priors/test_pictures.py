"""Pictures of samples, for trackers of a training."""

from __future__ import annotations

import numpy as np
import torch

from mocap_ray import priors
from mocap_ray.drawing.pixels import HEIGHT, WIDTH
from mocap_ray.priors import Coordinates
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.pictures import sample_sheet, sheet


def test_pictures_of_bodies_and_hands_show_left_and_right() -> None:
    poses = np.zeros((3, 55, 3), np.float32)
    poses[2, 0, 0] = np.nan
    for hands in (False, True):
        picture = sheet(poses, hands=hands)
        assert picture.shape == (HEIGHT, 3 * WIDTH, 3)
        left, right = ((picture == colour).all(-1) for colour in ((0, 114, 178), (213, 94, 0)))
        assert left[:, :WIDTH].sum() > 50
        assert right[:, :WIDTH].sum() > 50
        assert np.array_equal(picture[:, :WIDTH], picture[:, WIDTH : 2 * WIDTH])
        assert (picture[:, 2 * WIDTH :] == 255).all()  # not finite: empty


def test_a_sheet_of_samples_is_the_same_each_time_and_leaves_the_prior_as_it_was() -> None:
    poses = 0.3 * torch.randn(50, 55, 3, generator=torch.Generator().manual_seed(0))
    prior = priors.build(GaussianConfig(), Coordinates.fit(poses))
    prior.train()
    state = torch.get_rng_state()
    first = sample_sheet(prior, count=3)
    assert torch.equal(torch.get_rng_state(), state), "pictures do not change a training"
    assert first.shape == (HEIGHT, 3 * WIDTH, 3)
    assert first.dtype == np.uint8
    assert prior.training
    torch.randn(5)
    assert np.array_equal(sample_sheet(prior, count=3), first)
    assert not np.array_equal(first[:, :WIDTH], first[:, WIDTH : 2 * WIDTH]), "different samples"
