"""What is worth knowing about the clips of a data set, for the summary of a run and the data card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mocap_ray.dataset.options import MotionOptions
from mocap_ray.wording import counted


def remarks(totals: Mapping[str, Any], motion: Mapping[str, Any]) -> list[str]:
    """One sentence or two for each kind of clips that are not as expected; empty if all are.

    Args:
        totals: of the manifest.
        motion: the section of the recipe.
    """
    found = []
    if count := totals.get("missing_body", 0):
        found.append(
            f"{counted(count, 'recording')} used a body model of another gender, because the model of the right "
            "gender is missing; `mocap-ray body check` shows where to get it."
        )
    if count := totals.get("other_rate", 0):
        fps = MotionOptions.model_validate(motion).fps
        verb = "has" if count == 1 else "have"
        found.append(
            f"{counted(count, 'recording')} {verb} clips at another frame rate than {fps:g} fps, because stride keeps "
            "whole frames of the source (30 fps stays 30, 59 becomes 29.5); the column fps has it. "
            "`motion.resample=interpolate` gives the same rate everywhere."
        )
    if count := totals.get("short_segments", 0):
        verb = "is" if count == 1 else "are"
        found.append(
            f"{counted(count, 'clip')} {verb} shorter than in source.segments, because the recording ends before the "
            "segment; it may be from another release of the archive."
        )
    if count := totals.get("retimed_segments", 0):
        verb = "was" if count == 1 else "were"
        found.append(
            f"{counted(count, 'clip')} {verb} cut by time, because the recording has another frame rate here than in "
            "the release that source.segments counts frames of."
        )
    return found
