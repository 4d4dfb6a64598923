"""The table of the layouts of pose files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mocap_ray.custom import find_named
from mocap_ray.dataset.single import humandata, plain
from mocap_ray.dataset.single.hands import HandModel
from mocap_ray.dataset.single.instances import Instances, PoseFile
from mocap_ray.storage import Place


@runtime_checkable
class Read(Protocol):
    """Read the instances of a file."""

    def __call__(
        self, place: Place, file: PoseFile, *, flat_hand_mean: bool | None, hand_model: HandModel | None
    ) -> Instances:
        """Raise NpzError, Unusable or UnknownHands for the content of the file, and OSError for any other failure."""
        ...


@dataclass(frozen=True, slots=True)
class PoseFormat:
    """One layout of files of single poses; its function belongs to an installed module, so that it can be pickled.

    Attributes:
        name: the name in configs (`source.archive`).
        title: the name for readers.
        read: reads one file.
        subject_keys: members that tell the subject or the sequence of each instance.
        what: what is expected in a folder, for messages.
        url, licence, citation: for the data card.
    """

    name: str
    title: str
    read: Read
    subject_keys: tuple[str, ...]
    what: str
    url: str
    licence: str
    citation: str


HUMANDATA = PoseFormat(
    name="humandata",
    title="HumanData",
    read=humandata.read,
    subject_keys=humandata.SUBJECT_KEYS,
    what="HumanData annotation files (.npz with smplx, smpl or smplh), as MMHuman3D and SMPLest-X write them",
    url="https://github.com/open-mmlab/mmhuman3d/blob/main/docs/human_data.md",
    licence="The layout has none: the terms are those of the annotated data sets.",
    citation="Cite the annotated data sets, and who annotated them.",
)
PLAIN = PoseFormat(
    name="poses",
    title="Arrays of poses",
    read=plain.read,
    subject_keys=plain.SUBJECT_KEYS,
    what="arrays of poses (.npz with poses [N, J, 3]), such as train_poses.npz and val_poses.npz",
    url="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
    licence="The layout has none: the terms are those of the files.",
    citation="Cite where the files come from.",
)
FORMATS: dict[str, PoseFormat] = {each.name: each for each in (HUMANDATA, PLAIN)}
"""All formats by name."""


def find_format(name: str) -> PoseFormat:
    """One of the table, or `package.module:NAME` of your own. Raises UserError."""
    return find_named(name, FORMATS, PoseFormat, what="format of poses")
