"""Run any product on any engine: make the missing shards, isolate inputs that kill workers, write the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mocap_ray.lock import lock
from mocap_ray.shards import exclusions, manifest, receipts, recipe
from mocap_ray.shards.build import Build, of_others
from mocap_ray.shards.cutting import Shard
from mocap_ray.shards.making import Job
from mocap_ray.shards.reports import ShardReport, find_killers, report
from mocap_ray.shards.runlog import RunLog
from mocap_ray.storage import Place
from mocap_ray.wording import counted

AnyBuild = Build[Any, Any, Any]
AnyShard = Shard[Any]
AnyJob = Job[Any, Any, Any]

SHARDS_PER_TASK = 4
"""The maximum; fewer if there would be fewer than `TASKS_PER_WORKER`."""
TASKS_PER_WORKER = 20
"""A run ends with the last task of its slowest node. If one of three nodes is ten times slower, the two others make the
rest of 60 tasks in the time of 29, and wait for at most ten more: less than twice the 20 of three equal nodes."""
TASK_RETRIES = 2
"""How often an engine retries a shard whose worker died, before its inputs are read one by one."""


class RunFailed(RuntimeError):
    """The run could not finish; finished shards are kept, and the same command resumes."""


@runtime_checkable
class Engine(Protocol):
    """Where shards are made."""

    @property
    def workers(self) -> int:
        """Number of processes that work at the same time."""

    @property
    def joined(self) -> str:
        """A description of the cluster that was joined; empty if the engine was started by this run."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the engine's libraries, for the log of the run."""

    def make(
        self, shards: Sequence[AnyShard], job: AnyJob, *, per_task: int, dead: Mapping[str, str]
    ) -> Generator[ShardReport, None, None]:
        """Yield a report for each shard as it finishes, in any order; none for a shard whose workers died."""
        ...

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """Read each input in a separate process; returns the names of those whose process died."""
        ...


@runtime_checkable
class RunCallback(Protocol):
    """Hooks that are called during a run, for a terminal, a log or a test."""

    def on_prepared(self, build: AnyBuild) -> None:
        """Called when the inputs have been listed and compared with the output, before any work."""

    def on_start(self, engine: Engine) -> None:
        """Called when the engine has started."""

    def on_shard(self, report: ShardReport) -> None:
        """Called when a shard was made, or failed."""

    def on_note(self, text: str) -> None:
        """Called with a note for the user."""


class NoCallback:
    """A callback that does nothing."""

    def on_prepared(self, build: AnyBuild) -> None:
        """Do nothing."""

    def on_start(self, engine: Engine) -> None:
        """Do nothing."""

    def on_shard(self, report: ShardReport) -> None:
        """Do nothing."""

    def on_note(self, text: str) -> None:
        """Do nothing."""


class InProcess:
    """The engine without dependencies: makes one shard after another in this process, for tests and small runs."""

    workers = 1
    joined = ""

    @property
    def versions(self) -> Mapping[str, str]:
        """No versions besides Python's."""
        return {}

    def make(
        self, shards: Sequence[AnyShard], job: AnyJob, *, per_task: int, dead: Mapping[str, str]
    ) -> Generator[ShardReport, None, None]:
        """Yield the reports in the given order."""
        ready = job.ready()
        for shard in shards:
            yield report(shard, ready, dead)

    def dying(self, inputs: Sequence[Any], job: AnyJob) -> set[str]:
        """None: an input that kills its process would have killed this one."""
        return set()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        manifest: the manifest of the data set, as written.
        out: root of the data set.
        made, kept: shards made by this run, and valid ones of earlier runs.
        removed: superseded files that were removed.
        amount: how much this run made, as the product counts (`Sums.amount`).
        work_s: seconds from the first task to the last.
        run_s: seconds of the whole run, including the start of the engine.
        workers: number of processes that worked at the same time.
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
    """The reports received so far."""

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
    """Make a data set; a second run resumes, or adds new inputs.

    Args:
        prepare: makes the plan without changing anything; called while the lock of the output is held.
        engine: starts the engine; called only if there are shards to make.
        out: root of the data set.
        callback: its methods are called during the run.
        config: text of the run's config, for the log in the output; without secrets.
        strict: whether to fail on the first rejection.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing this data set.
        RunFailed: some shards could not be made, or every input was rejected.
    """
    started = time.monotonic()
    with lock(out, what="data set"):
        build = prepare()
        callback.on_prepared(build)
        if build.manifest is not None and build.complete:
            return _result(build, build.manifest, _Tally(), 0.0, started, workers=0)
        log = RunLog(build.out, config)
        # From here until the manifest is written again, the data set is unfinished.
        build.out.remove(manifest.NAME)
        recipe.begin(build.out, build.recipe)
        if build.excluded != exclusions.read(build.out):
            exclusions.write(build.out, build.excluded)
        tally, work_s, workers, versions = _Tally(), 0.0, 0, {}
        if build.todo:
            with engine() as running:
                callback.on_start(running)
                workers, versions, since = running.workers, dict(running.versions), time.monotonic()
                _work(build, running, tally, callback, strict=strict)
                work_s = time.monotonic() - since
        result = _result(build, _finish(build, tally), tally, work_s, started, workers=workers)
        log.close(_logged(result, build), list(tally.reports.values()), build.product.layout, versions)
        return result


