"""Population based training on Tune: who takes over whom.

Ray 2.60's scheduler passes checkpoints that Tune holds from trial to trial, and ours are files in the trials' own
folders. So a trial reports an empty checkpoint whose path names it; a trial that is to take over another one is
started again with that path, and takes the weights and values from the folders itself (`trial.py`).
"""

from __future__ import annotations

import re
import tempfile
import uuid
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

CLONE = "clone"
"""Key in a trial's config: the id of the decision that made it take over another one."""
PREFIX = "trial-"


def folder_name(trial: Trial) -> str:
    """Name of Tune's own folder of a trial; the number in it is the trial's, whatever is copied into its config."""
    return f"{PREFIX}{int(trial.config['number']):03d}"


def number_in(path: str) -> int:
    """Number of the trial to which a path in Tune's folder belongs."""
    found = re.findall(rf"/{PREFIX}(\d+)", path)
    assert found, f"{path}: not of a trial"
    return int(found[-1])


def own_number() -> int:
    """Of the trial that runs in this process."""
    folder = tune.get_context().get_trial_dir()
    assert folder is not None, "not within a trial"
    return number_in(folder)


def donor() -> int | None:
    """The trial with whose checkpoint Tune started this one: itself, another one, or none at all."""
    found = tune.get_checkpoint()
    return None if found is None else number_in(found.path)


def report(row: dict[str, Any], *, hold: bool) -> None:
    """Tell Tune of an epoch; with `hold` also that this trial's checkpoints may be taken over."""
    if not hold:
        tune.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "README").write_text(
            "The checkpoints are in trials/, this folder only names the trial.\n"
        )
        tune.report(row, checkpoint=tune.Checkpoint.from_directory(folder))


def marked(config: dict[str, Any]) -> dict[str, Any]:
    """A donor's config as its clone gets it. Values are not in it: the clone draws its own from the donor's."""
    return {**config, CLONE: uuid.uuid4().hex}


class Population(PopulationBasedTraining):  # type: ignore[misc]  # Ray has no types for it
    """Tune's scheduler for a population that runs at once."""

    def __init__(self, *, every: int, quantile: float, last: int) -> None:
        """Of trainings.

        Args:
            every: epochs between two looks at a trial.
            quantile: share of the trials that is behind, and ahead.
            last: epoch with which a training ends.
        """
        super().__init__(
            time_attr="epoch",
            perturbation_interval=every,
            quantile_fraction=quantile,
            custom_explore_fn=marked,
            # Tune's own files about clones; trial.json has them.
            log_config=False,
        )
        self.last = last

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """What becomes of a trial that has reported."""
        if result["epoch"] >= self.last:
            # At its end: a clone would have nothing left to train.
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result)
        # Tune would pause it for others that wait; they are being started, and there is room for all.
        return str(TrialScheduler.CONTINUE if decision == TrialScheduler.PAUSE else decision)
