"""Estimation on Ray: videos become people in frames, tracks, and a data set of clips."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

from mocap_ray.config import dump_yaml
from mocap_ray.dataset.process import source_frames
from mocap_ray.distributed.extract import plan
from mocap_ray.distributed.shards import ray_engine
from mocap_ray.distributed.waiting import Note
from mocap_ray.estimation.footage import Footage
from mocap_ray.estimation.passes import TracksResult, neutral_body, prepare, write_tracks
from mocap_ray.estimation.people import PeopleBuild
from mocap_ray.runs.estimate import PEOPLE, TRACKS, EstimateConfig
from mocap_ray.shards.running import Engine, RunCallback, RunResult, run
from mocap_ray.storage import place


@dataclass(frozen=True, slots=True)
class Estimated:
    """The results of the passes.

    Attributes:
        people: people in frames.
        tracks: their tracks.
        motion: the data set of clips; None if every track is too short for a clip.
    """

    people: RunResult
    tracks: TracksResult
    motion: RunResult | None


def estimate(
    config: EstimateConfig,
    callback: Callable[[], AbstractContextManager[RunCallback]],
    *,
    note: Note = print,
    overwrite: bool = False,
    prune: bool = False,
    strict: bool = False,
) -> Estimated:
    """Estimate the motion of all people in videos; a second run resumes, or adds videos.

    Args:
        config: the complete config.
        callback: makes a callback for each pass that uses Ray.
        note: is called with a sentence while the run waits for nodes.
        overwrite: replace results that were made with other settings.
        prune: drop videos that are no longer named.
        strict: fail on the first chunk or track that cannot be used; a chunk without people can.

    Raises:
        UserError: the run cannot start; nothing was changed.
        Locked: another run is writing these results.
        RunFailed: some shards could not be made, or there is nobody in any video.
    """
    config.require_lasting()
    out = place(config.output.root)
    body = neutral_body(config.body.root)  # before the work of hours
    footage: list[Footage] = []

    def prepared() -> PeopleBuild:
        build, found = prepare(
            config.source,
            config.people,
            out.folder(PEOPLE),
            gpus=config.ray.gpus_per_worker,
            overwrite=overwrite,
            prune=prune,
        )
        footage.extend(found)
        return build

    with ExitStack() as stack:
        ray = _Shared(stack, config, note)
        with callback() as view:
            people = run(
                prepared,
                ray.engine,
                out=out.folder(PEOPLE),
                callback=view,
                config=dump_yaml(config.model_dump(mode="json")),
                strict=strict,
            )
        written = write_tracks(
            people.manifest,
            out.folder(PEOPLE),
            out.folder(TRACKS),
            footage,
            body=body,
            track=config.track,
            camera=config.camera,
            smooth=config.smooth,
        )
        motion = None
        least = source_frames(config.motion.min_frames, config.motion.fps, config.motion)
        if written.longest_s * config.motion.fps >= least:
            settings = config.of_motion()
            with callback() as view:
                motion = run(
                    lambda: plan(settings, overwrite=overwrite, prune=True),
                    ray.engine,
                    out=place(settings.output.root),
                    callback=view,
                    config=dump_yaml(settings.model_dump(mode="json")),
                    strict=strict,
                )
    return Estimated(people, written, motion)


@dataclass(slots=True)
class _Shared:
    """One connection to Ray for all passes, made when the first of them has work."""

    stack: ExitStack
    config: EstimateConfig
    note: Note
    made: list[Engine] = field(default_factory=list)

    def engine(self) -> AbstractContextManager[Engine]:
        """The engine of the run."""
        if not self.made:
            self.made.append(self.stack.enter_context(ray_engine(self.config.ray, note=self.note)))
        return nullcontext(self.made[0])
