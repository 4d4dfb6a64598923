"""Ray Tune for a search: search algorithm, scheduler, and resuming a killed run."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from mocap_ray.distributed.halving import Halving
from mocap_ray.distributed.population import Population, folder_name, number_in
from mocap_ray.distributed.proposals import Proposals
from mocap_ray.distributed.train import TRIAL_CPU
from mocap_ray.distributed.trial import FAILED, TrialSetup, run_trial
from mocap_ray.runs.search import SearchConfig
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import Place, place

TUNE = "tune"
"""Folder of Tune's state in the output; a killed search is resumed from its journal."""
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Settings of Tune: no tables and log files of its own, because each trial has those of a training; and Ctrl-C stops a
search with a message, while Tune would report it as finished."""


def run_trials(
    config: SearchConfig,
    task: TrialSetup,
    base: TrainConfig,
    base_values: dict[str, Any],
    *,
    count: int,
    concurrency: int,
) -> dict[int, str]:
    """Run the unfinished trials; returns errors by trial number, including those of processes that died."""
    out = place(task.root)
    # Disables the tables of Tune, and that it changes the working directory of its workers.
    os.environ.update(QUIET)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fn = tune.with_resources(tune.with_parameters(run_trial, task=task), {"cpu": TRIAL_CPU})
    if tune.Tuner.can_restore(out.join(TUNE), storage_filesystem=out.fs):
        tuner = tune.Tuner.restore(
            out.join(TUNE),
            trainable=fn,
            resume_unfinished=True,
            # Resume and not restart: a restarted trial gets a new id, which the searcher does not know.
            resume_errored=True,
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
                scheduler=_scheduler(config, base, task.root),
                search_alg=_searcher(config, base_values, task.root),
                # Tune counts trials that it is about to restart as running; a population has room for all.
                max_concurrent_trials=None if config.scheduler == "pbt" else concurrency,
                trial_dirname_creator=folder_name,
                time_budget_s=config.time_budget_min and 60 * config.time_budget_min,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=out.path,
                storage_filesystem=out.fs,
                # A trial whose process was lost with its node starts again, and resumes from its own checkpoint.
                failure_config=tune.FailureConfig(max_failures=config.ray.max_failures),
                verbose=0,
            ),
        )
    with warnings.catch_warnings():
        # Trials cannot reuse processes, because each runs its own Ray Train.
        warnings.filterwarnings("ignore", message="Consider boosting PBT")
        _forget_failures(out)
        try:
            results = tuner.fit()
        finally:
            _forget_failures(out)
    return {number_in(r.path): _reason(r.error) for r in results if r.error is not None}


def _forget_failures(out: Place) -> None:
    """Let the trials that failed be tried once more by the next run."""
    if out.exists(FAILED):
        out.fs.delete_dir(out.join(FAILED))


def _scheduler(config: SearchConfig, base: TrainConfig, root: str) -> TrialScheduler:
    if config.scheduler == "none":
        return FIFOScheduler()
    if config.scheduler == "pbt":
        return Population(
            every=config.perturb_epochs, quantile=config.quantile, last=base.training.max_epochs
        )
    epochs = [base.training.max_epochs]
    if "training.max_epochs" in config.space:
        epochs = [int(v) for v in config.space["training.max_epochs"].values]
    return Halving(
        root=root,
        last=max(*epochs, config.grace_epochs),
        grace=config.grace_epochs,
        reduction=config.reduction,
    )


def _searcher(config: SearchConfig, base_values: dict[str, Any], root: str) -> Proposals | None:
    return None if config.searcher == "random" else Proposals(config, base_values, root=root)


def _reason(error: BaseException) -> str:
    """The last line of an error of Tune, for a trial that reported none itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
