"""Tune as a search needs it: who proposes values, who ends trials, how a killed run goes on (floor 6)."""

from __future__ import annotations

import logging
import os
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from mocap_ray.distributed.train import TRIAL_CPU
from mocap_ray.distributed.trial import Task, run_trial
from mocap_ray.storage import place
from mocap_ray.training.options import TrainConfig
from mocap_ray.training.search import SearchConfig
from mocap_ray.training.space import Range, active

TUNE = "tune"
"""Folder of Tune's own state below the output; its journal lets a killed search go on."""
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
"""Settings of Tune: its own tables and log files off, since every trial has those of a training."""


def run_trials(
    config: SearchConfig,
    task: Task,
    base: TrainConfig,
    known: dict[str, Any],
    *,
    count: int,
    concurrency: int,
) -> dict[int, str]:
    """Run what is left to run; returns why trials failed whose own process could not say it, by number."""
    out = place(task.root)
    # Without a terminal of its own Tune prints tables; ours are better. Tune would also chdir its workers.
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fn = tune.with_resources(tune.with_parameters(run_trial, task=task), {"cpu": TRIAL_CPU})
    if tune.Tuner.can_restore(out.join(TUNE), storage_filesystem=out.fs):
        tuner = tune.Tuner.restore(
            out.join(TUNE),
            trainable=fn,
            resume_unfinished=True,
            restart_errored=True,
            storage_filesystem=out.fs,
        )
    else:
        tuner = tune.Tuner(
            fn,
            param_space={"number": tune.grid_search(list(range(count)))} if task.drawn is not None else {},
            tune_config=tune.TuneConfig(
                metric=config.metric,
                mode=config.mode,
                num_samples=1 if task.drawn is not None else count,
                scheduler=_scheduler(config, base),
                search_alg=_searcher(config, known),
                max_concurrent_trials=concurrency,
                time_budget_s=config.time_budget_min and 60 * config.time_budget_min,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=out.path,
                storage_filesystem=out.fs,
                verbose=0,
            ),
        )
    return {
        int(result.config["number"]): _reason(result.error)
        for result in tuner.fit()
        if result.error is not None and result.config
    }


def _scheduler(config: SearchConfig, base: TrainConfig) -> TrialScheduler:
    if config.scheduler == "none":
        return FIFOScheduler()
    epochs = [base.training.max_epochs]
    if "training.max_epochs" in config.space:
        epochs = [int(v) for v in config.space["training.max_epochs"].values]
    # Epochs and not reports: a resumed trial counts on.
    return ASHAScheduler(
        time_attr="epoch",
        max_t=max(*epochs, config.grace_epochs),
        grace_period=config.grace_epochs,
        reduction_factor=config.reduction,
    )


def _searcher(config: SearchConfig, known: dict[str, Any]) -> OptunaSearch | None:
    if config.searcher == "random":
        return None
    return OptunaSearch(
        space=Suggest(config.space, known),
        metric=config.metric,
        mode=config.mode,
        sampler=optuna.samplers.TPESampler(seed=config.seed),
    )


class Suggest:
    """The space as Optuna asks for it, key after key, so that conditions see what was suggested before."""

    def __init__(self, space: dict[str, Range], base: dict[str, Any]) -> None:
        self.space, self.base = space, base

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest through `trial`; what is returned joins it in the trial's config."""
        chosen: dict[str, Any] = {}
        for key, r in self.space.items():
            if not active(self.space, key, chosen, self.base):
                continue
            if r.kind == "choice":
                chosen[key] = trial.suggest_categorical(key, list(r.values))
            elif r.kind == "int":
                chosen[key] = trial.suggest_int(key, *r.values)
            else:
                chosen[key] = trial.suggest_float(key, *r.values, log=r.kind == "log_uniform")
        # Tune's own ids are drawn at random where a searcher suggests.
        return {"number": trial.number}


def _reason(error: BaseException) -> str:
    """What Tune says of a trial whose process said nothing before it died."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
