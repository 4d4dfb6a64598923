"""Write a finished data set as folders of .npy files, in the layouts that existing trainers read.

Both exports can be stopped at any time and run again: each file is written atomically, a file that is already
complete is kept, and the lists that a trainer opens first are written last. `export.json` in the folder
identifies the data set, so that two data sets are never mixed.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from mocap_ray.dataset import schema
from mocap_ray.dataset.captions import caption_lines, captions, text_lines
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.dataset.trainers import Coverage, TrainerLimits, coverage, read_mean_std
from mocap_ray.dataset.views import ClipView, DataSetError
from mocap_ray.documents import Document, parse
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted

MARK = "export.json"
WRITERS = 8
"""Threads that write files, since each waits for the disk or the network."""
NPY_HEADER = 128
"""Bytes before the numbers of the .npy files that `npy` writes."""

SPLIT_LISTS = ("train", "val", "test")
_MDM = TrainerLimits()
Progress = Callable[[int, int], None]
"""Called with the number of clips done and the total."""


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export.

    Attributes:
        folder: the folder that was written.
        clips: number of clips in the folder.
        written: number of files written by this run.
        kept: number of files that an earlier run had already completed.
        placeholders: number of clips without text and action, whose caption is `captions.PLACEHOLDER`.
        coverage: how much of the data set a trainer sees; None for an export that no such trainer reads.
    """

    folder: str
    clips: int
    written: int
    kept: int
    placeholders: int = 0
    coverage: Coverage | None = None


