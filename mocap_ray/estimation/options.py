"""The settings of `mocap-ray estimate`, as typed sections of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mocap_ray.options import Section


class FootageOptions(Section):
    """Where the videos are."""

    root: str | tuple[str, ...] = ()
    """A video, a folder of images or of videos, or a list of them: paths, or s3://..., gs://..."""
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0
    """Frame rate of folders of images; videos have their own."""
    chunk_frames: Annotated[int, Field(ge=1)] = 300
    """Frames that one worker estimates at a time; a run that was stopped resumes at a chunk."""

    @property
    def roots(self) -> tuple[str, ...]:
        """All of them."""
        return (self.root,) if isinstance(self.root, str) else self.root


class PeopleOptions(Section):
    """How people are found in a frame, and estimated."""

    weights: str
    """A file of `mocap-ray estimator import`."""
    boxes: str | None = None
    """Boxes of people instead of a detector: a file of MOT or COCO, or a folder with NAME.txt or NAME.json for each
    video."""
    detector: str = "hog"
    """`hog`: OpenCV's people detector, which needs no download and misses many people."""
    min_score: float | None = None
    """Boxes with a lower confidence are left out; default: all are used."""
    grow: Annotated[float, Field(ge=1)] = 1.2
    """A crop is so many times larger than its box; 1.2 for boxes that fit tightly, as the network was trained."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Crops that the network estimates at a time."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Numbers of the network; bf16 is for GPUs."""


class TrackOptions(Section):
    """How the boxes of frames become people."""

    lost_s: Annotated[float, Field(ge=0)] = 1.0
    """A person who is not seen for longer gets a new number; shorter gaps are interpolated."""
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Least intersection over union of a box with where its person is expected."""
    min_frames: Annotated[int, Field(ge=1)] = 3
    """People in fewer frames are left out, unless the video itself is shorter."""
    given_ids: bool = True
    """Use the numbers of people in a file of boxes, if all boxes have one."""


class CameraOptions(Section):
    """The camera of the videos, which nothing in a video tells."""

    focal: Annotated[float, Field(gt=0)] | None = None
    """Focal length, px; default: the diagonal of the image, an angle of view of 53 degrees."""
    pitch: Annotated[float, Field(gt=-90, lt=90)] = 0.0
    """How far the camera looks down, degrees; 0: it is level."""


class SmoothOptions(Section):
    """How estimates are smoothed over time."""

    kind: Literal["none", "savgol", "one_euro"] = "none"
    """`savgol`: a cubic over a window, for videos as a whole; `one_euro`: smooths slow motion more than fast motion."""
    window_s: Annotated[float, Field(gt=0)] = 0.3
    """savgol: seconds of the window."""
    cutoff: Annotated[float, Field(gt=0)] = 1.5
    """one_euro: lowest cutoff frequency, Hz; lower is smoother."""
    beta: Annotated[float, Field(ge=0)] = 0.5
    """one_euro: how much the cutoff rises with speed, Hz per rad/s or m/s; higher follows fast motion sooner."""


class EstimateOutput(Section):
    """What is written, and where."""

    root: str
    """Folder of the results: a path, or s3://..., gs://... It gets the folders people, tracks and motion."""
