"""The interface of all pose priors.

A prior is a density over the active axes of a pose: those of the joints that its config names, without the
degenerate ones found on the training split. Losses and scores are in nats per active dimension, so they are
comparable between data sets with and without hands. Densities are with respect to Lebesgue measure on canonical
rotation vectors (rad) in all coordinates that models work in, so they are comparable between models.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import torch
from jaxtyping import Bool, Float
from pydantic import Field, JsonValue
from torch import Tensor, nn

from mocap_ray.options import MAY_CHANGE
from mocap_ray.priors.broad import broad_draw, broad_log_density, coins, least_log_density
from mocap_ray.priors.coordinates import Coordinates
from mocap_ray.priors.description import Description, Representation, Standardise
from mocap_ray.priors.rotations import noisy_rotations
from mocap_ray.priors.tails import mixed
from mocap_ray.training.options import ModelOptions

Layers = Annotated[int, Field(ge=1, le=256)]
"""A number of layers or bins; the limit keeps a damaged prior.json from building millions of them."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""A number of units of a layer."""


Weight = Annotated[float, Field(gt=0, lt=0.5)]
"""Of one part of a mixture."""


class PriorConfig(ModelOptions):
    """Options of every model; each model adds its `kind` and its own options."""

    foreign: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("num_joints", "dim", "pose_dim"),
        "data.joints chooses the joints; the number of axes follows from the data.",
    )

    representation: Representation = "rotvec"
    """`rotvec`: rotation vectors; `tangent`: log(R_mean^T R), the chart at each joint's mean rotation."""
    standardise: Standardise = "axis"
    """`axis`: in units of the training split's mean and standard deviation; `joint`: whitened by each joint's
    covariance, so that the thin directions of a joint count like the wide ones; `none`: rad."""
    noise_deg: Annotated[float, Field(ge=0, le=90), MAY_CHANGE] = 0.0
    """Geodesic noise on training poses: each rotation is turned about a random axis, with this standard deviation per
    axis. It smooths the density equally for all joints, and blurs directions that vary less than the noise."""
    jitter: Annotated[float, Field(ge=0), MAY_CHANGE] = 0.0
    """Gaussian noise on training coordinates, in their units: with standardised ones, 0.1 is a tenth of each standard
    deviation. It smooths wide and thin directions alike. With few subjects, flows overfit without it."""
    tails: Literal["heavy", "gaussian"] = "heavy"
    """`heavy`: every pose has a least density, and the energy grows slowly towards it (see `priors/tails.py`);
    `gaussian`: the bare model, whose energy has no upper limit."""
    floor_deg: Annotated[float, Field(ge=0, le=30)] = 0.5
    """Heavy tails: whitening and standardising treat each direction as at least this wide, in degrees."""
    broad_weight: Weight = 0.02
    """Heavy tails: weight of the broad density, and share of the samples that come from it: of the joints where a model
    factorises over them, else of the poses."""


class PriorDescription(TypedDict):
    """What `mocap_ray.load_prior` needs besides the tensors, as plain JSON values."""

    model: dict[str, JsonValue]
    coordinates: Description


