"""Scenes: what somebody does, and the text that they read then; the test compares it with `tests/wording.txt`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mocap_ray.archives import amass
from mocap_ray.cli import main as cli
from mocap_ray.cli.screen import console
from mocap_ray.dataset.inspect import inspect
from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from mocap_ray.records import Rejection
from mocap_ray.runs.train import TrainConfig
from mocap_ray.training.lockstep import train_locally
from tests.dataset import made
from tests.dataset.test_sources import downgrade
from tests.distributed.conftest import Run
from tests.generation.generated import exported

ROOT = Path(__file__).resolve().parents[2]


class House:
    """A small archive, stand-in bodies, finished data sets and a trained prior, each made when first asked for.

    Scenes share it, so a scene that changes something works on a copy of its own name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def archive(self) -> Path:
        """Twelve recordings of three sub-datasets."""
        return self._once("archive", lambda root: write_demo(root, recordings=8))

    @property
    def bodies(self) -> Path:
        """SMPL+H, neutral."""
        return self._once("bodies", lambda r: write_standin(r, families=("smplh",), genders=("neutral",)))

    @property
    def extracted(self) -> Path:
        """What `extract` makes of `archive`, by the plain path."""
        settings = {"source": {"split": "none"}, "output": {"shard_mb": 32}}
        return self._once("extracted", lambda r: Run(self.archive, self.bodies, r, extra=settings).plain())

    @property
    def neutral_smplx(self) -> Path:
        """A stand-in of SMPL-X."""
        return self._once(
            "neutral_smplx", lambda r: write_standin(r, families=("smplx",), genders=("neutral",))
        )

    @property
    def two_sources(self) -> Path:
        """The sources `amass` and `second`, by the plain path."""

        def make(root: Path) -> None:
            settings = {"source": {"split": "none"}, "output": {"shard_mb": 32}}
            Run(self.archive, self.bodies, root, extra=settings).plain()
            second = self._once("second", lambda r: write_demo(r, recordings=2, seed=1, bad=False))
            own = {"split": "none", "name": "second", "dataset": "Second", "check_root": False}
            Run(second, self.bodies, root, extra={**settings, "source": own}).plain()

        return self._once("two_sources", make)

    @property
    def earlier(self) -> Path:
        """A data set as version 0.1.0 wrote it."""

        def make(root: Path) -> None:
            shutil.copytree(self.extracted, root, dirs_exist_ok=True)
            downgrade(root)

        return self._once("earlier", make)

    @property
    def data_set(self) -> Path:
        """18 clips, half of them mirrored twins."""
        return self._once("data_set", made.make)

    @property
    def flow(self) -> Path:
        """Of the flowmimic profile, with one clip in each split."""
        splits: dict[tuple[str, str], int] = {("CMU", "train"): 1, ("CMU", "val"): 1}
        return self._once("flow", lambda root: made.make(root, profile="flowmimic", clips=splits))

    @property
    def training(self) -> Path:
        """A finished training of a Gaussian prior on `data_set`."""

        def train(root: Path) -> None:
            train_locally(TrainConfig.model_validate(self.training_values(root)).setup())

        return self._once("training", train)

    @property
    def motion_flow(self) -> Path:
        """A small untrained flow with the styles calm and old, at 20 fps."""
        return self._once("motion_flow", exported)

    def training_values(self, root: Path, **sections: dict[str, Any]) -> dict[str, Any]:
        """The config of a training of a second."""
        values: dict[str, dict[str, Any]] = {
            "model": {"kind": "gaussian_prior"},
            "data": {"root": str(self.data_set), "joints": "body"},
            "training": {"closed_form": True, "max_epochs": 1},
            "output": {"root": str(root), "tensorboard": False},
        }
        return {k: {**v, **sections.get(k, {})} for k, v in values.items()}

    def extract(self, *words: str, out: str = "new", **keys: Any) -> str:
        """Type `mocap-ray extract` with keys of the config, a double underscore for the dot in them."""
        known: dict[str, Any] = {
            "source.root": self.archive,
            "body.root": self.bodies,
            "output.root": self.root / out,
            "source.split": "none",
        }
        changes = {key.replace("__", "."): value for key, value in keys.items()}
        texts = [f"{key}={value}" for key, value in (known | changes).items()]
        return self.typed("extract", "amass", *words, "--override", *texts)

    def typed(self, *words: object) -> str:
        """A command typed into a shell: what it printed and its exit code."""
        out, err = io.StringIO(), io.StringIO()
        code: Any = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main([str(word) for word in words])
            except SystemExit as end:
                code = end.code or 0
        line = shlex.join(["mocap-ray", *map(str, words)])
        return f"$ {line}\n{out.getvalue()}{err.getvalue()}exit code {code}"

    def rejection(self, name: str, data: bytes) -> str:
        """Reason and sentence of a recording that is left out."""
        path = self.root / name
        path.write_bytes(data)
        found = inspect(path, amass.ARCHIVE)
        assert isinstance(found.rejections[0], Rejection)
        return f"{found.rejections[0].reason}: {found.rejections[0].detail}"

    def written(self, name: str, text: str) -> Path:
        """A file with this text; `DIR` in it is the folder of the house."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("DIR", str(self.root)))
        return path

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.root / name
        if not path.exists():
            make(path)
        return path


Scene = Callable[[House], object]
SCENES: dict[str, Scene] = {}


def scene(function: Scene) -> Scene:
    """Register a scene: it returns its text, or raises the error whose text counts."""
    assert function.__name__ not in SCENES, "each scene has a name of its own"
    SCENES[function.__name__] = function
    return function


def said(act: Callable[[], object]) -> str:
    """The text that an act returned, or that of the error it raised."""
    try:
        text = act()
    except (ValueError, RuntimeError, OSError) as error:
        text = error
    assert text is not None, "nothing was said"
    return str(text)


def printed(show: Callable[[Console], object]) -> str:
    """What a function prints on a console that is no terminal."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show(console())
    return out.getvalue()


def normalised(text: str, root: Path) -> str:
    """Without what differs from run to run: folders, process, machine, seconds, sums of files, losses."""
    beside = Path(sys.executable).parent
    patterns = (
        (re.escape(str(root)), "DIR"),
        (rf"{re.escape(str(beside))}/", ""),
        (rf"{re.escape(str(ROOT))}/", ""),
        # A command to copy names its program by a path where PATH does not lead to it.
        (r"(?m)(^ *)\S+/(mocap-ray|python)(?= )", r"\1\2"),
        (rf"pid {os.getpid()} on {re.escape(os.uname().nodename)}", "pid PID on HOST"),
        (r"(?m)^(time, about +).*$", r"\1TIME"),
        (r"\d+(\.\d+)? s in total", "SECONDS s in total"),
        (r"manifest [0-9a-f]{12}; (\S+) is [0-9a-f]{12}", r"manifest SUM; \1 is SUM"),
        (r"[ \t]+$", ""),
    )
    for pattern, instead in patterns:
        text = re.sub(pattern, instead, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def take_with(**changes: Any) -> dict[str, Any]:
    """Arrays of an SMPL+H recording of 300 frames; a change to None removes one."""
    from tests.archives import takes

    take = {**takes.smplh(300), **changes}
    return {k: np.asarray(v) for k, v in take.items() if v is not None}
