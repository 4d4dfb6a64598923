"""The settings that change rows, as typed sections of a config.

They are defined here, beside the code that uses them, because together they are the recipe of a data set.
`mocap_ray/config.py` reads them from YAML.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mocap_ray.archives.orientation import to_y_up
from mocap_ray.archives.splits import completed
from mocap_ray.dataset.schema import OPTIONAL_COLUMNS
from mocap_ray.errors import UserError
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS
from mocap_ray.motion.quality import Limits
from mocap_ray.options import Section
from mocap_ray.wording import override

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Fractions(Section):
    """Shares of the subjects in each split; they sum to 1."""

    train: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of the subjects in train."""
    val: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the subjects in val."""
    test: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the subjects in test."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Fractions:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            pasted = override(completed(self.model_dump()))
            raise UserError(f"train + val + test is {total:g}; expected 1. For example {pasted}")
        return self


def plain_name(name: str) -> str:
    """The name of a source. Raises UserError for characters that do not belong into one."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is not the name of a source. Expected up to 64 letters, digits, dots, hyphens and "
            "underscores, the first one a letter or a digit"
        )
    return name


class SourceOptions(Section):
    """Where the recordings come from."""

    archive: str = "amass"
    """A name of the archives table (`mocap-ray archives`), or `package.module:NAME` of your own `Archive`."""
    root: str
    """Folder of the archive: a path, or s3://..., gs://..."""
    name: str | None = None
    """Name of this source in the data set, which may have several; default: the name of the archive. A run adds or
    updates the source of its name, and leaves the others as they are."""
    domain: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The column `domain` of its clips, by which statistics can be weighted; default: the name of the source."""
    check_root: bool = True
    """Stop with a question if root looks like a folder in the archive, or above it, and not like the archive."""
    dataset: str | None = None
    """Name of the sub-dataset if `root` is the folder of a single one; otherwise the first folder below root."""
    split: str = "subject"
    """`subject` (hash of the subject), `published` (by the archive's authors; also the archive's name, such as
    `amass`), `pose` or `crossmodal` (AIST++'s two), `none` (all train), or lists: a YAML file, or a folder with
    train.txt, val.txt, test.txt (docs/data-format.md, Splits)."""
    fractions: Fractions = Fractions()
    fps: Annotated[float, Field(ge=LEAST_FPS, le=MOST_FPS)] | None = None
    """Overrides the frame rate in the files."""
    include: tuple[str, ...] = ()
    """Names of recordings or folders (`CMU/01`), or globs on them (`CMU/0*`); empty selects all."""
    exclude: tuple[str, ...] = ()
    """Likewise; takes precedence over include. Recordings that the data set holds already stay in it: take these out
    with `mocap-ray dataset exclude`."""
    limit: Annotated[int, Field(gt=0)] | None = None
    """Use only the first N recordings, for a trial."""
    read_as: Literal["joints", "poses"] | None = None
    """BVH only: `joints`, positions of the rig's own bones, which need no body model (the default); `poses`, its
    rotations on SMPL's mean body."""
    rig: str | None = None
    """BVH only: the map from the rig's joints to the 22 body joints, by the name of one of ours or as a YAML file
    (docs/how-to/bvh.md); default: the one of ours whose joints a file has."""
    family: Literal["smpl", "smplh", "smplx"] | None = None
    """BVH as poses only: whose body models to use; default: smplh."""
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """BVH and joints only: metres in a unit of the files, such as 0.01 for centimetres; default: what a BVH rig is
    known to have, and 1 for joints."""
    axes: str | None = None
    """BVH and joints only: which axes of the files become x, y (up) and z, such as `x z -y` if Z is up; default:
    `x y z`."""
    ignore: str = "published"
    """Recordings to reject unread: `published`, the list of the archive's authors, if it is there (AIST++'s
    ignore_list.txt beside motions/); `none`; or a text file with one name per line."""
    scaling: Annotated[float, Field(gt=0)] | None = None
    """AIST++ only: what the translation of files without smpl_scaling is divided by."""
    segments: str | None = None
    """HumanML3D's index.csv: each row gives one clip, with the row's name; everything else is left out."""
    texts: str | None = None
    """HumanML3D's captions, for the clips of `segments`: texts.zip, or the folder of its files. All of them, with
    tokens and times, are in the column `captions`; those of whole clips are in `texts`."""
    humanact12: str | None = None
    """Folder of HumanAct12's joints (.npy), for the rows of `segments` that name them."""
    rates: str | None = None
    """For `segments`: a CSV file with the columns recording, fps and, if known, frames: what the SMPL+H release of
    AMASS says about takes that have another frame rate here. Their rows are cut by time."""
    labels: str | None = None
    """A CSV file with the columns recording, action, style, text: labels and captions of any archive's recordings."""

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        return name if name is None else plain_name(name)

    @field_validator("axes")
    @classmethod
    def _axes(cls, value: str | None) -> str | None:
        if value is not None:
            to_y_up(value)
        return value

    @model_validator(mode="after")
    def _texts(self) -> SourceOptions:
        for name in ("texts", "humanact12", "rates"):
            if getattr(self, name) is not None and self.segments is None:
                raise UserError(f"{name} without segments; set segments to HumanML3D's index.csv as well")
        return self


class BodyOptions(Section):
    """Body models, which turn pose parameters into joints."""

    root: str
    """Local folder of the SMPL, SMPL+H and SMPL-X files; `mocap-ray body check ROOT` shows what is found.
    Archives of joints alone (`joints`, and `bvh` unless it is read as poses) need no models, and it is not opened."""
    gender: Literal["recorded", "neutral", "humanml3d"] = "recorded"
    """The body of a recording: `recorded`, that of its own gender; `neutral`, the neutral one for all; `humanml3d`,
    male for male and female for all others, as HumanML3D does."""
    families: tuple[Literal["smpl", "smplh", "smplx"], ...] = ("smpl", "smplh", "smplx")
    """Families to use; recordings of another are rejected. Naming them keeps the recipe unchanged when other models are
    added to root later."""
    betas: Annotated[int, Field(ge=0)] | None = None
    """Maximum number of shape coefficients (HumanML3D: 10); default: as many as both file and model have."""


class QualityOptions(Section):
    """Limits above which frames count as broken; see `motion/quality.py`."""

    root_acceleration: Annotated[float, Field(gt=0)] = 1500.0
    """m/s^2, at the source's own frame rate."""
    angular_acceleration: Annotated[float, Field(gt=0)] = 100_000.0
    """rad/s^2, geodesic, of any body joint, at the source's own frame rate."""
    joint_speed: Annotated[float, Field(gt=0)] = 30.0
    """m/s over at least 1/60 s, of any of the 22 body joints, at the source's own frame rate."""
    pelvis_speed: Annotated[float, Field(gt=0)] = 50.0
    """rad/s over at least 1/60 s, geodesic, of the pelvis, at the source's own frame rate."""
    multiplier: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies all limits."""
    cut: bool = False
    """Keep the good stretches of a recording with bad frames, each its own clip, instead of rejecting it."""

    def limits(self) -> Limits:
        """The limits in the form that `motion.quality` takes."""
        return Limits(**self.model_dump(exclude={"cut"}))


class MotionOptions(Section):
    """How motion becomes features."""

    profile: Literal["humanml3d", "flowmimic"] = "humanml3d"
    """`humanml3d`: 20 fps, one skeleton for all; `flowmimic`: 30 fps, the bone lengths of each subject."""
    resample: Literal["stride", "interpolate"] = "interpolate"
    """`interpolate`: the exact rate; `stride`: every n-th frame, as in the reference implementations."""
    yaw: Literal["continuous", "reference"] = "continuous"
    """`continuous`: decodes exactly; `reference`: as published, with the wrong sign where a facing passes -Z."""
    mirror: bool = False
    """Add a left-right mirrored twin of each clip."""
    min_frames: Annotated[int, Field(ge=1)] = 20
    """Shortest clip, in rows of `features`."""
    max_frames: Annotated[int, Field(ge=1)] | None = None
    """Longest clip, in rows of `features`: longer ones are cut into several, and no row is lost. Trainers in the
    layout of HumanML3D skip clips from 200 rows on; 196 is their longest length."""
    window: Annotated[int, Field(ge=1)] | None = None
    """Cut clips into windows of this many rows; the remainder is dropped."""
    window_stride: Annotated[int, Field(ge=1)] | None = None
    """Rows between the starts of windows; default: `window`, without overlap."""
    quality: QualityOptions = QualityOptions()

    @property
    def fps(self) -> float:
        """Frame rate of the profile, Hz."""
        return 20.0 if self.profile == "humanml3d" else 30.0

    @model_validator(mode="after")
    def _windows(self) -> MotionOptions:
        if self.window_stride is not None and self.window is None:
            raise UserError("window_stride without window; set window as well")
        if self.window is not None and self.window < self.min_frames:
            raise UserError(f"window {self.window} is shorter than min_frames {self.min_frames}")
        return self

    @model_validator(mode="after")
    def _lengths(self) -> MotionOptions:
        if self.max_frames is None:
            return self
        if self.max_frames < 2 * self.min_frames - 1:
            raise UserError(
                f"max_frames {self.max_frames} is too small for min_frames {self.min_frames}: not every clip can be "
                f"cut into parts of {self.min_frames} to {self.max_frames} rows; expected at least "
                f"{2 * self.min_frames - 1}, or a smaller min_frames"
            )
        if self.window is not None and self.window > self.max_frames:
            raise UserError(f"window {self.window} is longer than max_frames {self.max_frames}")
        return self


Column = Literal["features", "joints", "poses", "trans", "stick", "vertices"]
"""`vertices` takes 83 kB (SMPL, SMPL+H) or 126 kB (SMPL-X) a frame: set `shard_mb` to 4 with it."""


class OutputOptions(Section):
    """What is written, and where."""

    root: str
    """Folder of the data set: a path, or s3://..., gs://..."""
    columns: tuple[Column, ...] = ("features", "joints", "poses", "trans")
    """Frame columns to write; features are always among them. See the data format for each."""
    shard_mb: Annotated[float, Field(gt=0)] = 32.0
    """Target size of a shard, in MB of source files; shards have at least half and at most twice this size."""

    @model_validator(mode="after")
    def _columns(self) -> OutputOptions:
        if "features" not in self.columns:
            raise UserError(
                f"columns without features; choose features and any of {', '.join(OPTIONAL_COLUMNS[1:])}"
            )
        if len(set(self.columns)) < len(self.columns):
            raise UserError(f"columns named twice in {list(self.columns)}")
        return self
