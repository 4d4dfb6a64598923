"""The config of an extraction, and the one that made a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import model_validator

from mocap_ray import config as configs
from mocap_ray.dataset.options import BodyOptions, MotionOptions, OutputOptions, SourceOptions
from mocap_ray.errors import UserError
from mocap_ray.options import Section
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.shards.runlog import CONFIG_NAME, FOLDER
from mocap_ray.storage import Place, expand


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

    def require_lasting(self) -> None:
        """Raise UserError in a job whose paths lead into Ray's copy of the working directory."""
        roots = {
            "source.root": self.source.root,
            "body.root": self.body.root,
            "output.root": self.output.root,
        }
        require_lasting(roots)


def last_config(out: Place, source: str, *, overrides: Sequence[str] = ()) -> ExtractConfig:
    """The config of the last run that wrote this source of a data set, from its log.

    Args:
        out: root of the data set.
        source: name of the source.
        overrides: `key.sub=value` texts, for what has changed since.

    Raises:
        UserError: there is no log, or it cannot be read.
    """
    logs = [out.relative(i.path) for i in out.files(FOLDER) if i.path.endswith(f"/{CONFIG_NAME}") and i.size]
    if not logs:
        raise UserError(
            f"{out.uri}: no log of an extraction in {FOLDER}/, so its archive is not known. Name the config that made "
            "it: --config my.yaml"
        )
    by_age = sorted(logs, reverse=True)  # their folders begin with the time
    newest = next((log for log in by_age if _source_of(out.read(log)) == source), None)
    if newest is None:
        # Logs of earlier versions do not name their source; then there was only one.
        newest = next((log for log in by_age if _source_of(out.read(log)) is None), None)
    if newest is None:
        raise UserError(
            f"{out.uri}: no log of an extraction of the source {source} in {FOLDER}/, so its archive is not known. "
            "Name the config that made it: --config my.yaml"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CONFIG_NAME
        path.write_bytes(out.read(newest))
        try:
            return configs.load(str(path), ExtractConfig, kind="extract", overrides=overrides)
        except configs.ConfigError as error:
            text = str(error).replace(str(path), f"{out.uri}/{newest}")
            raise configs.ConfigError(f"{text}\nName another config with --config.") from error


def _source_of(log: bytes) -> str | None:
    """The name of the source in the config of a run; None if it has none, or cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CONFIG_NAME
        path.write_bytes(log)
        try:
            found = configs.read_yaml(path)
        except configs.ConfigError:
            return None
    section = found.get("source") if isinstance(found, dict) else None
    name = section.get("name") if isinstance(section, dict) else None
    return name if isinstance(name, str) else None
