"""Where a member of an archive goes below the output folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mocap_ray.fetching.catalogue import Body
from mocap_ray.fetching.packed import RefusedArchive, stem

Placing = Callable[[str, Path], str | None]
"""Name of a member and its archive -> path below the output, or None for one that is not needed."""


def beside(name: str, archive: Path) -> str | None:
    """The member's own path; files without a folder, such as LICENSE.txt, go into one with the archive's name.

    >>> beside("CMU/01/01_01_poses.npz", Path("CMU.tar.bz2")), beside("LICENSE.txt", Path("CMU.tar.bz2"))
    ('CMU/01/01_01_poses.npz', 'CMU/LICENSE.txt')
    """
    target = name if "/" in name else f"{stem(archive).partition('.')[0]}/{name}"
    if target.startswith("."):
        raise RefusedArchive(f"{archive}: the member {name!r} is hidden. Expected folders of recordings.")
    return target


@dataclass(frozen=True, slots=True)
class BodyPlacing:
    """Body models go where `body.root` has them; all other members are left out."""

    body: Body

    def __call__(self, name: str, archive: Path) -> str | None:
        """The path of a model, or None."""
        return self.body.target(name)
