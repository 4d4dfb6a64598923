"""Extraction on Ray Data: one task makes one shard whole; Ray carries only small reports."""

from __future__ import annotations

import json
import platform
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import ray

from mocap_ray.config import dump_yaml, read_yaml
from mocap_ray.dataset import manifest, receipts
from mocap_ray.dataset.build import Build, prepare
from mocap_ray.dataset.recipe import RECIPE_NAME
from mocap_ray.dataset.shards import Group
from mocap_ray.distributed.cluster import Cluster, connected
from mocap_ray.distributed.tasks import (
    SHARDS_PER_TASK,
    TASK_RETRIES,
    Report,
    Setup,
    dead_recordings,
    on_ray_data,
)
from mocap_ray.lock import lock
from mocap_ray.runs.extract import ExtractConfig
from mocap_ray.storage import place


class ExtractionFailed(RuntimeError):
    """The run could not finish; what was made stays, and the same command goes on from there."""


class Listener(Protocol):
    """Who watches a run: a terminal, a log, a test."""

    def prepared(self, build: Build) -> None:
        """The archive was listed and compared with the output; work is about to start."""

    def started(self, cluster: Cluster) -> None:
        """Ray is there."""

    def shard(self, report: Report) -> None:
        """A shard was made, or failed."""

    def note(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Attributes:
        manifest: of the data set, as written.
        made, kept, removed: shards made now, found valid, and superseded files removed.
        frames: feature rows made now.
        work_s: seconds from the first task to the last; run_s: the whole run with Ray's start.
        workers: processes at once.
    """

    manifest: dict[str, Any]
    out: str
    made: int
    kept: int
    removed: int
    frames: int
    work_s: float
    run_s: float
    workers: int


@dataclass(slots=True)
class _Tally:
    """What came back so far."""

    reports: dict[str, Report] = field(default_factory=dict)
    failed: list[Report] = field(default_factory=list)


def plan(config: ExtractConfig, *, overwrite: bool = False, prune: bool = False) -> Build:
    """List, check and compare, without changing anything. Raises ValueError with a remedy."""
    lists = None
    if Path(config.source.split).suffix in (".yaml", ".yml"):
        lists = read_yaml(Path(config.source.split))
    return prepare(
        config.source,
        config.body,
        config.motion,
        config.output,
        lists=lists,
        overwrite=overwrite,
        prune=prune,
        device="cuda" if config.ray.gpus_per_worker else "cpu",
    )


def extract(
    config: ExtractConfig,
    listener: Listener,
    *,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
) -> Outcome:
    """Turn an archive into a data set; run again, it goes on where it was or takes up what is new.

    Args:
        config: the whole configuration.
        listener: is told of progress.
        overwrite: replace a data set of another recipe.
        prune: drop recordings that the archive no longer lists.
        strict: fail on the first rejection.

    Raises:
        ValueError: the run cannot start; nothing was changed.
        Locked: another run writes this data set.
        ExtractionFailed: some shards could not be made, or every recording was rejected.
    """
    began = time.monotonic()
    with lock(place(config.output.root)):
        build = plan(config, overwrite=overwrite, prune=prune)
        listener.prepared(build)
        if build.complete:
            there = json.loads(build.out.read(manifest.NAME))
            return _outcome(build, there, _Tally(), 0.0, began, workers=0)
        log = _RunLog(build, config)
        _begin(build)
        tally, work_s, workers = _Tally(), 0.0, 0
        if build.todo:
            with connected(config.ray) as cluster:
                listener.started(cluster)
                workers, since = cluster.workers, time.monotonic()
                tally = _work(build, cluster, listener, strict=strict, gpus=config.ray.gpus_per_worker)
                work_s = time.monotonic() - since
        made = _finish(build, tally)
        outcome = _outcome(build, made, tally, work_s, began, workers=workers)
        log.close(outcome, tally)
        return outcome


def _begin(build: Build) -> None:
    """From here on the data set is unfinished, until the manifest stands again."""
    build.out.remove(manifest.NAME)
    build.out.publish(json.dumps(build.recipe, indent=1, sort_keys=True).encode(), RECIPE_NAME)


def _work(build: Build, cluster: Cluster, listener: Listener, *, strict: bool, gpus: float) -> _Tally:
    """Make every shard that is left; a shard whose workers keep dying is taken apart."""
    setup = Setup(build.plan, build.out, build.recipe_hash, build.metadata, strict, gpus)
    tally = _Tally()
    todo = build.todo
    per_task = max(1, min(SHARDS_PER_TASK, len(todo) // (8 * cluster.workers)))
    for count in sorted({per_task, 1}, reverse=True):
        # A worker that dies takes the shards of its task along; those alone are tried again, one a task.
        with closing(on_ray_data(_missing(todo, tally), setup, cluster, per_task=count)) as reports:
            for report in reports:
                _take(report, tally, listener)
    for group in _missing(todo, tally):
        listener.note(
            f"{group.path}: its workers died {TASK_RETRIES + 1} times; reading its files one by one"
        )
        dead = dead_recordings(group, setup, cluster)
        for name in dead:
            listener.note(f"{name}: kills the process that reads it; rejected")
        with closing(on_ray_data([group], setup, cluster, per_task=1, dead=dead)) as reports:
            for report in reports:
                _take(report, tally, listener)
    for group in _missing(todo, tally):
        text = f"{group.path}: its workers die, and no single recording does it; is memory short?"
        _take(Report(group.name, ok=False, error=text), tally, listener)
    return tally


def _missing(groups: Sequence[Group], tally: _Tally) -> list[Group]:
    """Groups that nothing was heard of."""
    return [g for g in groups if g.name not in tally.reports]


def _take(report: Report, tally: _Tally, listener: Listener) -> None:
    """Count a report. Raises ExtractionFailed where going on makes no sense."""
    tally.reports[report.shard] = report
    listener.shard(report)
    if not report.ok:
        tally.failed.append(report)
    if report.fatal:
        raise ExtractionFailed(report.error)


def _finish(build: Build, tally: _Tally) -> dict[str, Any]:
    """Remove what is superseded and write the manifest. Raises ExtractionFailed where shards are missing."""
    if tally.failed:
        lines = "".join(f"\n  {r.error}" for r in tally.failed[:20])
        raise ExtractionFailed(
            f"{len(tally.failed)} of {len(build.groups)} shards could not be made:{lines}\n"
            "What was made is kept; run the same command again to go on."
        )
    there = receipts.read_all(build.out)
    finished = [there[g.name] for g in build.groups if g.name in there]
    assert len(finished) == len(build.groups), "a reported shard left no receipt"
    if all(r.rows == 0 for r in finished):
        reasons = [f"{x.recording}: {x.reason}: {x.detail}" for r in finished for x in r.rejections]
        shown = "".join(f"\n  {text}" for text in reasons[:5])
        raise ExtractionFailed(f"every recording was rejected ({len(reasons)} rejections), such as:{shown}")
    for path in build.superseded:
        build.out.remove(path)
    return manifest.finish(build.out, finished, build.recipe, build.recipe_hash, build.plan.archive)


def _outcome(
    build: Build, made: dict[str, Any], tally: _Tally, work_s: float, began: float, *, workers: int
) -> Outcome:
    return Outcome(
        manifest=made,
        out=build.out.uri,
        made=len(tally.reports),
        kept=len(build.done),
        removed=len(build.superseded),
        frames=sum(r.frames for r in tally.reports.values()),
        work_s=work_s,
        run_s=time.monotonic() - began,
        workers=workers,
    )


class _RunLog:
    """`_runs/<id>/`: what may differ between runs of the same data set: times, hosts, the configuration."""

    def __init__(self, build: Build, config: ExtractConfig) -> None:
        self.out = build.out
        self.began = datetime.now(UTC)
        self.id = f"{self.began:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        values = config.model_dump(mode="json")
        for section in ("source", "output"):
            # An address may hold credentials; they are not written down.
            for key in ("root", "segments", "texts", "split"):
                if "://" in str(values[section].get(key)):
                    values[section][key] = place(values[section][key]).uri
        text = dump_yaml(values)
        # Also the proof, before any work, that the output can be written.
        self.out.publish(text.encode(), "_runs", self.id, "config.yaml")

    def close(self, outcome: Outcome, tally: _Tally) -> None:
        """Write what the run did."""
        values = {
            "began": self.began.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "driver": socket.gethostname(),
            "python": platform.python_version(),
            "ray": ray.__version__,
            **{k: v for k, v in asdict(outcome).items() if k not in ("manifest", "out")},
            "shards": [asdict(r) for r in tally.reports.values()],
        }
        self.out.publish(json.dumps(values, indent=1).encode(), "_runs", self.id, "run.json")
