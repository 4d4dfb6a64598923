"""From the numbers of the heads to parameters of SMPL-X, in fp32 whatever the dtype of the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray.estimation.camera import translation
from mocap_ray.estimation.decoder import HeadOutputs
from mocap_ray.estimation.rotations import matrix_from_6d, rotvec_from_matrix


@dataclass(frozen=True, slots=True)
class Estimate:
    """Parameters of people, in the network's own conventions (docs/estimation.md).

    Attributes:
        rotations: of the 55 joints of SMPL-X in its order, relative to their parents, the pelvis to the camera (X
            right, Y down, Z away). Hands are relative to the model's mean hands. Eyes are not predicted: identity.
        betas, expression: coefficients of SMPL-X.
        trans: translation of the model in the virtual camera of the crop, metres.
    """

    rotations: Float[Tensor, "B 55 3 3"]
    betas: Float[Tensor, "B 10"]
    expression: Float[Tensor, "B 10"]
    trans: Float[Tensor, "B 3"]

    @property
    def poses(self) -> Float[Tensor, "B 55 3"]:
        """The rotations as rotation vectors, rad."""
        return rotvec_from_matrix(self.rotations)


def read_out(heads: HeadOutputs) -> Estimate:
    """Rotations, coefficients and a translation from the numbers of the heads."""
    batch = len(heads.root)
    sixes = [heads.root[:, None], heads.body, heads.jaw[:, None], heads.left_hand, heads.right_hand]
    found = matrix_from_6d(torch.cat(sixes, dim=1).float())
    eyes = torch.eye(3, dtype=found.dtype, device=found.device).expand(batch, 2, 3, 3)
    return Estimate(
        rotations=torch.cat([found[:, :23], eyes, found[:, 23:]], dim=1),
        betas=heads.betas.float(),
        expression=heads.expression.float(),
        trans=translation(heads.camera.float()),
    )
