"""Terminal output of a search: a live table of its trials, or a line for each trial that ends; then a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from mocap_ray.cli.screen import say, typed
from mocap_ray.cli.tables import show, simple_table
from mocap_ray.cli.training_view import tensorboard_command
from mocap_ray.cli.view import View, cluster_name, work_columns
from mocap_ray.distributed.cluster import Cluster
from mocap_ray.wording import counted, duration

if TYPE_CHECKING:
    # torch takes seconds to import, and extraction does not need it.
    from mocap_ray.distributed.resources import Share
    from mocap_ray.distributed.search import SearchResult
    from mocap_ray.runs.search import SearchConfig
    from mocap_ray.searching.spread import Spread

LONGEST = 300
"""Longest error message of a trial, in characters; the page and trials.csv have the full message."""
OTHER_LINES = 8
"""Lines of the terminal that the live table leaves free."""
RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"
STATES = {RUNNING: RUNNING, STOPPED: "stopped early", FAILED: FAILED, FINISHED: FINISHED}
"""State of a trial that has started -> how it is shown, in the order of the table."""


@dataclass(slots=True)
class _Row:
    """What is known of a trial from its events."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    state: str = RUNNING
    epoch: int = 0
    last: float = math.nan
    best: float = math.nan
    best_epoch: int = 0
    spread: Spread | None = None
    """Over the folds, in the best epoch."""


class SearchView(View):
    """Shows a search: a live table of its trials on a terminal, a line for each trial that ends in a log."""

    def __init__(self, console: Console, config: SearchConfig) -> None:
        super().__init__(console, *work_columns())
        self.config = config
        self.task = self.bar.add_task("starting Ray", total=None, figures="")
        self.trials: dict[int, _Row] = {}
        self.total = 0

    def on_cluster(self, cluster: Cluster, part: Share, concurrency: int, trials: int) -> None:
        """Show the resources, and where the page is."""
        each = f"{counted(part.workers, 'worker')} each"
        say(
            self.console,
            f"{counted(trials, 'trial')}, {concurrency} at a time, {each}, {cluster_name(cluster)}",
        )
        root = self.config.output.root.rstrip("/")
        say(self.console, f"{root}/page.html shows them while they run: open it in a browser")
        self.total = trials
        self.bar.above = self.table
        self.bar.update(self.task, description="trials", total=trials)

    def on_trial(self, number: int, event: str, value: Any) -> None:
        """Update the row of a trial, and show errors."""
        row = self.trials.setdefault(number, _Row(number))
        if event == "started":
            row.state, row.values = RUNNING, value
        elif event == "epoch":
            self._on_epoch(row, value)
        elif event == "cloned":
            say(self.console, f"trial {number:03d} {value}")
        elif event in STATES:
            row.state = event
            self._on_end(row, str(value))
        self._update_bar()

    def _on_epoch(self, row: _Row, figures: dict[str, Any]) -> None:
        from mocap_ray.searching.spread import spread_of

        row.epoch = int(figures.get("epoch", row.epoch))
        score = figures.get(self.config.metric)
        if score is not None:
            row.last = score
            if self._is_better(score, row.best):
                row.best, row.best_epoch = score, row.epoch
                row.spread = spread_of(figures, self.config.metric, self.config.mode)

    def _on_end(self, row: _Row, message: str) -> None:
        if row.state == FAILED:
            # A bug has its traceback below the first line, and that is shown whole.
            first, newline, trace = message.partition("\n")
            reason = shorten(first, LONGEST, placeholder=" ... (more on the page)")
            say(self.console, f"trial {row.number:03d} failed: {reason}{newline}{trace}", style="red")
        if self.console.is_terminal:
            return
        score = f"best {self.config.metric} {row.best:.5g} in epoch {row.best_epoch}{_spread(row.spread)}"
        figures = [
            *([] if math.isnan(row.best) else [score]),
            *(f"{key.rpartition('.')[2]} {_text(value)}" for key, value in row.values.items()),
        ]
        if row.state != FAILED:
            say(self.console, f"trial {row.number:03d} {STATES[row.state]}: {', '.join(figures)}")
        say(self.console, f"{self._ended()} of {counted(self.total, 'trial')} ended{self._best_text()}")

    def _is_better(self, score: float, than: float) -> bool:
        return math.isnan(than) or (score < than if self.config.mode == "min" else score > than)

    def _ended(self) -> int:
        return sum(row.state != RUNNING for row in self.trials.values())

    def _ranked(self) -> list[_Row]:
        """Running trials first, by number, then the others, best first."""
        sign = 1.0 if self.config.mode == "min" else -1.0

        def key(row: _Row) -> tuple[bool, float, int]:
            score = math.inf if math.isnan(row.best) else sign * row.best
            return (False, 0.0, row.number) if row.state == RUNNING else (True, score, row.number)

        return sorted(self.trials.values(), key=key)

    def _best_text(self) -> str:
        best: _Row | None = None
        for row in self.trials.values():
            if not math.isnan(row.best) and (best is None or self._is_better(row.best, best.best)):
                best = row
        return f", best {self.config.metric} {best.best:.5g} (trial {best.number:03d})" if best else ""

    def _update_bar(self) -> None:
        states = [row.state for row in self.trials.values()]
        counts = ", ".join(f"{states.count(s)} {text}" for s, text in STATES.items() if s in states)
        self.bar.update(self.task, completed=self._ended(), figures=f"{counts}{self._best_text()}")

    def table(self) -> Table:
        """The trials that have started, as many as fit on the terminal."""
        from mocap_ray.searching.results import short_names
        from mocap_ray.searching.spread import SPREAD_HEADS, spread_text

        keys = list(self.config.space)
        rows = self._ranked()[: max(3, self.console.height - OTHER_LINES)]
        folds = any(row.spread for row in self.trials.values())
        spread = SPREAD_HEADS if folds else ()
        heads = ["trial", "state", "epoch", self.config.metric, "best", *spread, *short_names(keys)]
        cells = [
            (
                f"{row.number:03d}",
                STATES[row.state],
                str(row.epoch or ""),
                _number(row.last),
                _number(row.best),
                *(spread_text(row.spread, "{:.3g}".format) if folds else ()),
                *(_text(row.values.get(key)) for key in keys),
            )
            for row in rows
        ]
        return simple_table("", heads, cells, right=heads[2 : 5 + len(spread)])


