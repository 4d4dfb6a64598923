"""Coordinates as plain JSON values: the `coordinates` of a prior.json, which may come back edited or damaged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from mocap_ray.documents import first_problem
from mocap_ray.errors import UserError
from mocap_ray.priors.forms import J, joint_indices

Representation = Literal["rotvec", "tangent"]
Standardise = Literal["none", "axis", "joint"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Triple = Annotated[list[Number], Field(min_length=3, max_length=3)]
Square = Annotated[list[Triple], Field(min_length=3, max_length=3)]
PER_JOINT = Field(min_length=J, max_length=J)


class Description(TypedDict):
    """Coordinates as plain JSON values: the `coordinates` of a prior.json."""

    joints: Annotated[list[str], Field(min_length=1, max_length=J)]
    representation: Representation
    standardise: Standardise
    active: Annotated[list[Annotated[int, Field(ge=0, lt=3 * J)]], Field(min_length=1, max_length=3 * J)]
    degenerate: dict[str, str]
    constants: Annotated[list[Triple], PER_JOINT]
    follow: Annotated[list[Square], PER_JOINT]
    mean: Annotated[list[Number], Field(max_length=3 * J)]
    std: Annotated[list[Annotated[Number, Field(gt=0)]], Field(max_length=3 * J)]
    factor: Annotated[list[Square], Field(max_length=J)]
    centre: Annotated[list[Triple], PER_JOINT]


_DESCRIPTION = TypeAdapter(Description)


def checked(plain: Any) -> Description:
    """A description whose types and lengths are checked. Raises UserError."""
    try:
        found = _DESCRIPTION.validate_python(plain, strict=True)
    except ValidationError as error:
        raise UserError(f"the coordinates are damaged ({first_problem(error)}).") from error
    chosen, active = joint_indices(found["joints"]), found["active"]
    joints = {k // 3 for k in active}
    lengths = {"mean": len(active), "std": len(active), "factor": len(joints)}
    if active != sorted(set(active)) or not joints <= set(chosen):
        raise UserError(
            "the coordinates are damaged (active: expected axes of the joints, in ascending order)."
        )
    for name, length in lengths.items():
        if len(found[name]) != length:  # type: ignore[literal-required]
            raise UserError(
                f"the coordinates are damaged ({name}: expected {length} entries, found {len(found[name])})."  # type: ignore[literal-required]
            )
    return found
