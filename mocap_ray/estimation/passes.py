"""The passes of an estimation without Ray: the plan of the first, people in frames, and the second, their tracks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mocap_ray.body.arrays import read_arrays
from mocap_ray.body.bodies import Bodies
from mocap_ray.body.model import BodyModel
from mocap_ray.errors import UserError
from mocap_ray.estimation.archive import DATASET
from mocap_ray.estimation.boxes import find_boxes
from mocap_ray.estimation.camera import Camera
from mocap_ray.estimation.detectors import find_detector
from mocap_ray.estimation.footage import Chunk, Footage, chunks, find_footage
from mocap_ray.estimation.options import (
    CameraOptions,
    FootageOptions,
    PeopleOptions,
    SmoothOptions,
    TrackOptions,
)
from mocap_ray.estimation.people import PEOPLE, PeopleBuild, PeopleProduct
from mocap_ray.estimation.tracks import (
    People,
    Shot,
    common_camera,
    frame_rate,
    track_bytes,
    tracks,
    upright,
)
from mocap_ray.estimation.weights import read_about
from mocap_ray.shards.build import earlier, plan_run
from mocap_ray.shards.recipe import Recipe, SourceRecipe, require_same
from mocap_ray.storage import Place, expand
from mocap_ray.wording import counted, listed

RECIPE_VERSION = 1
"""Increased by hand when a change of the code changes rows."""


@dataclass(frozen=True, slots=True)
class TracksResult:
    """What the second pass wrote.

    Attributes:
        people: number of tracks.
        longest_s: seconds of the longest one.
        written: files that are new or have changed.
    """

    people: int
    longest_s: float
    written: int


def prepare(
    source: FootageOptions,
    people: PeopleOptions,
    out: Place,
    *,
    gpus: float = 0.0,
    overwrite: bool = False,
    prune: bool = False,
) -> tuple[PeopleBuild, list[Footage]]:
    """List the videos, cut them into chunks, and compare these with the output. Nothing is changed.

    Args:
        source, people: sections of the config.
        out: root of the data set of people in frames.
        gpus: GPUs of each worker.
        overwrite: whether to replace one that was made by another recipe.
        prune: whether to drop videos that are no longer named.

    Raises:
        UserError: no such videos, weights or boxes; an output made by another recipe, or of further videos.
    """
    if not source.roots:
        raise UserError("source.root is empty. Expected a video, a folder of images, or a list of them.")
    about = read_about(people.weights)
    find_detector(people.detector)
    footage = find_footage(source.roots, fps=source.fps)
    files = {} if people.boxes is None else find_boxes(people.boxes, [f.name for f in footage])
    inputs: list[Chunk] = []
    for each in footage:
        file = files.get(each.name)
        inputs += chunks(
            each,
            frames=source.chunk_frames,
            boxes=None if file is None else file.of_frames(each.files, images=each.images),
            fingerprint="" if file is None else file.sha256[:16],
        )
    with expand(people.weights).open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    run = Recipe(
        {"recipe_version": RECIPE_VERSION},
        SourceRecipe(
            "videos",
            {
                "weights": digest,
                "dtype": people.dtype,
                "detector": "file" if people.boxes is not None else people.detector,
                "min_score": people.min_score,
                "grow": people.grow,
                "chunk_frames": source.chunk_frames,
            },
            {"title": "People in videos", "weights": about.origin, "licence": about.licence},
        ),
    )
    require_same(out, run, overwrite=overwrite)
    old = earlier(out, PEOPLE, run)
    if not prune and (
        gone := sorted({n.rpartition("/")[0] for n in old.inputs()} - {f.name for f in footage})
    ):
        raise UserError(
            f"{out.uri}: has people of {counted(len(gone), 'video')} that this run does not name "
            f"({listed(gone, most=3)}). Name all videos, pass --prune to drop these, or choose another --out."
        )
    product = PeopleProduct(
        weights=str(expand(people.weights).absolute()),
        detector=people.detector,
        min_score=people.min_score,
        grow=people.grow,
        batch=people.batch,
        dtype=people.dtype,
        gpus=gpus,
    )
    groups = {chunk.name: (chunk.footage,) for chunk in inputs}
    # One chunk a shard, so that a run that is killed loses no more than the chunks it was working on.
    build = plan_run(product, inputs, groups, out=out, run=run, target=1, old=old, overwrite=overwrite)
    return build, footage


def neutral_body(root: str) -> tuple[BodyModel, tuple[np.ndarray, np.ndarray]]:
    """The neutral model of SMPL-X and its mean hands, left and right, [15, 3] rad.

    Raises:
        MissingBody: there is none below `root`.
        UserError: it has no mean hands.
    """
    bodies = Bodies.load(expand(root).absolute(), gender="neutral", families=("smplx",))
    model = bodies.choose("smplx", "neutral").model
    found = read_arrays(expand(model.source), names=("hands_meanl", "hands_meanr"))
    hands = [np.asarray(found.get(name), np.float64) for name in ("hands_meanl", "hands_meanr")]
    if any(hand.shape != (45,) for hand in hands):
        raise UserError(
            f"{model.source}: no mean hands (hands_meanl, hands_meanr) of 45 numbers, from which the network counts "
            "hands. Expected the published SMPLX_NEUTRAL.npz."
        )
    return model, (hands[0].reshape(15, 3), hands[1].reshape(15, 3))


def write_tracks(
    manifest: Mapping[str, Any],
    people: Place,
    out: Place,
    footage: Sequence[Footage],
    *,
    body: tuple[BodyModel, tuple[np.ndarray, np.ndarray]],
    track: TrackOptions,
    camera: CameraOptions,
    smooth: SmoothOptions,
) -> TracksResult:
    """Write a file for each person of each video; files that would not change are left as they are.

    Args:
        manifest: of the people in frames.
        people: their root.
        out: the folder of the tracks; other files in it are removed.
        footage: the videos.
        body: result of `neutral_body`.
        track, camera, smooth: sections of the config.
    """
    kept, longest, written = set(), 0.0, 0
    for each in footage:
        shards = [s["path"] for s in manifest["shards"] if f"/video={each.name}/" in s["path"]]
        if not shards:
            continue
        found = People.of(pa.concat_tables([_read(people, path) for path in shards]))
        common: Camera = common_camera(found.width, found.height, camera)
        fps = frame_rate(each.pts * float(each.unit)) if len(each.pts) > 1 else float(1 / each.unit)
        shot = Shot(common, upright(camera.pitch), fps if each.images or len(each.pts) > 1 else 30.0, *body)
        for one in tracks(found, shot, options=track, smooth=smooth, frames=len(each.pts)):
            path = f"{DATASET}/{each.name}/person{one.number:04d}.npz"
            data = track_bytes(one, shot, width=found.width, height=found.height)
            # The extraction sees by its time of change whether a file is new.
            if not out.exists(path) or out.read(path) != data:
                out.write_atomic(data, path)
                written += 1
            kept.add(path)
            longest = max(longest, len(one.frames) / one.fps)
    for info in out.files():
        if out.relative(info.path) not in kept:
            out.remove(out.relative(info.path))
    return TracksResult(len(kept), longest, written)


def _read(people: Place, path: str) -> pa.Table:
    with people.fs.open_input_file(people.join(path)) as file:
        return pq.read_table(file, partitioning=None)
