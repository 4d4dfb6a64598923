"""Searches on Ray Tune: every trial is a training on Ray Train, in a folder of its own.

What the trials did is read from their folders, not from Tune: a trial that Tune knows nothing of any more is
not lost.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from mocap_ray import config as configs
from mocap_ray.config import ConfigError, dump_yaml
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.resources import Capacity, Share, capacity, share
from mocap_ray.distributed.train import POLL_S, absolute
from mocap_ray.distributed.trial import TrialSetup
from mocap_ray.distributed.tuner import TUNE, run_trials
from mocap_ray.lock import lock
from mocap_ray.pages.searches import PAGE_NAME, write_page
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.search import SearchConfig, base_values, check_search
from mocap_ray.searching.results import Trial, export_best, name, ranked, read_trials, write_csv
from mocap_ray.searching.setup import SearchSetup
from mocap_ray.searching.space import draw_trials
from mocap_ray.storage import Place, place
from mocap_ray.training import prepare
from mocap_ray.training.task import TaskWords

CONFIG_NAME, BASE_NAME = "search.yaml", "base.yaml"
MAY_DIFFER = ("ray", "output")
"""Keys that a resumed search may change; Tune keeps the others in its journal."""


class SearchCallback(Protocol):
    """Who watches a search."""

    def on_cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Ray is there."""

    def on_trial(self, number: int, event: str, value: Any) -> None:
        """Of a trial: `epoch` with its figures, `finished`, or `failed` with a sentence."""


class SearchFailed(RuntimeError):
    """No trial came to a result."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes:
        out: its folder.
        trials: every trial, in the order of their numbers.
        best: the best of them.
        run_s: seconds of this run.
        words: of the task.
    """

    out: str
    trials: list[Trial]
    best: Trial
    run_s: float
    words: TaskWords


def search(
    config: SearchConfig, callback: SearchCallback, *, resume: bool = False, overwrite: bool = False
) -> SearchResult:
    """Search, and leave tables, a page and the best prior in `output.root`.

    Args:
        config: the whole configuration.
        callback: is told of progress.
        resume: go on with the search in `output.root`; finished trials are not repeated.
        overwrite: replace it.

    Raises:
        ValueError: it cannot start; nothing was changed.
        Locked: another search writes this folder.
        SearchFailed: no trial came to a result.
    """
    began = time.monotonic()
    base = absolute(check_search(config))
    out = place(base.output.root)
    with lock(out):
        # A data set that cannot be trained on is one sentence now, not one for each trial.
        setup = base.setup()
        facts = prepare.check_data(setup)
        if config.metric.startswith("val_") and not facts.val_rows:
            data, item = base.data, setup.words.item
            raise ConfigError(
                f"metric {config.metric}: {data.root} has no {item} in the split '{data.val}' that it would be "
                "measured on. Set fixed.data.val, or metric: loss."
            )
        stands = _stands(config, out, resume=resume, overwrite=overwrite)
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
            # Only now, so that what is refused leaves nothing behind.
            text = out.read(BASE_NAME).decode() if stands else _begin(config, out)
            callback.on_cluster(cluster, part, concurrency, count)
            with _Told(callback) as told:
                task = TrialSetup(
                    dump_yaml(config.model_dump(mode="json")), text, base, part, drawn, told.events
                )
                silent = run_trials(config, task, base, known, count=count, concurrency=concurrency)
        errors = {**silent, **told.failed}
        return _finish(config, out, count, errors, began, setup.words)


class _Told:
    """Hands what the trials post to the callback, in a thread of its own while Tune has the main one.

    Not by a callback of Tune's: Tune pickles those into its journal, and a restored search would tell the
    callback of the run before.
    """

    def __init__(self, callback: SearchCallback) -> None:
        self.callback = callback
        self.events = EventQueue()
        self.failed: dict[int, str] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._listen, name="search-events", daemon=True)

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
            for kind, (number, value) in self.events.get_all():
                if kind == "failed":
                    self.failed[number] = value
                self.callback.on_trial(number, kind, value)


