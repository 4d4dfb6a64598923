"""One person to draw: joints over time, and a mesh where a body model is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int

from mocap_ray.body import mesh
from mocap_ray.body.arrays import read_arrays
from mocap_ray.body.bodies import Bodies, MissingBody
from mocap_ray.body.files import find
from mocap_ray.body.model import BodyModel, ShapedBody
from mocap_ray.body.proportions import GENDER_PROPORTIONS, joint_positions
from mocap_ray.errors import UserError
from mocap_ray.motion.axes import joints_y_up, to_y_up
from mocap_ray.motion.clip import JointMotion, Motion
from mocap_ray.skeleton import FAMILIES, JOINT_NAMES, PARENTS, TO_SMPLX

NO_BODY = "no mesh: --body FOLDER names your body models"
NO_POSES = "no mesh: these are joints without poses"


@dataclass(frozen=True, slots=True, eq=False)
class Skin:
    """The surface of a posed body, computed frame by frame when it is shown.

    Attributes:
        model: the body model, whose file holds the mesh.
        poses: [T, J, 3] axis-angle, rad, of all joints of the family, Y up.
        trans: [T, 3] metres.
        betas: [B] shape coefficients.
    """

    model: BodyModel
    poses: Float[np.ndarray, "T J 3"]
    trans: Float[np.ndarray, "T 3"]
    betas: Float[np.ndarray, "B"]

    def faces(self) -> Int[np.ndarray, "F 3"]:
        """Triangles, as indices of vertices. Raises UserError if the model file has none."""
        return _faces(self.model.source, len(mesh.load(self.model.source, family=self.model.family).template))

    def vertices(self, frame: int) -> Float32[np.ndarray, "V 3"]:
        """Vertices of one frame, metres. Raises UserError if the model file holds no mesh."""
        part = slice(frame, frame + 1)
        body = mesh.load(self.model.source, family=self.model.family)
        found = body.vertices(poses=self.poses[part], trans=self.trans[part], betas=self.betas)
        return np.asarray(found[0])


@lru_cache(maxsize=3)
def _faces(source: str, count: int) -> Int[np.ndarray, "F 3"]:
    found = read_arrays(Path(source), names=("f",)).get("f")
    fits = found is not None and found.ndim == 2 and found.shape[1] == 3 and found.dtype.kind in "iu"
    if found is None or not fits or not len(found) or int(found.max()) >= count or int(found.min()) < 0:
        raise UserError(
            f"{source}: no triangles 'f' that fit its {count:,} vertices, so its mesh cannot be shown. "
            "Download the model again, or untick the mesh."
        )
    return found.astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One person over time.

    Attributes:
        name: the label above the figure.
        fps: frames per second.
        joints: [T, J, 3] metres, Y up; the first 22 are the body.
        names: of the joints.
        parents: of the joints, -1 for the root.
        skin: the mesh, if there is one.
        no_skin: why there is none.
    """

    name: str
    fps: float
    joints: Float[np.ndarray, "T J 3"]
    names: tuple[str, ...]
    parents: tuple[int, ...]
    skin: Skin | None = None
    no_skin: str = NO_POSES

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.joints)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.frames - 1) / self.fps

    def frame_at(self, seconds: float) -> int:
        """The frame that is shown at a time; the first and the last one beyond the ends.

        >>> import numpy as np
        >>> walk = Figure("", 20.0, np.zeros((3, 1, 3)), ("pelvis",), (-1,))
        >>> [walk.frame_at(t) for t in (-1.0, 0.0, 0.049, 0.05, 9.0)]
        [0, 0, 0, 1, 2]
        """
        return max(0, min(self.frames - 1, int(seconds * self.fps + 1e-6)))


def of_joints(name: str, joints: Float[np.ndarray, "T J 3"], *, fps: float, why: str = NO_POSES) -> Figure:
    """A figure of joints alone, in the order of a family.

    Raises:
        UserError: no family has this number of joints.
    """
    count = joints.shape[1]
    for family in ("smplx", "smplh", "smpl"):
        names, parents = JOINT_NAMES[family], PARENTS[family]
        if count in (22, len(names)):
            return Figure(name, fps, joints, names[:count], parents[:count], no_skin=why)
    expected = ", ".join(f"{len(JOINT_NAMES[f])} ({f})" for f in FAMILIES)
    raise UserError(f"{name}: {count} joints. Expected 22 (the body), {expected}.")


