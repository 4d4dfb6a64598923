"""The config of an extraction."""

from __future__ import annotations

from pydantic import model_validator

from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.options import Section
from mocap_ray.runs.ray import RayOptions
from mocap_ray.storage import expand


class ExtractConfig(Section):
    """One extraction: an archive becomes a data set."""

    source: SourceOptions
    body: BodyOptions
    motion: MotionOptions = MotionOptions()
    output: OutputOptions
    ray: RayOptions = RayOptions()

    @model_validator(mode="after")
    def _roots(self) -> ExtractConfig:
        for key, text in (
            ("source", self.source.root),
            ("body", self.body.root),
            ("output", self.output.root),
        ):
            if not text.strip():
                raise UserError(f"{key}.root is empty; expected a folder")
        if "://" not in self.source.root + self.output.root:
            archive, out = (expand(p).resolve() for p in (self.source.root, self.output.root))
            if out.is_relative_to(archive):
                raise UserError(
                    f"output.root {self.output.root} is inside source.root {self.source.root}, so the next run would "
                    "read the .npz files of the data set as recordings; choose a folder outside of it"
                )
        return self
