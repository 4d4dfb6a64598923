"""Search on Ray Tune: each trial is a training on Ray Train, with its own folder.

The results are read from the folders of the trials, not from Tune, so that trials missing in the journal of Tune are
not lost.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

from mocap_ray import config as configs
from mocap_ray.config import ConfigError, dump_yaml
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.events import EventQueue
from mocap_ray.distributed.following import Following
from mocap_ray.distributed.reach import require_reach
from mocap_ray.distributed.resources import Capacity, Share, amount, capacity, share
from mocap_ray.distributed.train import absolute
from mocap_ray.distributed.trial import TrialSetup
from mocap_ray.distributed.tuner import TUNE, run_trials
from mocap_ray.distributed.waiting import wait_for
from mocap_ray.errors import UserError
from mocap_ray.lock import lock
from mocap_ray.options import paths
from mocap_ray.pages.searches import PAGE_NAME, write_page
from mocap_ray.runs.job import require_lasting
from mocap_ray.runs.ray import RayOptions
from mocap_ray.runs.search import SearchConfig, base_values, check_search
from mocap_ray.searching.best import export_best
from mocap_ray.searching.results import Trial, name, ranked, read_trials, write_csv
from mocap_ray.searching.setup import SearchSetup
from mocap_ray.searching.space import draw_trials
from mocap_ray.storage import Place, place
from mocap_ray.training import prepare
from mocap_ray.training.task import TaskWords
from mocap_ray.wording import counted

CONFIG_NAME, BASE_NAME = "search.yaml", "base.yaml"
MAY_DIFFER = ("ray", "output")
"""Keys that may change when a search is resumed; the others are in the journal of Tune."""


class SearchCallback(Protocol):
    """Callback of a search."""

    def on_cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Called when Ray is connected."""

    def on_trial(self, number: int, event: str, value: Any) -> None:
        """Called on an event of a trial.

        `started` with its values, `epoch` with its metrics, `cloned` or `failed` with a message, and `finished` or
        `stopped` (early, by the scheduler) with nothing.
        """

    def on_note(self, text: str) -> None:
        """Called with a message for the user."""


class SearchFailed(RuntimeError):
    """No trial has a result."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes:
        out: folder of the search.
        trials: all trials, by number.
        best: the best trial.
        run_s: duration of this run in seconds.
        words: nouns of the task.
        best_fold: the fold of the best trial that `best/` contains; None without folds.
    """

    out: str
    trials: list[Trial]
    best: Trial
    run_s: float
    words: TaskWords
    best_fold: int | None = None


def search(
    config: SearchConfig, callback: SearchCallback, *, resume: bool = False, overwrite: bool = False
) -> SearchResult:
    """Run a search, and write tables, a page and the best model into `output.root`.

    Args:
        config: the complete config.
        callback: is called on progress.
        resume: resume the search in `output.root`; finished trials are not repeated.
        overwrite: replace the search in `output.root`.

    Raises:
        UserError: the search cannot start; nothing was changed.
        Locked: another search is writing this folder.
        SearchFailed: no trial has a result.
    """
    prepare.refuse_both(resume=resume, overwrite=overwrite)
    start = time.monotonic()
    base = check_search(config)
    reads = {f"fixed.{key}": path for key, path in paths(base).items() if key != "output.root"}
    require_lasting({**reads, "output.root": config.output.root})
    base = absolute(base)
    out = place(base.output.root)
    with lock(out, what="search"):
        # Checked here, so that a data set that cannot be used is reported once, and not by each trial.
        setup = base.setup()
        facts = prepare.check_data(setup)
        if config.metric.startswith("val_") and not facts.val_rows:
            data, item = base.data, setup.words.item
            raise ConfigError(
                f"metric {config.metric}: {data.root} has no {item} in the split '{data.val}', which the metric "
                "is computed on. Set fixed.data.val, or metric: loss."
            )
        resuming = _check_output(config, out, resume=resume, overwrite=overwrite)
        values = base_values(config)
        ray_options = RayOptions(address=config.ray.address, gpus_per_worker=1)
        with connected(ray_options, dashboard=True) as cluster:
            has = capacity(None if cluster.own else config.ray)
            part = share(config.ray, has, device=base.training.device)
            concurrency = _concurrency(config, has, part)
            drawn = None
            if config.searcher == "random":
                drawn = draw_trials(config.space, values, trials=config.trials, seed=config.seed)
            count = len(drawn) if drawn is not None else config.trials
            assert count is not None, "checked by SearchConfig"
            callback.on_cluster(cluster, part, concurrency, count)
            if not cluster.own:
                wait_for(part.bundles, callback.on_note, at_most_s=config.ray.wait_s, of="the first trial")
                require_reach(reads={"fixed.data.root": place(base.data.root)}, writes={"output.root": out})
            # Only after all checks, so that a search that cannot start writes nothing.
            text = _read_base(out) if resuming else _create(config, out)
            events = EventQueue()
            page = _page_setup(config, setup.words)
            with Following(callback, events.get_all, out=out, count=count, setup=page) as following:
                task = TrialSetup(dump_yaml(config.model_dump(mode="json")), text, base, part, drawn, events)
                unreported = run_trials(config, task, base, values, count=count, concurrency=concurrency)
        errors = {**unreported, **following.failed}
        return _finish(config, out, count, errors, start, setup.words)


