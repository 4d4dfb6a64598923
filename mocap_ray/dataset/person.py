"""The body of the person in a recording, or why it has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mocap_ray.body.bodies import Bodies, Choice
from mocap_ray.body.model import ShapedBody
from mocap_ray.dataset.options import BodyOptions
from mocap_ray.motion import bounds
from mocap_ray.motion.clip import JointMotion, Motion, Reason
from mocap_ray.records import Recording, Rejection
from mocap_ray.wording import listed


def left_out(motion: Motion | JointMotion, body: BodyOptions) -> Rejection[Recording] | None:
    """The rejection of a recording of a body family that `body.families` does not name, or None."""
    if isinstance(motion, JointMotion) or motion.family in body.families:
        return None
    detail = (
        f"{motion.recording.source}: it has the parameters of {motion.family}, and body.families names only "
        f"{listed(body.families)}. Add {motion.family} to use it; its body models are needed then."
    )
    return Rejection(motion.recording, Reason.OTHER_FAMILY, detail)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The body of the person in a recording.

    Attributes:
        choice: the model, and whether the one that the policy prefers is missing.
        betas: the shape coefficients in use.
        shaped: the model with this shape.
    """

    choice: Choice
    betas: np.ndarray
    shaped: ShapedBody


def person_of(motion: Motion, bodies: Bodies, options: BodyOptions) -> Person | Rejection[Recording]:
    """The body of the person in a recording, or the rejection of a shape that nobody has.

    Raises:
        MissingBody: there is no body model of the family that the file needs.
    """
    choice = bodies.choose(motion.family, motion.gender)
    betas = motion.betas[: options.betas][: choice.model.shape_directions.shape[-1]]
    shaped = choice.model.shaped(betas)
    return bounds.unlikely_body(motion, shaped.rest[:22]) or Person(choice, betas, shaped)
