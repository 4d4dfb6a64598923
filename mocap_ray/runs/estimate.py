"""The config of `mocap-ray estimate`: from videos to motion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.estimation.archive import DATASET
from mocap_ray.estimation.options import (
    CameraOptions,
    EstimateOutput,
    FootageOptions,
    PeopleOptions,
    SmoothOptions,
    TrackOptions,
)
from mocap_ray.options import Section
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions

PEOPLE, TRACKS, MOTION = "people", "tracks", "motion"
"""Folders of the output."""


class BodyRoot(Section):
    """The body model, which turns poses into joints."""

    root: Annotated[str, Field(min_length=1)]
    """Local folder with the neutral model of SMPL-X (SMPLX_NEUTRAL.npz)."""


class EstimateConfig(Section):
    """One estimation: videos become a data set of motion."""

    source: FootageOptions = FootageOptions()
    people: PeopleOptions
    track: TrackOptions = TrackOptions()
    camera: CameraOptions = CameraOptions()
    smooth: SmoothOptions = SmoothOptions()
    body: BodyRoot
    motion: MotionOptions = MotionOptions()
    output: EstimateOutput
    ray: RayOptions = RayOptions()

    def require_lasting(self) -> None:
        """Raise UserError in a job whose paths lead into Ray's copy of the working directory."""
        roots = {f"source.root[{k}]": root for k, root in enumerate(self.source.roots)}
        roots |= {"people.weights": self.people.weights, "body.root": self.body.root}
        if self.people.boxes is not None:
            roots["people.boxes"] = self.people.boxes
        require_lasting({**roots, "output.root": self.output.root})

    def of_motion(self) -> ExtractConfig:
        """The config of the last pass: the tracks are extracted as the recordings of an archive."""
        root = self.output.root.rstrip("/")
        return ExtractConfig(
            source=SourceOptions(
                archive="mocap_ray.estimation.archive:ESTIMATES",
                root=f"{root}/{TRACKS}/{DATASET}",
                dataset=DATASET,
                domain=DATASET,
                name=DATASET,
                split="none",
                check_root=False,
            ),
            body=BodyOptions(root=self.body.root, gender="neutral", families=("smplx",)),
            motion=self.motion,
            output=OutputOptions(root=f"{root}/{MOTION}"),
            ray=self.ray.model_copy(update={"gpus_per_worker": 0.0}),
        )