def _check_output(config: SearchConfig, out: Place, *, resume: bool, overwrite: bool) -> bool:
    """Check the output folder; returns whether it contains a search to resume.

    Raises:
        ConfigError: the folder contains another search or other files, or there is no search to resume.
    """
    if out.exists(CONFIG_NAME):
        if overwrite:
            return False
        if not resume:
            raise ConfigError(
                f"{out.uri}: already contains a search. Resume it with --resume, or replace it with --overwrite."
            )
        new, old = config.model_dump(mode="json"), _read_config(out)
        differ = [k for k in new if k in old and k not in MAY_DIFFER and old[k] != new[k]]
        if differ:
            lines = "".join(f"\n  {k}: was {old[k]!r}, is now {new[k]!r}" for k in differ)
            raise ConfigError(
                f"{out.uri}: contains a search with other settings:{lines}\nRestore them, choose another "
                "output.root, or use --overwrite."
            )
        return True
    if resume:
        raise ConfigError(f"{out.uri}: contains no search to resume. Start it without --resume.")
    others = [p for p in out.files() if not out.relative(p.path).startswith(".")]
    if others:
        raise ConfigError(
            f"{out.uri}: not empty, and not a search (found {out.relative(others[0].path)}). Choose another "
            "output.root."
        )
    return False


def _read_config(out: Place) -> dict[str, Any]:
    """The config of the search in a folder, as plain values. Raises ConfigError if it is damaged."""
    where = f"{out.uri}/{CONFIG_NAME}"
    found = configs.parse_yaml(out.read(CONFIG_NAME), where=where)
    if not isinstance(found, dict):
        raise ConfigError(
            f"{where}: not the config of a search (found {type(found).__name__}). Copy it again, choose another "
            "output.root, or use --overwrite."
        )
    return found


def _read_base(out: Place) -> str:
    """The text of the base, as it was when the search started. Raises ConfigError if it is damaged."""
    try:
        return out.read(BASE_NAME).decode()
    except (UnicodeDecodeError, FileNotFoundError) as error:
        raise ConfigError(
            f"{out.uri}/{BASE_NAME}: missing or damaged ({error}). Copy it again, or start the search again with "
            "--overwrite."
        ) from error


def _create(config: SearchConfig, out: Place) -> str:
    """Remove an existing search, and write the configs; returns the text of the base."""
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
    """Number of trials that run at the same time. Raises UserError if fewer fit than requested."""
    # Each trial requests whole CPUs, so a division is exact.
    most = math.floor(has.cpus / (part.workers * part.cpus))
    if part.gpus:
        most = min(most, math.floor(has.gpus / (part.workers * part.gpus)))
    if config.scheduler == "pbt":
        return _population(config, has, most)
    if config.concurrency == "auto":
        return max(1, most)
    if config.concurrency > most:
        raise UserError(
            f"concurrency {config.concurrency}: the cluster has room for at most {counted(most, 'trial')} of "
            f"{counted(part.workers, 'worker')} at the same time ({amount(has.cpus, 'CPU')} and "
            f"{amount(has.gpus, 'GPU')}). Lower it, or set it to auto."
        )
    return config.concurrency


def _finish(
    config: SearchConfig, out: Place, count: int, errors: dict[int, str], start: float, words: TaskWords
) -> SearchResult:
    """Write tables, page and the best model from the results of the trials. Raises SearchFailed."""
    trials = read_trials(out, count, errors)
    keys = list(config.space)
    write_csv(out, trials, keys, config.metric, config.mode)
    write_page(out, trials, _page_setup(config, words))
    best = ranked(trials, config.metric, config.mode)[0]
    if math.isnan(best.best(config.metric, config.mode)[0]):
        if not any(t.error for t in trials) and config.time_budget_min:
            raise SearchFailed(
                f"{out.uri}: time_budget_min {config.time_budget_min:g} ended before any trial reported "
                f"{config.metric}. Raise it, and start again with --overwrite."
            )
        reasons = "".join(
            f"\n  trial {name(t.number)}: {t.state}{': ' if t.error else ''}{t.error.partition(chr(10))[0]}"
            for t in trials[:10]
        )
        raise SearchFailed(f"{out.uri}: no trial reported {config.metric}:{reasons}")
    fold = export_best(out, best, metric=config.metric, description=words.description)
    return SearchResult(out.uri, trials, best, time.monotonic() - start, words, fold)


def _page_setup(config: SearchConfig, words: TaskWords) -> SearchSetup:
    """What the page shows of the config."""
    return SearchSetup(
        base=config.base,
        space=config.space,
        metric=config.metric,
        mode=config.mode,
        scheduler=config.scheduler,
        searcher=config.searcher,
        unit=words.loss_unit if config.metric == "val_loss" else "",
    )


def _population(config: SearchConfig, has: Capacity, most: int) -> int:
    """Size of a population. Raises UserError if its trials cannot run at the same time."""
    count = config.trials or 0
    room = most if config.concurrency == "auto" else min(most, config.concurrency)
    if count > room:
        raise UserError(
            f"scheduler pbt: its {counted(count, 'trial')} are compared while they train, so all must run at the "
            f"same time, but there is only room for {room} (concurrency {config.concurrency}; "
            f"{amount(has.cpus, 'CPU')} and {amount(has.gpus, 'GPU')}). Lower trials, add machines, or let trials "
            "share a GPU: ray.gpus_per_worker=0.25 puts four on one."
        )
    return count
