"""Check which body models a folder holds, and whether they are usable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mocap_ray.body.bodies import POLICIES
from mocap_ray.body.files import GENDERS, find, missing
from mocap_ray.body.model import VERTICES, BodyModel, load_body
from mocap_ray.errors import UserError
from mocap_ray.skeleton import FAMILIES, JOINT_NAMES


@dataclass(frozen=True, slots=True)
class FileReport:
    """One expected model file.

    Attributes:
        family, gender: which model.
        path: where it was found, or None.
        size: bytes; 0 if absent.
        format: npz or pkl; empty if absent.
        vertices, joints, shape_coefficients: of the model; 0 if it does not load.
        height: metres of the rest skeleton from the lowest to the highest joint; 0 if it does not load.
        standin: whether it is one of this project's stand-ins.
        error: why it is not usable: where to get it, why it does not load, or what is wrong with its rest
            pose; empty if it is usable.
    """

    family: str
    gender: str
    path: Path | None
    size: int
    format: str
    vertices: int
    joints: int
    shape_coefficients: int
    height: float
    standin: bool
    error: str

    @property
    def usable(self) -> bool:
        """Whether a run can use it."""
        return not self.error


def check_bodies(
    root: str | Path, *, families: Sequence[str] | None = None, genders: Sequence[str] | None = None
) -> list[FileReport]:
    """Find every model of these families and genders (all by default), load it and check its rest pose.

    Raises:
        UserError: `root` is not a folder, or a family or gender is unknown.
    """
    families = FAMILIES if families is None else families
    genders = GENDERS if genders is None else genders
    for name, known in [(f, FAMILIES) for f in families] + [(g, GENDERS) for g in genders]:
        if name not in known:
            raise UserError(f"{name!r} is unknown. Expected some of {', '.join(known)}.")
    found = find(root)
    return [_report(found.get((f, g)), family=f, gender=g, root=root) for f in families for g in genders]


def _report(path: Path | None, *, family: str, gender: str, root: str | Path) -> FileReport:
    model, error, size = None, "", 0
    if path is None:
        error = missing(family, gender, root=root)
    else:
        try:
            size = path.stat().st_size
            model = load_body(path, family=family, gender=gender)
            error = "; ".join(implausible(model))
        except (UserError, OSError) as problem:
            error = str(problem)
    heights = model.rest_joints[:, 1] if model else None
    return FileReport(
        family=family,
        gender=gender,
        path=path,
        size=size,
        format=path.suffix.lower().lstrip(".") if path else "",
        vertices=VERTICES[family] if model else 0,
        joints=len(model.parents) if model else 0,
        shape_coefficients=model.shape_directions.shape[2] if model else 0,
        height=float(heights.max() - heights.min()) if heights is not None else 0.0,
        standin=model.standin if model else False,
        error=error,
    )


def implausible(model: BodyModel) -> list[str]:
    """Problems of a rest pose; empty for a standing body, Y up, facing +Z, its left at +X."""
    names = JOINT_NAMES[model.family]
    at = dict(zip(names, model.rest_joints, strict=True))
    problems = []
    height = float(model.rest_joints[:, 1].max() - model.rest_joints[:, 1].min())
    if not 0.5 < height < 2.5:
        problems.append(f"the rest skeleton is {height:.2f} m high, expected 0.5 to 2.5 m")
    for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
        if at[f"left_{name}"][0] <= at[f"right_{name}"][0]:
            problems.append(f"left_{name} is not on the left (+X) of right_{name}")
    chain = ("head", "neck", "spine3", "pelvis", "left_knee", "left_ankle")
    for upper, lower in pairwise(chain):
        if at[upper][1] <= at[lower][1]:
            problems.append(f"{upper} is not above {lower} (+Y)")
    if at["left_foot"][2] <= at["left_ankle"][2]:
        problems.append("left_foot is not in front (+Z) of left_ankle")
    return problems


def usable(reports: Iterable[FileReport], *, gender: str = "recorded") -> bool:
    """Whether each family in `reports` suffices for a run under a gender policy (`Bodies.choose`).

    recorded needs one usable gender and no broken one; neutral needs neutral or, if there is no neutral file,
    male; humanml3d needs male and female.

    Raises:
        UserError: an unknown policy.
    """
    if gender not in POLICIES:
        raise UserError(f"gender: {gender!r} is not a policy. Expected one of {', '.join(POLICIES)}.")
    by_family: dict[str, dict[str, FileReport]] = {}
    for report in reports:
        by_family.setdefault(report.family, {})[report.gender] = report
    return bool(by_family) and all(_suffices(genders, gender) for genders in by_family.values())


def _suffices(reports: dict[str, FileReport], policy: str) -> bool:
    good = {gender for gender, report in reports.items() if report.usable}
    broken = {gender for gender, report in reports.items() if report.path and not report.usable}
    if policy == "humanml3d":
        return {"male", "female"} <= good
    if policy == "neutral":
        return "neutral" in good or ("male" in good and "neutral" not in broken)
    return bool(good) and not broken
