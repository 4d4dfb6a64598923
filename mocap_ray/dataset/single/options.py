"""The sections of the config of an extraction of single poses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from mocap_ray.dataset.options import Fractions, plain_name
from mocap_ray.errors import UserError
from mocap_ray.options import Section


class PoseSourceOptions(Section):
    """Where the poses come from."""

    archive: str = "poses"
    """`humandata` (annotation files of MMHuman3D and SMPLest-X), `poses` (plain arrays), or `package.module:NAME` of
    your own `PoseFormat`."""
    root: str | tuple[str, ...]
    """A folder of .npz files, one file, or a list of files: paths, or s3://..., gs://..."""
    name: str | None = None
    """Name of this source in the data set, which may have several; default: the name of the format. A run adds or
    updates the source of its name, and leaves the others as they are."""
    domain: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The domain of its poses, by which `data.domain` of a training selects; default: the name of the source."""
    dataset: str | None = None
    """Name of the sub-dataset of all files; default: the first folder below root, or else the folder of the file."""
    split: str = "name"
    """`name`: a file with train, val or test in its name belongs to that split, and any other is divided by the hash
    of its subjects or sequences (one that tells none is for training); `none`: all train; or lists of files: a YAML
    file, or a folder with train.txt, val.txt, test.txt (docs/data-format.md, Splits)."""
    fractions: Fractions = Fractions()
    """Shares of the subjects in each split, for files that are divided."""
    include: tuple[str, ...] = ()
    """Names of files or folders, or globs on them; empty selects all."""
    exclude: tuple[str, ...] = ()
    """Likewise; takes precedence over include."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Use only the first N files, for a trial."""
    flat_hand_mean: bool | None = None
    """Whether the angles of hands count from the flat hand (`true`) or from the mean hand of the body model (`false`);
    overrides `misc.flat_hand_mean` of HumanData files. Default: what a HumanData file says; `true` for plain arrays."""
    hand_model: str | None = None
    """An SMPL-X or SMPL+H model file (.npz), for its mean hands and their principal components. Needed where hands
    count from the mean hand, or are principal components."""

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        return name if name is None else plain_name(name)

    @field_validator("root")
    @classmethod
    def _not_empty(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or any(not root.strip() for root in ((value,) if isinstance(value, str) else value)):
            raise UserError("empty; expected a folder or .npz files")
        return value

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder, or the files."""
        return (self.root,) if isinstance(self.root, str) else self.root


class PoseOutputOptions(Section):
    """Where the data set is written."""

    root: str
    """Folder of the data set: a path, or s3://..., gs://..."""
    shard_mb: Annotated[float, Field(gt=0)] = 256.0
    """Target size of a shard, in MB of source files, of which a HumanData file mostly has keypoints; a file is never
    divided between shards of one split."""

    @field_validator("root")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise UserError("empty; expected a folder")
        return value
