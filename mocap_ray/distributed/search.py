"""Searches on Ray Tune: every trial is a training on Ray Train, in a folder of its own (floor 6).

Ray 2.60 runs Train (V2) inside a Tune function; the trial's own process takes next to no CPU. What the trials
did is read from their folders, not from Tune: a trial that Tune knows nothing of any more is not lost.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
import yaml
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from mocap_ray import config as configs
from mocap_ray.config import ConfigError, RayOptions, dump_yaml
from mocap_ray.dataset.lock import lock
from mocap_ray.distributed.board import News
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.train import (
    POLL_S,
    TRIAL_CPU,
    Capacity,
    Share,
    absolute,
    capacity,
    clean,
    share,
    team_run,
)
from mocap_ray.storage import Place, place
from mocap_ray.training import session
from mocap_ray.training.listener import Beat, EpochReport, Start
from mocap_ray.training.options import TrainConfig
from mocap_ray.training.results import (
    TRIAL_NAME,
    Trial,
    export_best,
    name,
    ranked,
    read_trial,
    read_trials,
    write_csv,
)
from mocap_ray.training.search import SearchConfig, base_values, check, trial_config
from mocap_ray.training.search_page import write_page
from mocap_ray.training.space import Range, active, draw_trials

TUNE = "tune"
"""Folder of Tune's own state below the output; its journal lets a killed search go on."""
CONFIG_NAME, BASE_NAME = "search.yaml", "base.yaml"
MAY_DIFFER = ("ray", "output")
"""Keys that a resumed search may change; Tune keeps the others in its journal."""
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
"""Settings of Tune: its own tables and log files off, since every trial has those of a training."""


class SearchListener(Protocol):
    """Who watches a search."""

    def cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Ray is there."""

    def trial(self, number: int, event: str, value: Any) -> None:
        """Of a trial: `epoch` with its figures, `finished`, or `failed` with a sentence."""


class SearchFailed(RuntimeError):
    """No trial came to a result."""


@dataclass(frozen=True, slots=True)
class Task:
    """What every trial needs; kilobytes.

    Attributes:
        config: of the search, as YAML.
        text: of the base's file, so that a node needs no copy of it, and editing it changes no search.
        base: its data and output with absolute paths.
        part: what each worker of a trial gets.
        drawn: values of each trial by its number; None where the searcher suggests them.
        news: where the trials post theirs.
    """

    config: str
    text: str
    base: TrainConfig
    part: Share
    drawn: list[dict[str, Any]] | None
    news: News

    @property
    def root(self) -> str:
        """Output of the search."""
        return self.base.output.root

    def training(self, number: int, values: dict[str, Any]) -> TrainConfig:
        """The config of a trial."""
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder, "base.yaml")
            base.write_text(self.text, encoding="utf-8")
            config = self.search().model_copy(update={"base": str(base)})
            found = trial_config(config, values, f"{self.root}/trials/{name(number)}")
        return found.model_copy(update={"data": found.data.model_copy(update={"root": self.base.data.root})})

    def search(self) -> SearchConfig:
        """Its config."""
        return SearchConfig.model_validate(yaml.safe_load(self.config))


def _trial(drawn: dict[str, Any], task: Task) -> None:
    """One trial, in a process of Tune's: a training, whose validations are reported as they come."""
    number, values = _who(drawn, task)
    try:
        _train_trial(number, values, task)
    except Exception as error:
        # Told here in its own words: Tune keeps a traceback in a file.
        task.news.post("failed", (number, str(error)), wait=True)
        raise
    task.news.post("finished", (number, {}), wait=True)


def _train_trial(number: int, values: dict[str, Any], task: Task) -> None:
    config, metric = task.training(number, values), task.search().metric
    out = place(config.output.root)
    out.publish(json.dumps({"number": number, "values": values}, indent=1).encode(), TRIAL_NAME)
    clean(out)
    there = read_trial(out, number)
    reporting = _Reporting(number, metric, task.news)
    if not there.finished:
        session.prepare(config, resume=there.started, overwrite=not there.started)
        team_run(config, task.part, reporting, trial=True)
    if not reporting.said:
        # A trial that had no epoch left, or that Tune forgot and its folder remembers: Tune must still hear of it.
        last = read_trial(out, number).last(metric)
        if not last:
            known = sorted({key for row in read_trial(out, number).rows for key in row})
            raise ValueError(f"metric {metric}: the training has no such figure; it has {', '.join(known)}")
        tune.report(last)


def _who(drawn: dict[str, Any], task: Task) -> tuple[int, dict[str, Any]]:
    """Number and values of this trial."""
    number = int(drawn["number"])
    if task.drawn is not None:
        return number, task.drawn[number]
    return number, {key: value for key, value in drawn.items() if key != "number"}