class Prior(nn.Module, ABC):
    """A learned density of human poses.

    Poses come as axis-angle [*B, J, 3] (rad), matrices [*B, J, 3, 3] or 6-D [*B, J, 6] (first two columns of the
    matrix, column by column), with J = 55 (SMPL-X), 53 (no eyes), 52 (SMPL+H) or 21 (body without pelvis); see
    `Coordinates.rotvecs`.

    Attributes:
        config: the `model` section that built it.
        coordinates: the axes of a pose that it models, and their scaling; fitted on the training split.
        bound: whether `log_prob` is a lower bound (see `ImportanceWeighted`) instead of exact.
        factorised: whether the density is a product over joints, each of which may depend on others; such a prior
            implements `joint_log_densities`, and each joint gets its own tails.
    """

    bound: ClassVar[bool] = False
    factorised: ClassVar[bool] = False

    config: PriorConfig
    coordinates: Coordinates

    def __init__(self, config: PriorConfig, coordinates: Coordinates) -> None:
        super().__init__()
        self.config = config
        self.coordinates = coordinates

    @abstractmethod
    def log_density(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B"]:
        """Log density in nats with respect to active coordinates, without the broad density of the tails.

        Of the visible coordinates, as far as the model can.
        """

    def joint_log_densities(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B L"]:
        """The term of each active joint, whose sum is `log_density`; hidden joints have zero.

        Only for priors that set `factorised`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not factorise over joints")

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Samples in active coordinates, without the broad density of the tails."""

    def draw_around(
        self,
        given: Bool[Tensor, "n D"],
        values: Float[Tensor, "n D"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n D"]:
        """Samples in which some joints have given values.

        The other joints of a factorised prior follow their conditional density. The default is right where joints are
        independent, and where all joints of a sample are given or none.
        """
        return torch.where(given, values, self.draw(len(given), generator))

    def log_prob(self, poses: Tensor, visible: Bool[Tensor, "*B J"] | None = None) -> Tensor:
        """Log density [*B] in nats, per rad^D of rotation vectors; gradients are finite, also at angles 0 and pi.

        With `tails: heavy` it is at least `least_log_density`, whatever the pose.

        Args:
            poses: any of the forms above.
            visible: mask of joints; hidden ones contribute nothing (each model documents what that means).
        """
        x, mask, batch = self.coordinates.encode(poses, visible)
        return self._log_prob(x, mask).reshape(batch)

    def _log_prob(
        self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None, **how: Any
    ) -> Float[Tensor, "B"]:
        """Log density per rad^D of rotation vectors, with the tails; `how` goes to `log_density`."""
        c = self.coordinates
        if self.config.tails == "gaussian":
            return self.log_density(x, visible, **how) + c.log_volume(x, visible)
        log_weight, measures = math.log(self.config.broad_weight), c.measures(x)
        seen = None if visible is None else c.joint_mask(visible)
        broad = broad_log_density(c, x, measures)
        if self.factorised:
            joints = self.joint_log_densities(x, visible, **how) + measures.log_volume
            return _total(mixed(joints, broad, log_weight), seen)
        model = self.log_density(x, visible, **how) + _total(measures.log_volume, seen)
        return mixed(model, _total(broad, seen), log_weight)

    def _objective(self, x: Float[Tensor, "B D"], visible: Bool[Tensor, "B D"] | None) -> Float[Tensor, "B"]:
        """The log density that training maximises.

        Where all joints are mixed at once, the broad density is left out: a model does not learn from poses that it
        explains.
        """
        if self.factorised:
            return self._log_prob(x, visible)
        return self.log_density(x, visible) + self.coordinates.log_volume(x, visible)

    @property
    def least_log_density(self) -> float:
        """A lower limit of `log_prob` over all poses, in nats; -inf with `tails: gaussian`.

        It is the weight of the broad density times that of its uniform part.
        """
        if self.config.tails == "gaussian":
            return -math.inf
        parts = len(self.coordinates.active_joints) if self.factorised else 1
        return parts * math.log(self.config.broad_weight) + least_log_density(self.coordinates)

    def energy(self, poses: Tensor, visible: Bool[Tensor, "*B J"] | None = None) -> Tensor:
        """Negative log density [*B], differentiable: the term that an optimisation loop minimises.

        It is flat along the excluded axes, of which the prior knows one value only. A loop passes what it optimises
        through `project`, before anything else uses it.
        """
        return -self.log_prob(poses, visible)

    def project(self, poses: Tensor) -> Float[Tensor, "*B J 3"]:
        """Poses of any form as rotation vectors, excluded axes at the values that samples have; differentiable.

        Active axes and joints that the prior does not model are passed through; see `Coordinates.project`.
        """
        return self.coordinates.project(poses)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, *, tails: bool = True
    ) -> Float[Tensor, "n 55 3"]:
        """Sample poses as axis-angle, angle in [0, pi]; inactive joints and axes have their constant values.

        Samples follow `log_prob`: a share of `broad_weight` comes from the broad density; of the joints where the prior
        factorises over them, else of the poses.

        Args:
            n: number of poses.
            generator: random generator; None: torch's default one.
            tails: False leaves the broad density out: all joints come from the model alone.
        """
        c = self.coordinates
        if not tails or self.config.tails == "gaussian":
            return c.decode(self.draw(n, generator))
        L, weight = len(c.active_joints), self.config.broad_weight
        # Either each joint by itself, or all joints of a pose.
        odd = coins(n, L, weight, generator) if self.factorised else coins(n, 1, weight, generator)
        chosen = odd.expand(n, L).to(c.mean.device)[:, c.position_of]
        return c.decode(self.draw_around(chosen, broad_draw(c, n, generator), generator))

    def loss(self, batch: Float[Tensor, "B 55 3"], *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss, nats per active dimension, and scalars to log (`nll`, `kl`, ...).

        Args:
            batch: axis-angle, rad.
            epoch: fractional number of epochs before this step, for warm-up.
        """
        x, mask, _ = self.coordinates.encode(self.noisy(batch))
        nll = -self._objective(self.jittered(x), mask).mean() / self.coordinates.active
        return nll, {"nll": nll.detach()}

    def noisy(self, batch: Float[Tensor, "B 55 3"]) -> Float[Tensor, "B 55 3"]:
        """Add geodesic noise to the batch, in training mode and if the config sets it."""
        if not self.training or not self.config.noise_deg:
            return batch
        return noisy_rotations(batch, spread=math.radians(self.config.noise_deg))

    def jittered(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Add noise to coordinates, in training mode and if the config sets it."""
        if not self.training or not self.config.jitter:
            return x
        return x + self.config.jitter * torch.randn_like(x)

    def export(self) -> PriorDescription:
        """What `mocap_ray.load_prior` needs besides the tensors: plain JSON values."""
        return {"model": self.config.model_dump(mode="json"), "coordinates": self.coordinates.describe()}


def _total(joints: Float[Tensor, "B L"], seen: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B"]:
    return (joints if seen is None else torch.where(seen, joints, 0.0)).sum(-1)


class ClosedForm(ABC):
    """A prior with a maximum likelihood solution in closed form (`training.closed_form`)."""

    @abstractmethod
    def fit_closed_form(self, poses: Tensor) -> None:
        """Set the parameters to the maximum likelihood of these poses (any form, any batch shape).

        Raises:
            UserError: the likelihood of these poses has no maximum.
        """