def export_humanml3d(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    mean_std: str | os.PathLike[str] | None = None,
    limits: TrainerLimits = _MDM,
    lists: Mapping[str, Sequence[str]] | None = None,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write the folder that HumanML3D trainers read.

    Clips keep the names from the list of segments (`source.segments`: HumanML3D's names); otherwise they are
    numbered from 000000 in the order of their ids, and a mirrored twin is `M` plus the number of its original.
    `new_joint_vecs/` [T-1, 263] and `new_joints/` [T-1, 22, 3] (decoded from the vectors) are float32;
    `texts/` as in `captions`; `Mean.npy` and `Std.npy` [263] are float32, with a std of 0 written as 1 because
    trainers divide by it. There is a list for each of the splits train, val and test; `train_val.txt` lists the first
    two and `all.txt` every clip. `index.csv` maps names to clips. The frame rate is that of the data set.

    Args:
        root: the data set.
        out: the folder to write.
        mean_std: folder of the Mean.npy and Std.npy to use instead of the statistics of this data set. Evaluation
            networks and models that were trained on HumanML3D need its own, since they read normalised features.
        limits: lengths of clips that the trainer uses, for the figures in the result; all clips are written.
        lists: split -> names of clips, instead of the splits of the data set; names that it lacks are left out.
        refresh: whether to replace an export of an earlier state of the data set.
        progress: called after each clip.

    Raises:
        DataSetError: not a data set of the humanml3d profile, or `out` holds other files.
        UserError: `mean_std` has no valid Mean.npy and Std.npy.
        OSError: for example, the disk is full; the same call resumes.
    """
    ds = open(root)
    if ds.profile != "humanml3d":
        raise DataSetError(
            f"{ds.place.uri}: the profile is {ds.profile}, but HumanML3D trainers need humanml3d (20 fps, its "
            "target skeleton and statistics). Extract again into another root with --override "
            "motion.profile=humanml3d, or use `mocap-ray export npy`, which takes any profile."
        )
    from mocap_ray.motion.features import decode

    given = read_mean_std(mean_std) if mean_std is not None else None
    # No entry without `mean_std`, so that exports from before it existed resume.
    options = {"mean_std": hashlib.sha256(given[1]).hexdigest()} if given else None
    job = Job(ds, place(out), kind="humanml3d", options=options, refresh=refresh)
    names = _given_names(ds) or humanml3d_names(ds.index["clip_id"].to_pylist())

    def write(k: int, clip: ClipView) -> str:
        """Write the files of a clip, and return where its captions come from."""
        name = f"{names[k]}.npy"
        if job.lacks("new_joint_vecs", name, shape=(clip.num_frames, 263)):
            job.write_atomic(npy(clip.features), "new_joint_vecs", name, flush=False)
        if job.lacks("new_joints", name, shape=(clip.num_frames, 22, 3)):
            job.write_atomic(npy(decode(clip.features)), "new_joints", name, flush=False)
        kind, texts = captions(clip)
        lines = caption_lines(clip.captions) if clip.captions else text_lines(texts)
        job.data(lines, "texts", f"{names[k]}.txt", flush=False)
        return kind

    sources = job.map(write, progress)
    job.flush()
    statistics = given[0] if given else ds.statistics
    job.data(npy(statistics.mean), "Mean.npy")
    job.data(npy(statistics.divisor), "Std.npy")
    job.index(names, extra={"caption_source": sources})
    splits = ds.index["split"].to_pylist()
    by_split = {
        split: sorted(n for n, s in zip(names, splits, strict=True) if s == split) for split in SPLIT_LISTS
    }
    if lists is not None:
        have = set(names)
        by_split = {split: [n for n in lists.get(split, ()) if n in have] for split in SPLIT_LISTS}
    written = {**by_split, "train_val": sorted(by_split["train"] + by_split["val"]), "all": sorted(names)}
    for name, members in written.items():
        job.data("".join(f"{n}\n" for n in members).encode(), f"{name}.txt")
    seen = coverage(ds.index["num_frames"].to_pylist(), limits, recipes=ds.recipes)
    return replace(job.done(), placeholders=sources.count("placeholder"), coverage=seen)


def _given_names(ds: DataSet) -> list[str] | None:
    """The names of the clips from the column `name`, in reading order; None if no source has names.

    Clips of sources without names are numbered after the others.
    """
    given: list[str | None] = ds.index[schema.NAME].to_pylist()
    if not any(name is not None for name in given):
        return None
    ids = [i for i, name in zip(ds.index["clip_id"].to_pylist(), given, strict=True) if name is None]
    highest = max((int(n.lstrip("M")) for n in given if n and n.lstrip("M").isdigit()), default=-1)
    others = iter(humanml3d_names(ids, first=highest + 1))
    names = [next(others) if name is None else name for name in given]
    if len(set(names)) < len(names) or not all(n and "/" not in n and safe(n) for n in names):
        raise DataSetError(
            f"{ds.place.uri}: the names in the column 'name' are not unique, or not valid file names. "
            "Correct the index that source.segments names, and extract again into another root."
        )
    return names


def humanml3d_names(clip_ids: list[str], *, first: int = 0) -> list[str]:
    """Names as in HumanML3D, in the order given: six digits by sorted id from `first` on, `M` for a mirrored twin.

    >>> humanml3d_names(["b@0", "a@0~M", "a@0"])
    ['000001', 'M000000', '000000']
    """
    originals = {clip_id: clip_id.removesuffix("~M") for clip_id in clip_ids}
    number = {original: k for k, original in enumerate(sorted(set(originals.values())), first)}
    return [("M" if o != c else "") + f"{number[o]:06d}" for c, o in ((c, originals[c]) for c in clip_ids)]


def export_npy(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    joints: bool = True,
    progress: Progress | None = None,
) -> Export:
    """Write one .npy per clip: `features/<clip id>.npy` [R, 263] and `joints/<clip id>.npy` [T, 22, 3].

    Joints come from the column `joints` if the data set has it, otherwise they are decoded from the features.
    `mean.npy`, `std.npy` [263] (if there is a train split) and `index.csv` come last.

    Raises:
        DataSetError: a clip id is not a safe path, or `out` holds other files.
        OSError: for example, the disk is full; the same call resumes.
    """
    ds = open(root)
    job = Job(ds, place(out), kind="npy", options={"joints": joints})
    stored = joints and "joints" in ds.columns
    extra = 1 if stored and ds.profile == "humanml3d" else 0  # the encoder turns T frames into T - 1 rows
    names = [safe(clip_id) for clip_id in ds.index["clip_id"].to_pylist()]
    for k, clip in enumerate(
        job.clips(progress, columns=("features", "joints") if stored else ("features",))
    ):
        name = f"{names[k]}.npy"
        if job.lacks("features", name, shape=(clip.num_frames, 263)):
            job.write_atomic(npy(clip.features), "features", name, flush=False)
        if joints and job.lacks("joints", name, shape=(clip.num_frames + extra, 22, 3)):
            job.write_atomic(npy(ds.joints(clip)), "joints", name, flush=False)
    job.flush()
    if "train" in ds.splits:
        job.data(npy(ds.statistics.mean), "mean.npy")
        job.data(npy(ds.statistics.std), "std.npy")
    job.index(names, extra={})
    return job.done()


def safe(clip_id: str) -> str:
    """A clip id as a path below a folder. Raises DataSetError if the path would leave the folder."""
    if "\\" in clip_id or "\0" in clip_id or any(part in ("", ".", "..") for part in clip_id.split("/")):
        raise DataSetError(
            f"clip id {clip_id!r} is not a safe path below a folder; expected names joined by '/'."
        )
    return clip_id


def npy(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file, float32, C order."""
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return sink.getvalue()


class Job:
    """A running export: which files exist, what was written, and how a full disk is reported."""

    def __init__(
        self,
        ds: DataSet | None,
        out: Place,
        *,
        kind: str,
        identity: object = None,
        options: Mapping[str, bool | str] | None = None,
        refresh: bool = False,
    ) -> None:
        """Open the folder, or find out that it holds something else.

        Args:
            ds: the data set; None for files, which `identity` describes.
            out: the folder.
            kind: of the export.
            identity: what is exported, as JSON values; None means the manifest of the data set.
            options: what else distinguishes this export from another of its kind.
            refresh: whether to replace an export of an earlier state.
        """
        self._ds, self.out, self.kind = ds, out, kind
        self.written = self.kept = 0
        self._counting = Lock()
        about = json.dumps(ds.manifest if ds is not None and identity is None else identity, sort_keys=True)
        content = about.encode()
        mark = {"kind": kind, "data_set": hashlib.sha256(content).hexdigest(), **(options or {})}
        infos = out.files()
        self._sizes = {out.relative(info.path): info.size for info in infos}
        for path in [p for p in self._sizes if p.rsplit("/", 1)[-1].startswith(".tmp-")]:
            out.remove(path)  # left by a run that was killed between writing and renaming
            del self._sizes[path]
        if MARK in self._sizes:
            found = parse(
                out.read(MARK),
                Document,
                where=f"{out.uri}/{MARK}",
                what="the mark of an export",
                remedy="Choose a new folder, or delete this one first.",
                error=DataSetError,
            )
            if refresh and found.others != mark and found.others.get("kind") == kind:
                self._remove_all()
                self.write_atomic(json.dumps(mark, indent=1, sort_keys=True).encode(), MARK)
            else:
                self._require_same(found.others, mark)
        elif self._sizes:
            names = ", ".join(sorted(self._sizes)[:3])
            raise DataSetError(
                f"{out.uri}: holds files that no export wrote ({names}). Choose a new or an empty folder."
            )
        else:
            self.write_atomic(json.dumps(mark, indent=1, sort_keys=True).encode(), MARK)

    @property
    def ds(self) -> DataSet:
        """The data set."""
        assert self._ds is not None, "files have no clips"
        return self._ds

    def has(self, *parts: str) -> bool:
        """Whether an earlier run wrote this file; if so, counts it as kept. Files are written atomically."""
        if "/".join(parts) not in self._sizes:
            return False
        with self._counting:
            self.kept += 1
        return True

    def _require_same(self, found: Mapping[str, object], mark: Mapping[str, object]) -> None:
        """Raise DataSetError if the folder holds another export."""
        if found == mark:
            return
        what = (
            f"an export of kind {found.get('kind')!s:.60}, and this one is {self.kind}"
            if found.get("kind") != self.kind
            else "an export of another data set, of an earlier state of this one, or with other options"
        )
        raise DataSetError(f"{self.out.uri}: holds {what}. Choose a new folder, or delete this one first.")

    def _remove_all(self) -> None:
        """Remove the files of an earlier export, the mark last; other files stay."""
        made = re.compile(
            r"(new_joint_vecs|new_joints)/[^/]+\.npy|texts/[^/]+\.txt|(Mean|Std)\.npy|index\.csv|"
            r"(train|val|test|train_val|all)\.txt"
        )
        for path in [p for p in self._sizes if made.fullmatch(p)]:
            self.out.remove(path)
        self.out.remove(MARK)
        self._sizes.clear()

    def clips(
        self, progress: Progress | None, columns: tuple[str, ...] = ("features",)
    ) -> Iterator[ClipView]:
        """All clips in reading order; calls `progress` after each."""
        total = len(self.ds)
        for k, clip in enumerate(self.ds.clips(columns=columns)):
            yield clip
            if progress is not None:
                progress(k + 1, total)

    def map(self, write: Callable[[int, ClipView], str], progress: Progress | None) -> list[str]:
        """`write` of each clip and its number, in reading order; several at a time, since each waits for the disk."""
        found: list[str] = []
        waiting: deque[Future[str]] = deque()
        with ThreadPoolExecutor(WRITERS) as pool:
            try:
                for k, clip in enumerate(self.clips(progress)):
                    waiting.append(pool.submit(write, k, clip))
                    if len(waiting) > 4 * WRITERS:
                        found.append(waiting.popleft().result())
                found += [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return found

    def lacks(self, *parts: str, shape: tuple[int, ...]) -> bool:
        """Whether the .npy of a float32 array is missing or of another size; otherwise counts it as kept."""
        size = NPY_HEADER + 4 * math.prod(shape)
        if self._sizes.get("/".join(parts)) != size:
            return True
        with self._counting:
            self.kept += 1
        return False

    def data(self, data: bytes, *parts: str, flush: bool = True) -> None:
        """Write a small file unless it already exists with this content."""
        if self._sizes.get("/".join(parts)) == len(data) and self.out.read(*parts) == data:
            with self._counting:
                self.kept += 1
            return
        self.write_atomic(data, *parts, flush=flush)

    def flush(self) -> None:
        """Wait until the disk has all that was written: once, and not for each of thousands of small files."""
        if self.written:
            self.out.flush()

    def write_atomic(self, data: bytes, *parts: str, flush: bool = True) -> None:
        """Write a file atomically. Raises OSError; if the disk is full, the message says how to resume."""
        try:
            self.out.write_atomic(data, *parts, flush=flush)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise OSError(
                error.errno,
                f"{error.strerror}; {counted(self.written, 'file')} written so far, which will be kept. Free some "
                "space and run the same command again: it resumes from here",
                f"{self.out.uri}/{'/'.join(parts)}",
            ) from error
        with self._counting:
            self.written += 1

    def index(self, names: list[str], *, extra: dict[str, list[str]]) -> None:
        """index.csv: name, clip id, recording, dataset, split, frames, fps, action, style, sorted by name."""
        table = self.ds.index
        columns = ["clip_id", "recording", "dataset", "split", "num_frames", "fps", "action", "style"]
        cells = [names, *(table[c].to_pylist() for c in columns), *extra.values()]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        header = ["name", "clip_id", "source", "dataset", "split", "frames", "fps", "action", "style"]
        writer.writerow([*header, *extra])
        order = np.argsort(names, kind="stable")
        writer.writerows([column[k] for column in cells] for k in order)
        self.data(text.getvalue().encode(), "index.csv")

    def done(self) -> Export:
        """The result of the export."""
        return Export(self.out.uri, len(self.ds), self.written, self.kept)