def _stands(config: SearchConfig, out: Place, *, resume: bool, overwrite: bool) -> bool:
    """Whether a search to go on with stands there.

    Raises:
        ConfigError: another search, or something else, stands there.
    """
    if overwrite and not resume:
        return False
    if out.exists(CONFIG_NAME):
        if not resume:
            raise ConfigError(
                f"{out.uri}: a search stands there. Go on with it by --resume, or replace it by --overwrite."
            )
        mine, theirs = config.model_dump(mode="json"), yaml.safe_load(out.read(CONFIG_NAME))
        differ = [k for k in mine if k in theirs and k not in MAY_DIFFER and theirs[k] != mine[k]]
        if differ:
            lines = "".join(f"\n  {k}: {theirs[k]!r} there, {mine[k]!r} now" for k in differ)
            raise ConfigError(
                f"{out.uri}: another search stands there:{lines}\nTake them back, or use --overwrite."
            )
        return True
    if resume:
        raise ConfigError(f"{out.uri}: no search to resume there. Leave --resume out.")
    others = [p for p in out.files() if not out.relative(p.path).startswith(".")]
    if others:
        raise ConfigError(
            f"{out.uri}: not empty and no search ({out.relative(others[0].path)}). Choose another output.root."
        )
    return False


def _begin(config: SearchConfig, out: Place) -> str:
    """Remove the search that stands there, and write the config down; returns the text of the base."""
    if out.exists(CONFIG_NAME):
        for part in ("trials", TUNE, "best"):
            if out.exists(part):
                out.fs.delete_dir(out.join(part))
        for file in ("trials.csv", PAGE_NAME):
            out.remove(file)
    text = configs.find(config.base, kind="train").read_text(encoding="utf-8")
    out.write_atomic(text.encode(), BASE_NAME)
    out.write_atomic(dump_yaml(config.model_dump(mode="json")).encode(), CONFIG_NAME)
    return text


def _concurrency(config: SearchConfig, has: Capacity, part: Share) -> int:
    """Trials at once. Each asks for whole CPUs only, so what fits is a division."""
    most = math.floor(has.cpus / (part.workers * part.cpus))
    if part.gpus:
        most = min(most, math.floor(has.gpus / (part.workers * part.gpus)))
    if config.scheduler == "pbt":
        return _population(config, has, most)
    if config.concurrency == "auto":
        return max(1, most)
    if config.concurrency > most:
        raise ValueError(
            f"concurrency {config.concurrency}: the cluster can never hold more than {most} trials of {part.workers} "
            f"workers at once ({has.cpus:g} CPUs, {has.gpus:g} GPUs). Lower it, or set it to auto."
        )
    return config.concurrency


def _finish(
    config: SearchConfig, out: Place, count: int, errors: dict[int, str], began: float, words: TaskWords
) -> SearchResult:
    """Write tables, page and the best prior from what the trials left. Raises SearchFailed."""
    trials = read_trials(out, count, errors)
    keys = list(config.space)
    write_csv(out, trials, keys, config.metric, config.mode)
    setup = SearchSetup(
        base=config.base,
        space=config.space,
        metric=config.metric,
        mode=config.mode,
        scheduler=config.scheduler,
        searcher=config.searcher,
    )
    write_page(out, trials, setup)
    best = ranked(trials, config.metric, config.mode)[0]
    if math.isnan(best.best(config.metric, config.mode)[0]):
        if not any(t.error for t in trials) and config.time_budget_min:
            raise SearchFailed(
                f"{out.uri}: time_budget_min {config.time_budget_min:g} was over before any trial had a "
                f"{config.metric}. Raise it, and begin again with --overwrite."
            )
        reasons = "".join(
            f"\n  trial {name(t.number)}: {t.state}{': ' if t.error else ''}{t.error}" for t in trials[:10]
        )
        raise SearchFailed(f"{out.uri}: no trial came to a {config.metric}:{reasons}")
    export_best(out, best, description=words.description)
    return SearchResult(out.uri, trials, best, time.monotonic() - began, words)


def _population(config: SearchConfig, has: Capacity, most: int) -> int:
    """All trials of a population. Raises ValueError where they cannot run at once."""
    count = config.trials or 0
    room = most if config.concurrency == "auto" else min(most, config.concurrency)
    if count > room:
        raise ValueError(
            f"scheduler pbt: its {count} trials are compared while they train, so all must run at once, and there "
            f"is room for {room} (concurrency {config.concurrency}; {has.cpus:g} CPUs, {has.gpus:g} GPUs). Lower "
            "trials, add machines, or let trials share a GPU: ray.gpus_per_worker 0.25 puts four on one."
        )
    return count