def _work(build: AnyBuild, engine: Engine, tally: _Tally, callback: RunCallback, *, strict: bool) -> None:
    """Make every missing shard; the inputs of a shard whose workers keep dying are read one by one."""
    job, todo = build.job(strict=strict), build.todo
    per_task = max(1, min(SHARDS_PER_TASK, len(todo) // (TASKS_PER_WORKER * engine.workers)))
    for count in sorted({per_task, 1}, reverse=True):
        # A worker that dies loses all shards of its task; only these are retried, one per task.
        _make(_missing(todo, tally), job, engine, tally, callback, per_task=count)
    word = build.product.layout.words.input
    for shard in _missing(todo, tally):
        callback.on_note(
            f"{shard.path}: its workers died {TASK_RETRIES + 1} times; reading its {build.product.layout.words.inputs} "
            "one by one"
        )
        dead = find_killers(shard.inputs, lambda inputs: engine.dying(inputs, job))
        for name in dead:
            callback.on_note(f"{name}: kills the process that reads it; rejected")
        _make([shard], job, engine, tally, callback, dead=dead)
    for shard in _missing(todo, tally):
        text = (
            f"{shard.path}: its workers die, but no single {word} kills the process that reads it. The machine may be "
            "short of memory: use fewer workers (ray.workers) or smaller shards (output.shard_mb)."
        )
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
    """Add a report to the tally. Raises RunFailed if no other shard can be made either."""
    tally.reports[made.shard] = made
    callback.on_shard(made)
    if not made.ok:
        tally.failed.append(made)
    if made.fatal:
        raise RunFailed(made.error)


def _finish(build: AnyBuild, tally: _Tally) -> dict[str, Any]:
    """Remove superseded files and write the manifest. Raises RunFailed if shards are missing."""
    if tally.failed:
        lines = "".join(f"\n  {r.error}" for r in tally.failed[:20])
        raise RunFailed(
            f"{len(tally.failed)} of {counted(len(build.shards), 'shard')} could not be made:{lines}\n"
            "Finished shards are kept; run the same command again to resume."
        )
    layout = build.product.layout
    by_name = receipts.read_all(build.out, layout)
    finished = [by_name[s.name] for s in build.shards if s.name in by_name]
    assert len(finished) == len(build.shards), "a reported shard left no receipt"
    if all(r.rows == 0 for r in finished) and not _all_excluded(build, finished):
        reasons = [f"{x.name}: {x.reason}: {x.detail}" for r in finished for x in r.rejections]
        shown = "".join(f"\n  {text}" for text in reasons[:5])
        raise RunFailed(
            f"every {layout.words.input} was rejected ({counted(len(reasons), 'rejection')}), for example:{shown}"
        )
    for path in build.superseded:
        build.out.remove(path)
    recipes = recipe.end(build.out, build.recipe).finished
    others = of_others(by_name, recipes, build.recipe)
    return manifest.finish(build.out, [*finished, *others.values()], build.product, recipes=recipes)


def _all_excluded(build: AnyBuild, finished: Sequence[receipts.Receipt[Any]]) -> bool:
    """Whether the user has excluded every input of one source among several, so that it has no rows."""
    found = recipe.current(build.out)
    excluded = all(x.reason == build.product.layout.excluded for r in finished for x in r.rejections)
    return excluded and found is not None and len(found.sources) > 1


def _result(
    build: AnyBuild, made: dict[str, Any], tally: _Tally, work_s: float, started: float, *, workers: int
) -> RunResult:
    return RunResult(
        manifest=made,
        out=build.out.uri,
        made=len(tally.reports),
        kept=len(build.done),
        removed=len(build.superseded),
        amount=sum(r.amount for r in tally.reports.values()),
        work_s=work_s,
        run_s=time.monotonic() - started,
        workers=workers,
    )


def _logged(result: RunResult, build: AnyBuild) -> dict[str, Any]:
    """The result under the product's own names, for the log of the run."""
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
