"""Successive halving (ASHA) on Ray Tune, which marks the trials that it stops."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from mocap_ray.searching.results import mark_stopped, name
from mocap_ray.storage import place


class Halving(ASHAScheduler):  # type: ignore[misc]  # Ray has no types for it
    """Tune's scheduler ASHA; the folder of a stopped trial tells it from one that is still running."""

    def __init__(self, *, root: str, last: int, grace: int, reduction: int) -> None:
        """Create the scheduler.

        Args:
            root: folder of the search.
            last: largest number of epochs of a trial.
            grace: epochs before a trial may be stopped.
            reduction: one of this many trials continues at each rung.
        """
        # Epochs and not reports, so that a resumed trial continues to count.
        super().__init__(time_attr="epoch", max_t=last, grace_period=grace, reduction_factor=reduction)
        self.root = root

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial continues after a report."""
        decision = str(super().on_trial_result(tune_controller, trial, result))
        if decision == TrialScheduler.STOP:
            folder = place(self.root).folder("trials", name(int(trial.config["number"])))
            with suppress(OSError):  # only pages and tables need the mark; the search goes on without it
                mark_stopped(folder, epoch=int(result["epoch"]))
        return decision
