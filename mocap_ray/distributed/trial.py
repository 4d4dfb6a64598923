"""What runs in a trial's own process: a training, which reports each validation to Tune (floor 6).

Ray 2.60 runs Train (V2) inside a Tune function; the process itself takes next to no CPU.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ray import tune

from mocap_ray.distributed.board import News
from mocap_ray.distributed.train import Share, clean, team_run
from mocap_ray.storage import place
from mocap_ray.training import session
from mocap_ray.training.listener import Beat, EpochReport, Start
from mocap_ray.training.options import TrainConfig
from mocap_ray.training.results import TRIAL_NAME, name, read_trial
from mocap_ray.training.search import SearchConfig, trial_config


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


def run_trial(drawn: dict[str, Any], task: Task) -> None:
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
