"""A run of any product on any engine: make what is left, take apart what kills workers, finish."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mocap_ray.lock import lock
from mocap_ray.shards import manifest, receipts, recipe
from mocap_ray.shards.build import Build
from mocap_ray.shards.cutting import Shard
from mocap_ray.shards.making import Job
from mocap_ray.shards.reports import ShardReport, killers, report
from mocap_ray.shards.runlog import RunLog
from mocap_ray.storage import Place

AnyBuild = Build[Any, Any, Any]
AnyShard = Shard[Any]
AnyJob = Job[Any, Any, Any]

SHARDS_PER_TASK = 4
"""At most; fewer where there would be less than eight tasks a worker."""
TASK_RETRIES = 2
"""How often an engine starts a shard again whose worker died, before its inputs are read one by one."""


class RunFailed(RuntimeError):
    """The run could not finish; what was made stays, and the same command goes on from there."""


@runtime_checkable
class Engine(Protocol):
    """Where shards are made."""

    @property
    def workers(self) -> int:
        """Processes at once."""

    @property
    def joined(self) -> str:
        """The cluster that was joined, in words; empty for an engine of our own."""

    @property
    def versions(self) -> Mapping[str, str]:
        """For the log of the run."""

    def make(
        self, shards: Sequence[AnyShard], job: AnyJob, *, per_task: int, dead: Mapping[str, str]
    ) -> Generator[ShardReport, None, None]:
        """Reports of shards as they are made, in any order; none for a shard whose workers died."""
        ...

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """Read each input in a process of its own; the names of those whose process died."""
        ...


@runtime_checkable
class RunCallback(Protocol):
    """What a terminal, a log or a test does as a run goes on."""

    def on_prepared(self, build: AnyBuild) -> None:
        """The inputs were listed and compared with the output; work is about to start."""

    def on_start(self, engine: Engine) -> None:
        """The engine runs."""

    def on_shard(self, report: ShardReport) -> None:
        """A shard was made, or failed."""

    def on_note(self, text: str) -> None:
        """Something a person should know."""


class Silent:
    """A callback that does nothing."""

    def on_prepared(self, build: AnyBuild) -> None:
        """Nothing."""

    def on_start(self, engine: Engine) -> None:
        """Nothing."""

    def on_shard(self, report: ShardReport) -> None:
        """Nothing."""

    def on_note(self, text: str) -> None:
        """Nothing."""


class InProcess:
    """The engine that needs nothing: one shard after the other in this process, for tests and small runs."""

    workers = 1
    joined = ""

    @property
    def versions(self) -> Mapping[str, str]:
        """None beside Python's."""
        return {}

    def make(
        self, shards: Sequence[AnyShard], job: AnyJob, *, per_task: int, dead: Mapping[str, str]
    ) -> Generator[ShardReport, None, None]:
        """Reports in the given order."""
        ready = job.ready()
        for shard in shards:
            yield report(shard, ready, dead)

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """None: what kills a process would have killed this one."""
        return set()


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        manifest: of the data set, as written.
        out: root of the data set.
        made, kept, removed: shards made now, found valid, and superseded files removed.
        amount: how much was made now, as the product counts (`Sums.amount`).
        work_s: seconds from the first task to the last; run_s: the whole run with the engine's start.
        workers: processes at once.
    """

    manifest: dict[str, Any]
    out: str
    made: int
    kept: int
    removed: int
    amount: int | float
    work_s: float
    run_s: float
    workers: int


@dataclass(slots=True)
class _Tally:
    """What came back so far."""

    reports: dict[str, ShardReport] = field(default_factory=dict)
    failed: list[ShardReport] = field(default_factory=list)


def run(
    prepare: Callable[[], AnyBuild],
    engine: Callable[[], AbstractContextManager[Engine]],
    *,
    out: Place,
    callback: RunCallback,
    config: str = "",
    strict: bool = False,
) -> RunResult:
    """Make a data set; run again, it goes on where it was or takes up what is new.

    Args:
        prepare: lists, checks and compares, without changing anything; called under the lock of the output.
        engine: starts where shards are made; called only if there are any to make.
        out: root of the data set.
        callback: is called as the run goes on.
        config: text of the run's configuration, for the log in the output; without secrets.
        strict: fail on the first rejection.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run writes this data set.
        RunFailed: some shards could not be made, or every input was rejected.
    """
    began = time.monotonic()
    with lock(out):
        build = prepare()
        callback.on_prepared(build)
        if build.complete:
            there = json.loads(build.out.read(manifest.NAME))
            return _result(build, there, _Tally(), 0.0, began, workers=0)
        log = RunLog(build.out, config)
        # From here on the data set is unfinished, until the manifest is written again.
        build.out.remove(manifest.NAME)
        recipe.write(build.out, build.recipe)
        tally, work_s, workers, versions = _Tally(), 0.0, 0, {}
        if build.todo:
            with engine() as running:
                callback.on_start(running)
                workers, versions, since = running.workers, dict(running.versions), time.monotonic()
                _work(build, running, tally, callback, strict=strict)
                work_s = time.monotonic() - since
        result = _result(build, _finish(build, tally), tally, work_s, began, workers=workers)
        log.close(_logged(result, build), list(tally.reports.values()), build.product.layout, versions)
        return result


def _work(build: AnyBuild, engine: Engine, tally: _Tally, callback: RunCallback, *, strict: bool) -> None:
    """Make every shard that is left; a shard whose workers keep dying is taken apart."""
    job, todo = build.job(strict=strict), build.todo
    per_task = max(1, min(SHARDS_PER_TASK, len(todo) // (8 * engine.workers)))
    for count in sorted({per_task, 1}, reverse=True):
        # A worker that dies takes the shards of its task along; those alone are tried again, one a task.
        _make(_missing(todo, tally), job, engine, tally, callback, per_task=count)
    word = build.product.layout.words.input
    for shard in _missing(todo, tally):
        callback.on_note(
            f"{shard.path}: its workers died {TASK_RETRIES + 1} times; reading its files one by one"
        )
        dead = killers(shard.inputs, lambda inputs: engine.dying(inputs, job))
        for name in dead:
            callback.on_note(f"{name}: kills the process that reads it; rejected")
        _make([shard], job, engine, tally, callback, dead=dead)
    for shard in _missing(todo, tally):
        text = f"{shard.path}: its workers die, and no single {word} does it; is memory short?"
        _take(ShardReport(shard.name, ok=False, error=text), tally, callback)


def _make(
    shards: Sequence[AnyShard],
    job: AnyJob,
    engine: Engine,
    tally: _Tally,
    callback: RunCallback,
    *,
    per_task: int = 1,
    dead: Mapping[str, str] | None = None,
) -> None:
    if shards:
        with closing(engine.make(shards, job, per_task=per_task, dead=dead or {})) as reports:
            for made in reports:
                _take(made, tally, callback)


def _missing(shards: Sequence[AnyShard], tally: _Tally) -> list[AnyShard]:
    """Shards without a report."""
    return [s for s in shards if s.name not in tally.reports]


def _take(made: ShardReport, tally: _Tally, callback: RunCallback) -> None:
    """Count a report. Raises RunFailed where going on makes no sense."""
    tally.reports[made.shard] = made
    callback.on_shard(made)
    if not made.ok:
        tally.failed.append(made)
    if made.fatal:
        raise RunFailed(made.error)


def _finish(build: AnyBuild, tally: _Tally) -> dict[str, Any]:
    """Remove what is superseded and write the manifest. Raises RunFailed where shards are missing."""
    if tally.failed:
        lines = "".join(f"\n  {r.error}" for r in tally.failed[:20])
        raise RunFailed(
            f"{len(tally.failed)} of {len(build.shards)} shards could not be made:{lines}\n"
            "What was made is kept; run the same command again to go on."
        )
    layout = build.product.layout
    there = receipts.read_all(build.out, layout)
    finished = [there[s.name] for s in build.shards if s.name in there]
    assert len(finished) == len(build.shards), "a reported shard left no receipt"
    if all(r.rows == 0 for r in finished):
        reasons = [f"{x.name}: {x.reason}: {x.detail}" for r in finished for x in r.rejections]
        shown = "".join(f"\n  {text}" for text in reasons[:5])
        raise RunFailed(
            f"every {layout.words.input} was rejected ({len(reasons)} rejections), such as:{shown}"
        )
    for path in build.superseded:
        build.out.remove(path)
    return manifest.finish(
        build.out, finished, build.product, recipe=build.recipe, recipe_hash=build.recipe_hash
    )


def _result(
    build: AnyBuild, made: dict[str, Any], tally: _Tally, work_s: float, began: float, *, workers: int
) -> RunResult:
    return RunResult(
        manifest=made,
        out=build.out.uri,
        made=len(tally.reports),
        kept=len(build.done),
        removed=len(build.superseded),
        amount=sum(r.amount for r in tally.reports.values()),
        work_s=work_s,
        run_s=time.monotonic() - began,
        workers=workers,
    )


def _logged(result: RunResult, build: AnyBuild) -> dict[str, Any]:
    """What may differ between runs of the same data set, by the product's own words."""
    amount = build.product.layout.sums.AMOUNTS[:1]
    return {
        "made": result.made,
        "kept": result.kept,
        "removed": result.removed,
        **dict.fromkeys(amount, result.amount),
        "work_s": result.work_s,
        "run_s": result.run_s,
        "workers": result.workers,
    }
