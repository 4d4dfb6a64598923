"""Samples of a prior as a playlist: each entry is another draw."""

from __future__ import annotations

import torch

from mocap_ray.priors.prior import Prior
from mocap_ray.viewing.figures import Shelf
from mocap_ray.viewing.files import still
from mocap_ray.viewing.playlist import Playlist
from mocap_ray.viewing.rows import Rows
from mocap_ray.viewing.scene import Scene
from mocap_ray.wording import counted

DRAWS = 1000
"""Entries of the playlist: seeds."""


class DrawPlaylist(Playlist):
    """Draws of a prior; the seed of an entry is that of the first one plus its number."""

    def __init__(
        self, prior: Prior, *, title: str, count: int = 12, seed: int = 0, shelf: Shelf | None = None
    ):
        """Name the draws.

        Args:
            prior: in eval mode.
            title: where it was loaded from.
            count: samples of a draw.
            seed: of the first draw; the samples are those of `mocap-ray sample --seed`.
            shelf: body models, if there are any; the family is SMPL-X.
        """
        self.prior, self.title, self.count, self.seed, self.shelf = prior, title, count, seed, shelf
        self.rows = Rows([f"draw with seed {seed + k}" for k in range(DRAWS)])

    def scene(self, index: int) -> Scene:
        """Draw samples."""
        seed = self.seed + index
        poses = self.prior.sample(self.count, torch.Generator().manual_seed(seed)).float().cpu().numpy()
        joints = len(self.prior.coordinates.active_joints)
        facts = (
            ("prior", type(self.prior).__name__),
            ("samples", f"{counted(self.count, 'pose')}, seed {seed}"),
            ("joints", "all" if joints == 55 else f"{joints} of 55; the others are at rest"),
        )
        return Scene(self.rows.names[index], still(poses, shelf=self.shelf), facts)
