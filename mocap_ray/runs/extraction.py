"""The config of any extraction: of motion, or of single poses; `source.archive` decides which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import model_validator

from mocap_ray import config as configs
from mocap_ray.dataset.single.formats import FORMATS, find_format
from mocap_ray.dataset.single.options import PoseOutputOptions, PoseSourceOptions
from mocap_ray.errors import UserError
from mocap_ray.options import Section
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.storage import expand


class PoseExtractConfig(Section):
    """One extraction of single poses."""

    source: PoseSourceOptions
    output: PoseOutputOptions
    ray: RayOptions = RayOptions()

    @model_validator(mode="after")
    def _outside(self) -> PoseExtractConfig:
        out = self.output.root
        for root in self.source.roots:
            if "://" not in root + out and expand(out).resolve().is_relative_to(expand(root).resolve()):
                raise UserError(
                    f"output.root {out} is inside source.root {root}, so the next run would read the .npz files of the "
                    "data set as poses; choose a folder outside of it"
                )
        return self

    def require_lasting(self) -> None:
        """Raise UserError in a job whose paths lead into Ray's copy of the working directory."""
        files = {f"source.root[{k}]": root for k, root in enumerate(self.source.roots)}
        roots = {"source.root": self.source.root} if isinstance(self.source.root, str) else files
        if self.source.hand_model is not None:
            roots["source.hand_model"] = self.source.hand_model
        require_lasting({**roots, "output.root": self.output.root})


class Extraction(Section):
    """The section names that every extraction has; the values decide which config they make."""

    @classmethod
    def for_values(cls, values: Mapping[str, Any]) -> type[Section]:
        """`PoseExtractConfig` for a format of poses, otherwise `ExtractConfig`."""
        source = values.get("source")
        return PoseExtractConfig if is_of_poses(source) else ExtractConfig


def is_of_poses(source: object) -> bool:
    """Whether these values of the section `source` name a format of single poses."""
    name = source.get("archive") if isinstance(source, Mapping) else None
    if not isinstance(name, str) or ":" not in name:
        return name in FORMATS
    try:
        find_format(name)
    except UserError:  # an archive of motion, or nothing that can be imported: reported as such
        return False
    return True


def load_extraction(name: str, *, overrides: Sequence[str] = ()) -> ExtractConfig | PoseExtractConfig:
    """Read the config of an extraction; see `config.load`. Raises ConfigError."""
    found: Section = configs.load(name, Extraction, kind="extract", overrides=overrides)
    assert isinstance(found, ExtractConfig | PoseExtractConfig)
    return found
