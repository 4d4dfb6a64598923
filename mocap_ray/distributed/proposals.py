"""Optuna on Tune: proposes values from the results of earlier trials; supports grids and killed searches."""

from __future__ import annotations

from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from mocap_ray.runs.search import SearchConfig
from mocap_ray.searching.population import read_record
from mocap_ray.searching.results import name
from mocap_ray.searching.space import Range, active, combinations
from mocap_ray.storage import place


class Suggest:
    """The search space as a define-by-run function for Optuna, so that conditions can use earlier suggestions.

    The values of grids follow from the number of the trial; Optuna does not know them.
    """

    def __init__(self, space: dict[str, Range], base: dict[str, Any]) -> None:
        self.space, self.base = space, base
        self.grids = combinations(space, base)

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest values with `trial`; the returned values are added to the config of the trial."""
        chosen: dict[str, Any] = {}
        combination = self.grids[trial.number % len(self.grids)]
        for key, r in self.space.items():
            if not active(self.space, key, chosen, self.base):
                continue
            if r.kind == "grid":
                chosen[key] = combination[key]
            elif r.kind == "choice":
                chosen[key] = trial.suggest_categorical(key, list(r.values))
            elif r.kind == "int":
                chosen[key] = trial.suggest_int(key, *r.values)
            else:
                chosen[key] = trial.suggest_float(key, *r.values, log=r.kind == "log_uniform")
        # The trial number is added because Tune's ids are random with a searcher.
        grids = {key: value for key, value in chosen.items() if self.space[key].kind == "grid"}
        return {"number": trial.number, **grids}


class Proposals(OptunaSearch):  # type: ignore[misc]  # Ray has no types for it
    """Tune's search algorithm, which after a kill first proposes the trials that already have a folder.

    Tune writes its journal only every few seconds, so the latest trials may be missing in it, but they have folders.
    They are proposed again with the same values and numbers, so that they resume, or only report to Optuna.
    """

    def __init__(self, config: SearchConfig, base: dict[str, Any], *, root: str) -> None:
        super().__init__(
            space=Suggest(config.space, base),
            metric=config.metric,
            mode=config.mode,
            sampler=optuna.samplers.TPESampler(seed=config.seed),
        )
        self.ranges, self.root, self.total = config.space, root, config.trials or 0
        self._enqueue()

    def restore(self, checkpoint_path: str) -> None:
        """Restore from the journal of Tune, and then from the folders."""
        super().restore(checkpoint_path)
        self._enqueue()

    def _enqueue(self) -> None:
        for number in range(len(self._ot_study.trials), self.total):
            values = read_record(place(self.root).folder("trials", name(number)), number).values
            if not values:
                # Trials after it would get its number.
                return
            grids = [key for key, r in self.ranges.items() if r.kind == "grid"]
            self._ot_study.enqueue_trial({k: v for k, v in values.items() if k not in grids})
