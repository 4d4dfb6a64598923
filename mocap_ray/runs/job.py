"""A job of `ray job submit`: how to recognise it, and which paths it must not use.

Ray 2.60 starts a job in a copy of its working directory, a folder `_ray_pkg_<hash>` below that of the session, and
deletes the copy when no job uses it any more. What is written below a relative path is lost with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mocap_ray.errors import UserError
from mocap_ray.wording import listed, override

VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray's job supervisor for the process that `ray job submit` starts; its children inherit it."""
COPY = "_ray_pkg_"
"""Prefix of the folder of a copied working directory."""


def is_job() -> bool:
    """Whether `ray job submit` started this process."""
    return VARIABLE in os.environ


def require_lasting(roots: Mapping[str, str]) -> None:
    """Raise unless every root stays where it is after a job; outside of a job, any is allowed.

    Args:
        roots: key of the config -> path or address.

    Raises:
        UserError: in a job, or in Ray's copy of a working directory, a path is relative or leads into that copy.
    """
    here = _here()
    copied = here is not None and any(part.startswith(COPY) for part in here.parts)
    if not (is_job() or copied):
        return
    lost = {key: text for key, text in roots.items() if _is_lost(text, here if copied else None)}
    if not lost:
        return
    what = (
        "Ray's copy of the working directory, which is deleted later" if copied else "a folder of the cluster"
    )
    found = listed([f"{key} is {text}" for key, text in lost.items()])
    remedy = override(*(f"{key}=/shared/{Path(text).name}" for key, text in lost.items()))
    raise UserError(
        f"In a job, relative paths lead into {what} ({here}): {found}. Expected absolute paths that every node can "
        f"reach, or addresses such as s3://bucket/folder; for example {remedy}"
    )


def _here() -> Path | None:
    """The current folder; None if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _is_lost(text: str, copy: Path | None) -> bool:
    """Whether a path is relative, or leads into the copy of the working directory."""
    if "://" in text:
        return False
    path = Path(text).expanduser()
    return not path.is_absolute() or (copy is not None and path.is_relative_to(copy))