class _Reporting:
    """Tells Tune of every validation; Tune ends the trial from within this call."""

    def __init__(self, number: int, metric: str, news: News) -> None:
        self.number, self.metric, self.news = number, metric, news
        self.said = False

    def cluster(self, cluster: Any, part: Share) -> None:
        """Known to the search already."""

    def started(self, start: Start) -> None:
        """Not worth a report."""

    def beat(self, beat: Beat) -> None:
        """Not worth a report."""

    def epoch(self, report: EpochReport) -> None:
        row = report.row()
        self.news.post("epoch", (self.number, row))
        if self.metric in row:
            self.said = True
            tune.report(row)

    def note(self, text: str) -> None:
        """In the trial's own folder."""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished search.

    Attributes:
        out: its folder.
        trials: every trial, in the order of their numbers.
        best: the best of them.
        run_s: seconds of this run.
    """

    out: str
    trials: list[Trial]
    best: Trial
    run_s: float


def search(
    config: SearchConfig, listener: SearchListener, *, resume: bool = False, overwrite: bool = False
) -> Outcome:
    """Search, and leave tables, a page and the best prior in `output.root`.

    Args:
        config: the whole configuration.
        listener: is told of progress.
        resume: go on with the search in `output.root`; finished trials are not repeated.
        overwrite: replace it.

    Raises:
        ValueError: it cannot start; nothing was changed.
        Locked: another search writes this folder.
        SearchFailed: no trial came to a result.
    """
    began = time.monotonic()
    base = absolute(check(config))
    out = place(base.output.root)
    with lock(out):
        # A data set that cannot be trained on is one sentence now, not one for each trial.
        session.check(base)
        text = _prepare(config, out, resume=resume, overwrite=overwrite)
        known = base_values(config)
        own = RayOptions(address=config.ray.address, gpus_per_worker=1)
        with connected(own, dashboard=True) as cluster:
            has = capacity()
            part = share(config.ray, has, device=base.training.device)
            concurrency = _concurrency(config, has, part)
            drawn = None
            if config.searcher == "random":
                drawn = draw_trials(config.space, known, trials=config.trials, seed=config.seed)
            count = len(drawn) if drawn is not None else config.trials
            assert count is not None, "checked by SearchConfig"
            listener.cluster(cluster, part, concurrency, count)
            with _Told(listener) as told:
                task = Task(dump_yaml(config.model_dump(mode="json")), text, base, part, drawn, told.news)
                silent = _tune(config, task, base, known, count=count, concurrency=concurrency)
        return _finish(config, out, count, {**silent, **told.failed}, began)


class _Told:
    """Hands what the trials post to the listener, in a thread of its own while Tune has the main one.

    Not by a callback of Tune's: Tune pickles those into its journal, and a restored search would tell the
    listener of the run before.
    """

    def __init__(self, listener: SearchListener) -> None:
        self.listener = listener
        self.news = News()
        self.failed: dict[int, str] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._listen, name="search-news", daemon=True)

    def __enter__(self) -> _Told:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _listen(self) -> None:
        last = False
        while not last:
            last = self.over.wait(POLL_S)
            for kind, (number, value) in self.news.take():
                if kind == "failed":
                    self.failed[number] = value
                self.listener.trial(number, kind, value)


def _prepare(config: SearchConfig, out: Place, *, resume: bool, overwrite: bool) -> str:
    """Compare with what stands there, and write the config down; returns the text of the base.

    Raises:
        ConfigError: another search, or something else, stands there.
    """
    mine = config.model_dump(mode="json")
    if resume or not overwrite:
        if out.exists(CONFIG_NAME):
            if not resume:
                raise ConfigError(
                    f"{out.uri}: a search stands there. Go on with it by --resume, or replace it by --overwrite."
                )
            theirs = yaml.safe_load(out.read(CONFIG_NAME))
            differ = [k for k in mine if k not in MAY_DIFFER and theirs.get(k) != mine[k]]
            if differ:
                lines = "".join(f"\n  {k}: {theirs.get(k)!r} there, {mine[k]!r} now" for k in differ)
                raise ConfigError(
                    f"{out.uri}: another search stands there:{lines}\nTake them back, or use --overwrite."
                )
            return out.read(BASE_NAME).decode()
        if resume:
            raise ConfigError(f"{out.uri}: no search to resume there. Leave --resume out.")
        others = [p for p in out.files() if not out.relative(p.path).startswith(".")]
        if others:
            raise ConfigError(
                f"{out.uri}: not empty and no search ({out.relative(others[0].path)}). Choose another output.root."
            )
    elif out.exists(CONFIG_NAME):
        for part in ("trials", TUNE, "best"):
            if out.exists(part):
                out.fs.delete_dir(out.join(part))
    text = configs.find(config.base, kind="train").read_text(encoding="utf-8")
    out.publish(text.encode(), BASE_NAME)
    out.publish(dump_yaml(mine).encode(), CONFIG_NAME)
    return text


def _concurrency(config: SearchConfig, has: Capacity, part: Share) -> int:
    """Trials at once. Each asks for whole CPUs only, so what fits is a division."""
    most = math.floor(has.cpus / (part.workers * part.cpus))
    if part.gpus:
        most = min(most, math.floor(has.gpus / (part.workers * part.gpus)))
    if config.concurrency == "auto":
        return max(1, most)
    if config.concurrency > most:
        raise ValueError(
            f"concurrency {config.concurrency}: the cluster can never hold more than {most} trials of {part.workers} "
            f"workers at once ({has.cpus:g} CPUs, {has.gpus:g} GPUs). Lower it, or set it to auto."
        )
    return config.concurrency


def _reason(error: BaseException) -> str:
    """What Tune says of a trial whose process said nothing before it died."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _tune(
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
    fn = tune.with_resources(tune.with_parameters(_trial, task=task), {"cpu": TRIAL_CPU})
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


def _finish(config: SearchConfig, out: Place, count: int, errors: dict[int, str], began: float) -> Outcome:
    """Write tables, page and the best prior from what the trials left. Raises SearchFailed."""
    trials = read_trials(out, count, errors)
    keys = list(config.space)
    write_csv(out, trials, keys, config.metric, config.mode)
    write_page(out, trials, config)
    best = ranked(trials, config.metric, config.mode)[0]
    if math.isnan(best.best(config.metric, config.mode)[0]):
        reasons = "".join(f"\n  trial {name(t.number)}: {t.state}: {t.error}" for t in trials[:10])
        raise SearchFailed(f"{out.uri}: no trial came to a {config.metric}:{reasons}")
    export_best(out, best)
    return Outcome(out.uri, trials, best, time.monotonic() - began)
