"""Optuna on Tune: values that follow from what finished trials showed, over grids and after kills."""

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
    """The space as Optuna asks for it, key after key, so that conditions see what was suggested before.

    Grids are walked by the number of the trial; Optuna does not hear of them.
    """

    def __init__(self, space: dict[str, Range], base: dict[str, Any]) -> None:
        self.space, self.base = space, base
        self.grids = combinations(space, base)

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest through `trial`; what is returned joins it in the trial's config."""
        chosen: dict[str, Any] = {}
        walked = self.grids[trial.number % len(self.grids)]
        for key, r in self.space.items():
            if not active(self.space, key, chosen, self.base):
                continue
            if r.kind == "grid":
                chosen[key] = walked[key]
            elif r.kind == "choice":
                chosen[key] = trial.suggest_categorical(key, list(r.values))
            elif r.kind == "int":
                chosen[key] = trial.suggest_int(key, *r.values)
            else:
                chosen[key] = trial.suggest_float(key, *r.values, log=r.kind == "log_uniform")
        # Tune's own ids are drawn at random where a searcher suggests.
        grids = {key: value for key, value in chosen.items() if self.space[key].kind == "grid"}
        return {"number": trial.number, **grids}


class Proposals(OptunaSearch):  # type: ignore[misc]  # Ray has no types for it
    """Tune's searcher, which after a kill proposes the trials again that stand in the folders.

    Tune writes its journal every few seconds: trials that began after the last time are in no journal, but in
    their folders. Proposed with the same values and numbers, they go on there, or are only told to Optuna.
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
        """From Tune's journal, and then from the folders."""
        super().restore(checkpoint_path)
        self._enqueue()

    def _enqueue(self) -> None:
        for number in range(len(self._ot_study.trials), self.total):
            values = read_record(place(self.root).folder("trials", name(number)), number).values
            if not values:
                # Those behind it would get its number.
                return
            grids = [key for key, r in self.ranges.items() if r.kind == "grid"]
            self._ot_study.enqueue_trial({k: v for k, v in values.items() if k not in grids})
