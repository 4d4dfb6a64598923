"""A data set as a playlist: its index in memory, its clips read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mocap_ray.body.bodies import POLICIES
from mocap_ray.dataset.reader import DataSet
from mocap_ray.dataset.views import ClipView
from mocap_ray.errors import UserError
from mocap_ray.motion.features import decode
from mocap_ray.viewing import figures
from mocap_ray.viewing.figures import Figure, Shelf
from mocap_ray.viewing.playlist import Playlist, Progress
from mocap_ray.viewing.quality import ACCELERATION, LOWEST, SPEED, quality
from mocap_ray.viewing.rows import SECONDS, Rows
from mocap_ray.viewing.scene import Scene
from mocap_ray.wording import counted

SAME = 0.02
"""Metres within which joints of the poses count as those that were encoded."""
FACETS = ("domain", "dataset", "split", "style", "action")


class DataSetPlaylist(Playlist):
    """The clips of a finished data set."""

    measurable = True

    def __init__(self, source: DataSet, *, shelf: Shelf | None = None) -> None:
        """Read the index.

        Raises:
            UserError: the data set has no clips.
        """
        self.source = source
        self.title = source.place.uri
        self.shelf = None if shelf is None else shelf.following(_policy(source))
        index = source.index
        if not len(index):
            raise UserError(f"{self.title}: a data set without clips. Expected at least one to show.")
        seconds = np.asarray(index["num_frames"], np.float64) / np.asarray(index["fps"], np.float64)
        self.rows = Rows(
            index["clip_id"].to_pylist(),
            {name: index[name].to_pylist() for name in FACETS},
            [" ".join(texts) for texts in index["texts"].to_pylist()],
            {SECONDS: seconds},
        )

    def scene(self, index: int) -> Scene:
        """Read one clip: its joints, and its poses if there are body models."""
        name = self.rows.names[index]
        clip = self.source.clip(name, columns=self._columns())
        return Scene(name, ((self._figure(clip),),), _facts(clip), clip.texts, lambda: self._decoded(name))

    def measure(self, progress: Progress, *, stopped: Callable[[], bool]) -> dict[str, np.ndarray]:
        """Speed, acceleration and height of every clip, read one row group at a time."""
        columns = ["joints"] if "joints" in self.source.columns else ["features"]
        found = {name: np.full(len(self), np.nan) for name in (SPEED, ACCELERATION, LOWEST)}
        for done, clip in enumerate(self.source.clips(columns=columns), start=1):
            for name, value in quality(self.source.joints(clip), clip.fps).items():
                found[name][done - 1] = value
            if done % 100 == 0 or done == len(self):
                progress(done, len(self))
                if stopped():
                    break
        return found

    def _columns(self) -> list[str]:
        written = self.source.columns
        wanted = ["joints"] if "joints" in written else ["features"]
        return wanted + [c for c in ("poses", "trans") if c in written and self.shelf is not None]

    def _figure(self, clip: ClipView) -> Figure:
        """The joints that were encoded; with hands and mesh if poses and a body model give the same joints."""
        posed = self._posed(clip)
        if posed is not None and "joints" not in self.source.columns:
            return posed
        joints = np.asarray(self.source.joints(clip), np.float64)
        if posed is None:
            return figures.of_joints("", joints, fps=clip.fps, why=self._no_skin(clip))
        if np.abs(posed.joints[:, :22] - joints).max(initial=0.0) < SAME:
            return posed
        plain = figures.of_joints("", joints, fps=clip.fps, why=posed.no_skin)
        return replace(plain, skin=posed.skin)

    def _posed(self, clip: ClipView) -> Figure | None:
        """The clip's poses on its body model; None without poses or models."""
        if self.shelf is None or clip.frames.get("poses") is None or clip.frames.get("trans") is None:
            return None
        assert clip.poses is not None
        return figures.of_poses(
            "",
            clip.poses,
            trans=clip.trans,
            betas=clip.betas,
            fps=clip.fps,
            family=clip.family,
            gender=clip.gender,
            shelf=self.shelf,
        )

    def _no_skin(self, clip: ClipView) -> str:
        """Why a clip without posed joints has no mesh."""
        for name in ("poses", "trans"):
            if name not in self.source.columns:
                return f"no mesh: this data set has no column {name}"
        if clip.clip_id.endswith("~M"):
            return "no mesh: a mirrored twin has no poses"
        return figures.NO_BODY if self.shelf is None else figures.NO_POSES

    def _decoded(self, name: str) -> Figure:
        clip = self.source.clip(name, columns=["features"])
        return figures.of_joints("decoded from features", decode(clip.features), fps=clip.fps)


def _policy(source: DataSet) -> str:
    """The gender policy that made a data set; `recorded` if its recipe does not say."""
    recipe: Any = source.manifest.get("recipe")
    body = recipe.get("body") if isinstance(recipe, dict) else None
    gender = body.get("gender") if isinstance(body, dict) else None
    return gender if gender in POLICIES else "recorded"


def _facts(clip: ClipView) -> tuple[tuple[str, str], ...]:
    """What the panel says of a clip."""
    seconds = clip.num_frames / clip.fps
    rate = "" if clip.source_fps == clip.fps else f" (recorded at {clip.source_fps:g})"
    told = (
        ("data set", f"{clip.dataset}, split {clip.split}"),
        ("action", clip.action),
        ("style", clip.style),
        ("length", f"{seconds:.1f} s, {counted(clip.num_frames, 'frame')} at {clip.fps:g} fps{rate}"),
        ("subject", f"{clip.subject}, {clip.gender}, {clip.family}"),
        ("name", clip.name),
    )
    return tuple((name, text) for name, text in told if text)
