"""An extraction, a training and a search for a cluster of `nodes`, and how to see that nothing was lost or doubled."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from mocap_ray.demo.archive import write_demo
from mocap_ray.demo.standin import write_standin
from tests.distributed.conftest import Run
from tests.distributed.nodes import Drive, Nodes
from tests.distributed.training import losses, rows

HERE = str(Path(__file__).parent)
TRIALS, TRIAL_EPOCHS = 4, 16
EPOCHS = 30


class Work:
    """The inputs of the runs in the shared folder, and what undisturbed runs make of them."""

    def __init__(self, nodes: Nodes, *, recordings: int = 24) -> None:
        """Write the archive and the bodies, and extract them in this process, without Ray."""
        self.nodes, self.shared = nodes, nodes.shared
        write_demo(self.shared / "archive", recordings=recordings)
        write_standin(self.shared / "bodies", genders=("neutral", "male"))
        self.plain = self.run("plain")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(HERE)
            self.plain.plain()

    def run(self, name: str, archive: str = "archive") -> Run:
        """An extraction into a folder of the shared one."""
        out = self.shared / name
        extra = {"output": {"shard_mb": 0.5}}
        return Run(self.shared / archive, self.shared / "bodies", out, "trap_archive:ARCHIVE", extra)

    # The extraction

    def extract(self, name: str, *more: str, archive: str = "archive", on: str = "head") -> Drive:
        """Start the extraction, with its driver on a machine."""
        return self.nodes.drive(
            "extract", "amass", "--override", "source.archive=trap_archive:ARCHIVE", f"source.root=/mnt/{archive}",
            "body.root=/mnt/bodies", f"output.root=/mnt/{name}", "output.shard_mb=0.5", "ray.max_workers=2", *more,
            on=on,
        )  # fmt: skip

    def shards(self, name: str) -> int:
        """Shards that were written so far."""
        return len(list((self.shared / name).glob("clips/**/*.parquet")))

    def check_rows(self, name: str, plain: str = "plain") -> None:
        """The data set equals the one that one process made, file by file: no row lost, none doubled."""
        made, expected = self.run(name).files(), self.run(plain).files()
        differ = {file for file in made.keys() | expected.keys() if made.get(file) != expected.get(file)}
        # Where the archive and the bodies are is in the recipe; here they have two names.
        assert not {file for file in differ if file.endswith(".parquet")}, differ
        sizes = [
            {shard["path"]: (shard["rows"], shard["sha256"]) for shard in run.manifest()["shards"]}
            for run in (self.run(name), self.run(plain))
        ]
        assert sizes[0] == sizes[1]

    # The training

    def base(self, name: str, **training: Any) -> str:
        """Write the config of a small flow; returns its path on the machines."""
        config = {
            "model": {"kind": "joint_flow", "hidden": 8, "K": 2},
            "data": {"root": "/mnt/plain", "joints": "body", "batch_size": 32},
            "training": {"max_epochs": EPOCHS, "learning_rate": 1e-3, "patience": None, **training},
            "output": {"root": f"/mnt/{name}", "tensorboard": False},
            "ray": {"workers": 2, "gpus_per_worker": 0, "max_workers": 2},
        }
        (self.shared / f"{name}.yaml").write_text(yaml.safe_dump(config))
        return f"/mnt/{name}.yaml"

    def train(self, name: str, *flags: str, on: str = "head") -> Drive:
        """Start the training by two workers, which are on two nodes."""
        return self.nodes.drive("train", self.base(name), *flags, "--override", on=on)

    def epochs(self, name: str) -> int:
        """Epochs that the training has finished."""
        return len(rows(self.shared / name))

    def check_losses(self, name: str) -> None:
        """The losses of every epoch equal those of an undisturbed training, digit by digit."""
        if not (self.shared / "undisturbed" / "summary.json").exists():
            self.train("undisturbed").end()
        expected = losses(self.shared / "undisturbed")
        assert len(expected) == EPOCHS
        assert losses(self.shared / name) == expected

    # The search

    def search(self, name: str, *flags: str) -> Drive:
        """Start the search of four trials, each of one worker."""
        config = {
            "base": self.base(f"{name}-base"),
            "fixed": {"training": {"max_epochs": TRIAL_EPOCHS}},
            "space": {"training": {"learning_rate": {"grid": [3e-4, 1e-3, 3e-3, 1e-2]}}},
            "scheduler": "none",
            "output": {"root": f"/mnt/{name}"},
            "ray": {"workers": 1, "gpus_per_worker": 0, "max_workers": 2},
        }
        (self.shared / f"{name}.yaml").write_text(yaml.safe_dump(config))
        return self.nodes.drive("search", f"/mnt/{name}.yaml", *flags, "--override")

    def finished(self, name: str) -> dict[str, int]:
        """Trials with a summary, and when it was written."""
        found = (self.shared / name).glob("trials/*/summary.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in found}

    def begun(self, name: str) -> int:
        """Trials that have finished an epoch, but not the last."""
        epochs = [len(rows(folder)) for folder in (self.shared / name).glob("trials/*")]
        return sum(0 < count < TRIAL_EPOCHS for count in epochs)

    def check_trials(self, name: str, before: dict[str, int]) -> None:
        """Every trial finished with each epoch once; those that were finished before were not touched again."""
        after = self.finished(name)
        assert sorted(after) == [f"{number:03d}" for number in range(TRIALS)]
        assert {number: after[number] for number in before} == before, "finished trials are not repeated"
        for number in after:
            epochs = [int(row["epoch"]) for row in rows(self.shared / name / "trials" / number)]
            assert epochs == list(range(1, TRIAL_EPOCHS + 1)), number
        table = csv.DictReader((self.shared / name / "trials.csv").read_text().splitlines())
        assert {row["state"] for row in table} == {"finished"}

    def remove(self, name: str) -> None:
        """Remove what a run wrote, for a long series of runs."""
        shutil.rmtree(self.shared / name)