def print_search(console: Console, outcome: SearchResult, config: SearchConfig, *, most: int = 20) -> None:
    """Print the table of a finished search, best first, and the next commands."""
    from mocap_ray.searching.results import cloned, folded, heads, short_names, table

    keys = list(config.space)
    rows = table(outcome.trials, keys, config.metric, config.mode)
    folds = folded(outcome.trials, config.metric, config.mode)
    names = heads(short_names(keys), config.metric, lineage=cloned(outcome.trials), folds=folds)
    words = outcome.words
    unit = (
        f", {config.metric} in {words.loss_unit}" if words.loss_unit and config.metric == "val_loss" else ""
    )
    # Without the errors, which were shown when they occurred; the page and trials.csv have them too.
    show(console, simple_table(f"trials, best first{unit}", names[:-1], [row[:-1] for row in rows[:most]]))
    if len(rows) > most:
        say(console, f"and {len(rows) - most} more in {outcome.out}/trials.csv")
    states = [trial.state for trial in outcome.trials]
    counts = ", ".join(f"{states.count(s)} {STATES.get(s, s)}" for s in dict.fromkeys(states))
    say(console, f"{counted(len(states), 'trial')}: {counts}; {duration(outcome.run_s)}")
    commands = [typed("mocap-ray", command, f"{outcome.out}/best") for command in words.commands[:1]]
    commands += tensorboard_command(f"{outcome.out}/trials")
    end = ":" if commands else "."
    say(console, f"\n{outcome.out}/page.html shows the trials; {outcome.out}/best is {_best(outcome)}{end}")
    for command in commands:
        say(console, f"  {command}")


def _best(outcome: SearchResult) -> str:
    """What the folder `best` contains."""
    if outcome.best_fold is None:
        return f"the best {outcome.words.result}"
    return f"fold {outcome.best_fold} of the best trial, the median one; {outcome.out}/best/folds has all its folds"


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else f" (mean; std of folds {spread.std:.3g}, worst {spread.worst:.5g})"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