class Shelf:
    """The body models below a folder, read when a figure first needs them.

    Reading every family and gender takes seconds, and a viewer mostly needs one of them.
    """

    def __init__(self, root: str | Path, *, gender: str = "recorded") -> None:
        """Look for model files without reading them.

        Args:
            root: the folder.
            gender: the policy of `Bodies`.

        Raises:
            UserError: no such folder, or no body model in it.
        """
        self.root, self.gender = root, gender
        self._loaded: dict[str, Bodies] = {}
        if not find(root):
            raise UserError(
                f"{root}: no body model in it. `mocap-ray body check {root}` shows where they are expected."
            )

    def choose(self, family: str, gender: str) -> BodyModel:
        """The model for a recording. Raises MissingBody if there is none of its family."""
        if family not in self._loaded:
            self._loaded[family] = Bodies.load(self.root, gender=self.gender, families=(family,))
        return self._loaded[family].choose(family, gender).model

    def following(self, gender: str) -> Shelf:
        """The same folder with another policy, that of a data set."""
        return self if gender == self.gender else Shelf(self.root, gender=gender)


def of_motion(name: str, motion: Motion | JointMotion, shelf: Shelf | None) -> Figure:
    """A recording as a figure, at its own rate, with the hands if it has any.

    Without body models, the joints are those of the stand-in's proportions.

    Raises:
        UserError: a body model that cannot be read.
    """
    if isinstance(motion, JointMotion):
        return of_joints(name, np.asarray(joints_y_up(motion).joints, np.float64), fps=motion.fps)
    model, why = _model(motion.family, motion.gender, shelf)
    shaped = standin(motion.family) if model is None else model.shaped(motion.betas)
    upright = to_y_up(motion, shaped.rest[0])
    joints = shaped.joints(upright.poses, upright.trans, count=upright.poses.shape[1])
    skin = Skin(model, upright.poses, upright.trans, motion.betas) if model is not None else None
    names, parents = JOINT_NAMES[motion.family], PARENTS[motion.family]
    return Figure(name, motion.fps, joints, names, parents, skin, why)


def of_poses(
    name: str,
    poses: Float[np.ndarray, "T 55 3"],
    *,
    trans: Float[np.ndarray, "T 3"] | None = None,
    betas: Float[np.ndarray, "B"] | None = None,
    fps: float = 20.0,
    family: str = "smplx",
    gender: str = "neutral",
    shelf: Shelf | None = None,
) -> Figure:
    """Poses on the joints of SMPL-X, Y up, as a figure of a family; without a model on the stand-in's proportions."""
    model, why = _model(family, gender, shelf)
    shape = np.zeros(0, np.float64) if betas is None else betas
    shaped = standin(family) if model is None else model.shaped(shape)
    own = of_family(np.asarray(poses, np.float64), family)
    path = np.zeros((len(own), 3)) if trans is None else np.asarray(trans, np.float64)
    joints = shaped.joints(own, path, count=own.shape[1])
    skin = Skin(model, own, path, shape) if model is not None else None
    return Figure(name, fps, joints, JOINT_NAMES[family], PARENTS[family], skin, why)


def of_family(poses: Float[np.ndarray, "T 55 3"], family: str) -> Float[np.ndarray, "T J 3"]:
    """Poses on the joints of SMPL-X as those of a family; joints that SMPL-X lacks (SMPL's hands) stay at rest."""
    to = TO_SMPLX[family]
    own = np.zeros((len(poses), len(JOINT_NAMES[family]), 3), poses.dtype)
    own[:, : len(to)] = poses[:, to]
    return own


@lru_cache(maxsize=3)
def standin(family: str) -> ShapedBody:
    """The neutral stand-in of a family."""
    at = joint_positions(GENDER_PROPORTIONS["neutral"])
    rest = np.array([at[name] for name in JOINT_NAMES[family]])
    parents = np.array(PARENTS[family], dtype=np.int64)
    offsets = rest.copy()
    offsets[1:] -= rest[parents[1:]]
    return ShapedBody(rest, offsets, parents)


def _model(family: str, gender: str, shelf: Shelf | None) -> tuple[BodyModel | None, str]:
    """The body model, or why there is none."""
    if shelf is None:
        return None, f"{NO_BODY}; the bones have the stand-in's lengths"
    try:
        return shelf.choose(family, gender), ""
    except MissingBody as error:
        return None, f"no mesh: {error}"
