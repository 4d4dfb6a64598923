"""A small untrained flow on disk, for tests of what is made with flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mocap_ray.generation.generator import Generator, Sampling
from mocap_ray.generation.task import WORDS
from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from tests.generation.made import EVERY, flow

CONDITIONS = {**EVERY, "text": 0.0}
"""All but captions, whose encoder takes seconds to load."""


def exported(folder: Path, **options: Any) -> Path:
    """Write a flow as a training exports it."""
    made = flow(conditions=CONDITIONS, **options)
    about = {"model": made.config.model_dump(mode="json"), **made.facts.describe()}
    checkpoint.export(place(folder), tensors=made.state_dict(), about=about, description=WORDS.description)
    return folder


def generator(folder: Path, **sampling: Any) -> Generator:
    """A generator of an exported flow that takes few steps."""
    return Generator.load(Sampling(str(folder), **{"steps": 2, **sampling}))
