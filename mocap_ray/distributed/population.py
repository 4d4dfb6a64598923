"""Population based training on Ray Tune: the scheduler, and the exchange of checkpoints between trials.

The scheduler of Ray 2.60 copies checkpoints of Tune from trial to trial, but here the checkpoints are files in the
folders of the trials. So each trial reports an empty checkpoint whose path contains its number. A trial that should
copy another one is restarted with that path, and copies weights and values from the folder itself (`trial.py`).
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
"""Key in the config of a trial: id of the decision to replace its weights by those of another trial."""
PREFIX = "trial-"


def folder_name(trial: Trial) -> str:
    """Name of Tune's folder of a trial; its number stays the same when the config is replaced by that of a donor."""
    return f"{PREFIX}{int(trial.config['number']):03d}"


def number_in(path: str) -> int:
    """Number of the trial that a path in Tune's folder belongs to."""
    numbers = re.findall(rf"/{PREFIX}(\d+)", path)
    assert numbers, f"{path}: not in the folder of a trial"
    return int(numbers[-1])


def own_number() -> int:
    """Number of the trial in this process."""
    folder = tune.get_context().get_trial_dir()
    assert folder is not None, "not within a trial"
    return number_in(folder)


def donor() -> int | None:
    """Number of the trial whose checkpoint Tune passed to this one (may be its own), or None."""
    reported = tune.get_checkpoint()
    return None if reported is None else number_in(reported.path)


def report(row: dict[str, Any], *, hold: bool) -> None:
    """Report an epoch to Tune; with `hold` also a checkpoint, so that other trials may copy this one."""
    if not hold:
        tune.report(row)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "README").write_text(
            "The checkpoints are in trials/; this folder only identifies the trial.\n"
        )
        tune.report(row, checkpoint=tune.Checkpoint.from_directory(folder))


def marked(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a donor with the id of this clone. It has no values: the clone perturbs those of the donor."""
    return {**config, CLONE: uuid.uuid4().hex}


class Population(PopulationBasedTraining):  # type: ignore[misc]  # Ray has no types for it
    """Tune's scheduler for a population whose trials all run at the same time."""

    def __init__(self, *, every: int, quantile: float, last: int) -> None:
        """Create the scheduler.

        Args:
            every: epochs between two comparisons of a trial.
            quantile: fraction of the trials that counts as the worst, and as the best.
            last: last epoch of a training.
        """
        super().__init__(
            time_attr="epoch",
            perturbation_interval=every,
            quantile_fraction=quantile,
            custom_explore_fn=marked,
            # Disables Tune's files about clones; trial.json has that information.
            log_config=False,
        )
        self.last = last

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial continues after a report."""
        if result["epoch"] >= self.last:
            # The training is finished: a clone would have no epoch left.
            return str(TrialScheduler.CONTINUE)
        decision = super().on_trial_result(tune_controller, trial, result)
        # Tune would pause it for waiting trials; but these are about to start, and there is room for all.
        return str(TrialScheduler.CONTINUE if decision == TrialScheduler.PAUSE else decision)
