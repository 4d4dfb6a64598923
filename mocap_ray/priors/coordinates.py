"""The coordinates in which priors work: pose formats, degenerate dimensions, charts and scales.

A pose is 55 rotations (SMPL-X order). A prior is a density over `active` coordinates x [D]: the axes of the
chosen joints, without those on which the training split does not bound a density; see `degeneracy.py`.
Densities are reported with respect to Lebesgue measure on canonical rotation vectors (rad, angle in [0, pi])
in every representation; `log_volume` converts. So scores are comparable across representations.

`rotvec`  x = the rotation vector itself.
`tangent` x = log(R_mean^T R), the chart at each joint's mean rotation: joints far from rest (collars, thumbs,
          bent knees) look more Gaussian there. Joints with a degenerate axis keep R_mean = I, i.e. their
          rotation vector, so that active dimensions are the same numbers in both.
Standardised by `axis`: minus the training mean, divided by the training standard deviation of each axis. By `joint`:
whitened by the training covariance of each joint, x = L^-1 (r - mean) with L L^T its covariance. A joint's rotations
often lie in a thin sheet across the axes (knees 27 degrees wide and 0.4 thick), which scaling the axes cannot widen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mocap_ray.priors.description import Description, Representation, Standardise, checked
from mocap_ray.priors.forms import (
    AT_REST,
    FORMS,
    J,
    JointChoice,
    form_of,
    full_mask,
    joint_indices,
    rotvecs_of,
)
from mocap_ray.priors.rotations import canonical, log_haar, turned
from mocap_ray.priors.statistics import Statistics
from mocap_ray.priors.tails import uniform_log_density
from mocap_ray.skeleton import SMPLX_JOINTS, SMPLX_PARENTS


class Measures(NamedTuple):
    """Volumes at a pose, joint by joint.

    Attributes:
        log_volume: log |dx / d rotation vector|: added to a log density of x, it gives one of rotation vectors.
        log_uniform: log density of rotation vectors of uniformly distributed rotations, see `tails.py`.
    """

    log_volume: Float[Tensor, "n L"]
    log_uniform: Float[Tensor, "n L"]


class Coordinates(nn.Module):
    """Maps poses to active coordinates and back; holds buffers only. Create it with `fit` or `from_description`.

    Attributes:
        active: D, the number of active coordinates.
        joints: indices of the chosen joints among the 55.
        active_joints: the chosen joints with at least one active axis, in order.
        degenerate: excluded axes of chosen joints -> reason: `jaw.x` -> `constant`, ...
        centre: [55, 3] rotation vectors of R_mean, so that R_mean is a rotation in any precision; 0: no chart.
        factor: [L, 3, 3] Cholesky factors of the active joints' covariances, rad; `joint` whitens by them.
        follow: [55, 3, 3] how degenerate axes follow from the active ones of their joint, see `degeneracy.py`.
        spread: [D, D] chart numbers minus their mean = spread @ x, lower triangular within each joint.
        std: [D] standard deviations of the active axes, rad, with any `standardise`.
        log_scale: [D]; its sum is log |d rotation vector / dx| of the scaling, also within each joint.
        axes: [L] number of active axes of each active joint.
        position_of: [D] the joint of each coordinate, as a position in `active_joints`.
        fill: [D] coordinates of the training mean: the values of hidden joints where a model needs numbers.
    """

    mean: Tensor
    std: Tensor
    factor: Tensor
    constants: Tensor
    follow: Tensor
    centre: Tensor
    joint_index: Tensor
    within: Tensor
    joint_of: Tensor
    position_of: Tensor
    first_of: Tensor
    axes: Tensor
    log_scale: Tensor
    joint_log_scale: Tensor
    spread: Tensor

    def __init__(
        self, statistics: Statistics, *, representation: Representation, standardise: Standardise
    ) -> None:
        super().__init__()
        assert len(statistics.active) == len(statistics.mean) == len(statistics.std) > 0
        self.joints = statistics.joints
        self.representation: Representation = representation
        self.standardise: Standardise = standardise
        self.index_list = statistics.active
        self.active = len(statistics.active)
        self.active_joints = tuple(sorted({k // 3 for k in statistics.active}))
        self.degenerate = dict(statistics.degenerate)
        self.follows = bool((statistics.follow != 0).any())
        single = torch.get_default_dtype()
        stored = {
            "mean": statistics.mean,
            "std": statistics.std,
            "factor": statistics.factor,
            "centre": statistics.centre,
            "constants": statistics.constants,
            "follow": statistics.follow,
        }
        for name, value in stored.items():
            self.register_buffer(name, value.to(single, copy=True))
        index = torch.tensor(self.index_list)
        joints_in_use = torch.tensor(self.active_joints)
        position = torch.searchsorted(joints_in_use, index // 3)
        self.register_buffer("joint_of", index // 3, persistent=False)
        self.register_buffer("position_of", position, persistent=False)
        first = torch.searchsorted(position, torch.arange(len(joints_in_use), device=position.device))
        self.register_buffer("first_of", first, persistent=False)
        self.register_buffer("axes", torch.bincount(position, minlength=len(joints_in_use)), persistent=False)
        self.register_buffer("joint_index", joints_in_use, persistent=False)
        self.register_buffer("within", 3 * position + index % 3, persistent=False)
        self._register_scaling()

    @classmethod
    def fit(
        cls,
        poses: Float[Tensor, "N 55 3"] | Float[np.ndarray, "N 55 3"],
        *,
        joints: JointChoice = "all",
        representation: Representation = "rotvec",
        standardise: Standardise = "axis",
        floor_deg: float = 0.0,
    ) -> Coordinates:
        """Fit coordinates to the training split.

        Args:
            poses: rotation vectors, rad.
            joints: see `joint_indices`.
            representation: the chart; see the module's docstring.
            standardise: the scaling; see the module's docstring.
            floor_deg: width in degrees that is added in quadrature to that of each direction, for the scaling.

        Raises:
            UserError: fewer than two poses, a number that is not finite, or nothing that varies.
        """
        statistics = Statistics.of(
            torch.as_tensor(poses), joints=joints, tangent=representation == "tangent", floor_deg=floor_deg
        )
        return cls(statistics, representation=representation, standardise=standardise)

    # ---- forms -----------------------------------------------------------------------------------------------

    def rotvecs(self, poses: Tensor) -> Float[Tensor, "*B 55 3"]:
        """Convert poses of any form to canonical rotation vectors of 55 joints, in this module's dtype.

        Args:
            poses: axis-angle [*B, J, 3], matrices [*B, J, 3, 3] or 6-D [*B, J, 6], J one of `FORMS`. 53 joints
                lack the eyes, 52 the jaw and the eyes; 22 and 21 are the body with and without pelvis, 30 the
                hands. Missing joints become zero.

        Raises:
            ValueError: another shape, or numbers that are not floating point.
        """
        return rotvecs_of(poses, dtype=self.mean.dtype)

    def encode(
        self, poses: Tensor, visible: Bool[Tensor, "*B J"] | None = None
    ) -> tuple[Float[Tensor, "n D"], Bool[Tensor, "n D"] | None, torch.Size]:
        """Active coordinates of poses, the mask of visible ones (None: all), and the leading batch shape.

        Args:
            poses: any form that `rotvecs` accepts.
            visible: mask of as many joints as the poses have, broadcast over the batch. Joints missing from
                formats of 21, 22 or 30 are hidden; jaw and eyes missing from 52 or 53 are at rest and visible.
        """
        kind, count = form_of(poses)
        if kind == "rotvec" and count == J:
            # Training takes this path: only the joints in use have to be made canonical.
            batch = poses.shape[:-2]
            vectors = canonical(self._used(poses.to(self.mean.dtype).reshape(-1, J, 3)))
        else:
            converted = self.rotvecs(poses)
            batch = converted.shape[:-2]
            vectors = self._used(converted.reshape(-1, J, 3))
        x = self.of_vectors(vectors)
        return x, self._coordinate_mask(count, visible, batch), batch

    def of_vectors(self, vectors: Float[Tensor, "n L 3"]) -> Float[Tensor, "n D"]:
        """Active coordinates of the canonical rotation vectors of the active joints, rad."""
        numbers = self._to_chart(vectors).reshape(len(vectors), 3 * len(self.active_joints))
        whole = self.active == numbers.shape[1]
        return self.scale(numbers if whole else numbers.index_select(1, self.within))

    def decode(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n 55 3"]:
        """Canonical rotation vectors; joints not chosen are zero, degenerate axes follow from the active ones.

        Angles beyond pi fold back to the same rotation, with another density.
        """
        vectors = canonical(self._from_chart(self._chart_numbers(x)))
        return self.constants.expand(len(x), J, 3).index_copy(1, self.joint_index, vectors)

    def project(self, poses: Tensor) -> Float[Tensor, "*B J 3"]:
        """Poses with excluded axes as samples have them: at their constants, or following the active ones.

        Active axes and joints that are not chosen are passed through. Differentiable: gradients of excluded axes
        are zero. A density is the same before and after, except where a rotation folds at the angle pi.

        Args:
            poses: any form that `rotvecs` accepts.

        Returns:
            Canonical rotation vectors of the J joints that the poses have, rad: `energy` hides the missing ones.
        """
        count = form_of(poses)[1]
        vectors = self.rotvecs(poses)
        chosen = torch.zeros(J, 1, dtype=torch.bool, device=vectors.device)
        chosen[list(self.joints)] = True
        active = torch.zeros(3 * J, dtype=torch.bool, device=vectors.device)
        active[list(self.index_list)] = True
        kept = torch.where(active.reshape(J, 3), vectors, 0.0)
        placed = kept + self.constants  # which are zero on active axes
        if self.follows:
            placed = placed + torch.einsum("jik,...jk->...ji", self.follow, kept)
        found = torch.where(chosen, canonical(placed), vectors)
        return found if count == J else found[..., list(FORMS[count]), :]

    def scale(self, raw: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """Chart numbers (rad) to coordinates."""
        if self.standardise == "joint":
            # Solve instead of multiplying by an inverse: the round trip is then exact in any precision.
            solved: Tensor = torch.linalg.solve_triangular(self.spread, (raw - self.mean).mT, upper=False)
            return solved.mT
        return (raw - self.mean) / self.std if self.standardise == "axis" else raw

    def unscale(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """Coordinates to chart numbers (rad)."""
        if self.standardise == "joint":
            with torch.autocast(x.device.type, enabled=False):  # bf16 has too few digits for a rotation
                return x @ self.spread.mT + self.mean
        return x * self.std + self.mean if self.standardise == "axis" else x

    @property
    def fill(self) -> Float[Tensor, "D"]:
        """The training mean in coordinates."""
        return self.mean if self.standardise == "none" else torch.zeros_like(self.mean)

    def log_volume(
        self, x: Float[Tensor, "n D"], visible: Bool[Tensor, "n D"] | None = None
    ) -> Float[Tensor, "n"]:
        """Log |dx / d rotation vector| [n]; hidden coordinates contribute zero. See `measures`."""
        volume = self.measures(x).log_volume
        return (volume if visible is None else torch.where(self.joint_mask(visible), volume, 0.0)).sum(-1)

    def measures(self, x: Float[Tensor, "n D"]) -> Measures:
        """Volumes at x, joint by joint.

        Scaling gives -sum log_scale. The chart gives log_haar(r) - log_haar(t) per joint: both are coordinates
        of the same rotation, and Haar measure is invariant to R_mean.
        """
        # Coordinates beyond pi fold in both terms: the chart ends at the ball of radius pi.
        t = canonical(self._chart_numbers(x))
        volume = self.joint_log_scale.neg().expand(len(x), -1)
        if self.representation == "rotvec":
            return Measures(volume, uniform_log_density(t, self.axes))
        r = canonical(self._from_chart(t))
        haar = log_haar(r)
        return Measures(volume + haar - log_haar(t), uniform_log_density(r, self.axes, haar))

    # ---- joints ----------------------------------------------------------------------------------------------

    def by_joint(self, terms: Float[Tensor, "n D"]) -> Float[Tensor, "n L"]:
        """Sum the terms of each active joint."""
        if self.active == 3 * len(self.active_joints):
            return terms.reshape(len(terms), len(self.active_joints), 3).sum(-1)
        sums = terms.new_zeros(len(terms), len(self.active_joints))
        return sums.index_add(1, self.position_of, terms)

    def joint_mask(self, visible: Bool[Tensor, "n D"]) -> Bool[Tensor, "n L"]:
        """Mask of active joints, from one of coordinates."""
        return visible[:, self.first_of]

    # ---- structure and serialisation -------------------------------------------------------------------------

    def parents(self) -> tuple[int, ...]:
        """For each active joint its nearest active ancestor, as a position in `active_joints`; -1: none.

        A parent that is constant or not chosen carries no information and is skipped.
        """
        position = {j: k for k, j in enumerate(self.active_joints)}
        parents = []
        for j in self.active_joints:
            up = SMPLX_PARENTS[j]
            while up >= 0 and up not in position:
                up = SMPLX_PARENTS[up]
            parents.append(position.get(up, -1))
        return tuple(parents)

    def describe(self) -> Description:
        """Plain JSON values that `from_description` reads back, bit for bit in float32."""
        return {
            "joints": [SMPLX_JOINTS[j] for j in self.joints],
            "representation": self.representation,
            "standardise": self.standardise,
            "active": list(self.index_list),
            "degenerate": self.degenerate,
            "constants": self.constants.tolist(),
            "follow": self.follow.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "factor": self.factor.tolist(),
            "centre": self.centre.tolist(),
        }

    @classmethod
    def from_description(cls, description: Any) -> Coordinates:
        """Restore the coordinates that `describe` returned.

        Args:
            description: plain JSON values of a file, which may be edited or damaged.

        Raises:
            UserError: not a description of coordinates.
        """
        description = checked(description)
        double = torch.float64
        statistics = Statistics(
            joints=joint_indices(description["joints"]),
            active=tuple(description["active"]),
            degenerate=description["degenerate"],
            constants=torch.tensor(description["constants"], dtype=double),
            follow=torch.tensor(description["follow"], dtype=double),
            mean=torch.tensor(description["mean"], dtype=double),
            std=torch.tensor(description["std"], dtype=double),
            factor=torch.tensor(description["factor"], dtype=double),
            centre=torch.tensor(description["centre"], dtype=double),
        )
        return cls(
            statistics,
            representation=description["representation"],
            standardise=description["standardise"],
        )

    def extra_repr(self) -> str:
        """One line for print(model)."""
        return f"active={self.active}, joints={len(self.active_joints)}, {self.representation}"

    def _register_scaling(self) -> None:
        """Register the buffers that follow from the statistics; they are not saved."""
        L = len(self.factor)
        unit = torch.eye(L, dtype=torch.float64, device=self.factor.device)
        blocks = torch.einsum("lij,lm->limj", self.factor.double(), unit).reshape(
            3 * L, 3 * L
        )  # block diagonal
        whitened = blocks[self.within][:, self.within]  # excluded axes are rows of the identity
        diagonal = {
            "none": torch.eye(self.active, dtype=torch.float64),
            "axis": torch.diag(self.std.double()),
        }
        spread = diagonal.get(self.standardise, whitened)
        assert spread.shape == (self.active, self.active)
        log_scale = spread.diagonal().log()
        per_joint = torch.zeros(L, dtype=torch.float64, device=log_scale.device)
        scales = {
            "log_scale": log_scale,
            "joint_log_scale": per_joint.index_add(0, self.position_of, log_scale),
            "spread": spread,
        }
        for name, value in scales.items():
            self.register_buffer(name, value.to(self.mean.dtype), persistent=False)

    def _chart_numbers(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "n L 3"]:
        """Chart vectors of the active joints, degenerate axes at their constants or on their line."""
        raw = self.unscale(x)
        if self.active == 3 * len(self.active_joints):
            return raw.reshape(len(x), len(self.active_joints), 3)
        rest = self.constants[self.joint_index]
        placed = torch.zeros_like(rest).reshape(1, -1).expand(len(x), -1).index_copy(1, self.within, raw)
        vectors = placed.reshape(len(x), len(self.active_joints), 3) + rest
        if self.follows:
            vectors = vectors + torch.einsum("lij,nlj->nli", self.follow[self.joint_index], vectors)
        return vectors

    def _used(self, vectors: Float[Tensor, "n 55 3"]) -> Float[Tensor, "n L 3"]:
        """The vectors of the active joints."""
        return vectors if len(self.active_joints) == J else vectors.index_select(1, self.joint_index)

    def _to_chart(self, vectors: Float[Tensor, "n L 3"]) -> Float[Tensor, "n L 3"]:
        """Rotation vectors of the active joints to log(R_mean^T R)."""
        return self._moved(vectors, -self.centre[self.joint_index])

    def _from_chart(self, vectors: Float[Tensor, "n L 3"]) -> Float[Tensor, "n L 3"]:
        """The inverse of `_to_chart`."""
        return self._moved(vectors, self.centre[self.joint_index])

    def _moved(self, vectors: Float[Tensor, "n L 3"], by: Float[Tensor, "L 3"]) -> Float[Tensor, "n L 3"]:
        """log(exp(by) exp(vectors)); bit-equal to `vectors` where `by` is zero."""
        if self.representation == "rotvec":
            return vectors
        return torch.where((by != 0).any(-1, keepdim=True), turned(by, vectors), vectors)

    def _coordinate_mask(
        self, count: int, visible: Bool[Tensor, "*B J"] | None, batch: torch.Size
    ) -> Bool[Tensor, "n D"] | None:
        """Mask of visible coordinates; None if all are visible."""
        lacking = count not in AT_REST and not set(self.active_joints) <= set(FORMS[count])
        if visible is None and not lacking:
            return None
        joints = full_mask(count, None if visible is None else visible.to(self.mean.device))
        return joints.to(self.mean.device).expand(*batch, J).reshape(-1, J)[:, self.joint_of]
