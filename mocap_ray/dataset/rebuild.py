"""HumanML3D rebuilt: which rows of its index became clips, and the folder that its trainers read.

The clips are made by an extraction with `source.segments`, and the folder by `export_humanml3d`; this module compares
both with the index and says what is missing.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from pyarrow import fs as pafs

from mocap_ray.archives.segments import Segment, SegmentIndex, dataset_of, is_foreign, key
from mocap_ray.archives.splits import read_names
from mocap_ray.dataset.export import SPLIT_LISTS, Export, Progress, export_humanml3d
from mocap_ray.dataset.reader import DataSet, open
from mocap_ray.errors import UserError
from mocap_ray.records import Recording
from mocap_ray.storage import Place, place
from mocap_ray.wording import counted

DATA_SET, FOLDER = "dataset", "HumanML3D"
"""Where the Parquet data set and the published layout are, below the output folder."""

MISSING = "missing.csv"
"""The rows without a clip, or with a shorter one, in the output folder."""

NO_SOURCE, EMPTY, SHORT, REJECTED = "no source", "empty", "short", "rejected"
"""What may be wrong with a row: its recording is not there; it begins after the recording's end; its clip has fewer
frames than the index says; its recording, or its part of it, cannot be used."""

SETTINGS: tuple[str, ...] = (
    "source.split=none",  # HumanML3D's splits are lists of clips, and its Mean and Std are those of all clips
    "motion.min_frames=1",
    "motion.max_frames=null",
    # HumanML3D checks nothing, so a rebuild must not reject by speed what the published set has.
    "motion.quality.multiplier=1000000",
)
"""What the config `humanml3d` needs to give the published clips, all of them."""


class Gap(NamedTuple):
    """A row of the index without a clip, or with a shorter one than the index says.

    Attributes:
        name: of the clip.
        source_path, start_frame, end_frame: as the index has them.
        problem: one of the four above.
        frames: how many frames of joints were built.
        expected: how many the index says; None if the row's end is open.
        detail: a sentence.
    """

    name: str
    source_path: str
    start_frame: str
    end_frame: str
    problem: str
    frames: int
    expected: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild.

    Attributes:
        folder: the output folder.
        rows: number of rows of the index.
        built: number of rows that have a clip, also a shorter one.
        gaps: the rows that differ from the index.
        renamed: names of recordings in the index, and here, where they differ.
        retimed: number of rows that were cut by time.
        without_texts: number of rows without captions.
        lists: where the lists of splits come from; None if there are none.
        export: of the folder.
    """

    folder: str
    rows: int
    built: int
    gaps: tuple[Gap, ...]
    renamed: tuple[tuple[str, str], ...]
    retimed: int
    without_texts: int
    lists: str | None
    export: Export

    def count(self, problem: str) -> int:
        """How many rows have this problem."""
        return sum(gap.problem == problem for gap in self.gaps)

    def sentences(self) -> list[str]:
        """The figures."""
        found = [
            f"{self.built:,} of {counted(self.rows, 'row')} of the index are built, each with its mirrored twin."
        ]
        absent = [gap for gap in self.gaps if gap.problem == NO_SOURCE]
        foreign = sum(is_foreign(key(gap.source_path)) for gap in absent)
        texts = {
            NO_SOURCE: "There is no recording for",
            EMPTY: "The recording ends before the start of",
            REJECTED: "Rejected, with the reason in rejected.parquet:",
            SHORT: "Built, but shorter than the index says:",
        }
        for problem, text in texts.items():
            if count := self.count(problem):
                of = f" ({foreign:,} of HumanAct12: --humanact12)" if problem == NO_SOURCE and foreign else ""
                found.append(f"{text} {counted(count, 'row')}{of}.")
        if self.retimed:
            found.append(
                f"{counted(self.retimed, 'row')} {'was' if self.retimed == 1 else 'were'} cut by time, because the "
                "recording has another frame rate here than in the SMPL+H release."
            )
        if self.renamed:
            (listed, name), them = self.renamed[0], counted(len(self.renamed), "recording")
            found.append(f"{them} found under another name, such as {name} for {listed}.")
        if self.without_texts:
            found.append(
                f"{counted(self.without_texts, 'row')} without captions: texts/ has a placeholder for them (--texts)."
            )
        if self.lists is None:
            found.append(
                "No lists of splits: all clips are in train.txt. HumanML3D's repository has train.txt, val.txt and "
                "test.txt (--splits)."
            )
        return found


def rebuild(
    index: SegmentIndex,
    out: str | os.PathLike[str],
    *,
    lists: str | None = None,
    progress: Progress | None = None,
) -> Rebuilt:
    """Write the published layout of a finished extraction, and compare it with the index.

    Args:
        index: HumanML3D's, as the extraction read it.
        out: the output folder; the data set is its subfolder `dataset`.
        lists: folder of train.txt, val.txt and test.txt; None for none.
        progress: called after each clip.

    Raises:
        DataSetError: there is no finished data set.
        UserError: `lists` has no such file.
        OSError: for example, the disk is full; the same call resumes.
    """
    home = place(out)
    ds = open(home.folder(DATA_SET).uri)
    given = None if lists is None else read_lists(lists)
    export = export_humanml3d(
        ds.place.uri, home.folder(FOLDER).uri, lists=given, refresh=True, progress=progress
    )
    names = ds.index.column("name").to_pylist()
    frames = {name: count + 1 for name, count in zip(names, ds.index["num_frames"].to_pylist(), strict=True)}
    gaps = find_gaps(index, frames, ds)
    rebuilt = Rebuilt(
        folder=home.uri,
        rows=len(index.lines),
        built=sum(name in frames for name in index.lines),
        gaps=tuple(gaps),
        renamed=tuple(index.renamed(_recordings(ds))),
        retimed=int(ds.manifest["totals"].get("retimed_segments", 0)),
        without_texts=_without_texts(index, frames),
        lists=lists,
        export=export,
    )
    home.write_atomic(_table(gaps), MISSING)
    home.write_atomic((json.dumps(_summary(rebuilt), indent=1) + "\n").encode(), "summary.json")
    return rebuilt


def find_lists(index: str) -> str | None:
    """The folder of HumanML3D's lists beside its index, or in the folder HumanML3D there; None if there is none.

    Args:
        index: address of index.csv.
    """
    file = place(index)
    above = Place(file.fs, file.path.rpartition("/")[0], file.uri.rpartition("/")[0] or ".")
    for folder in (above, above.folder(FOLDER)):
        if all(folder.fs.get_file_info(folder.join(f"{s}.txt")).is_file for s in SPLIT_LISTS):
            return folder.uri
    return None


def read_lists(folder: str) -> dict[str, list[str]]:
    """The names of the clips in train.txt, val.txt and test.txt, in their order.

    Raises:
        UserError: a list is missing, or not UTF-8.
    """
    where, found = place(folder), {}
    for split in SPLIT_LISTS:
        if where.fs.get_file_info(where.join(f"{split}.txt")).type != pafs.FileType.File:
            raise UserError(
                f"{where.uri}/{split}.txt: no such file. Expected HumanML3D's train.txt, val.txt and test.txt "
                "(--splits)."
            )
        found[split] = list(read_names(where, f"{split}.txt"))
    return found


def find_gaps(index: SegmentIndex, frames: Mapping[str, int], ds: DataSet) -> list[Gap]:
    """The rows without a clip, or with a shorter one than the index says, in the order of the index.

    Args:
        index: HumanML3D's.
        frames: name of each clip -> frames of its joints.
        ds: the data set.
    """
    segments = {s.name: s for found in index.rows.values() for s in found}
    homes = {s.name: home for home, found in index.rows.items() for s in found}
    rejected: dict[str, list[dict[str, Any]]] = {}
    for row in _rejected(ds):
        rejected.setdefault(key(row["recording"]), []).append(row)
    seen = {key(r.name) for r in _recordings(ds)}
    found = []
    for name, line in index.lines.items():
        home, segment = homes[name], segments[name]
        problem = _problem(
            segment, frames.get(name), rejected.get(home, ()), present=home in seen, foreign=is_foreign(home)
        )
        if problem is not None:
            what, detail = problem
            found.append(Gap(name, *line, what, frames.get(name, 0), segment.length, detail))
    return found


def _problem(
    segment: Segment,
    frames: int | None,
    rejected: Sequence[Mapping[str, Any]],
    *,
    present: bool,
    foreign: bool,
) -> tuple[str, str] | None:
    """What is wrong with a row, and a sentence; None if nothing is."""
    if frames is not None:
        if segment.length is None or frames >= segment.length:
            return None
        had = f"{counted(frames, 'frame')} of {segment.length:,}"
        return (
            SHORT,
            f"{had}: the recording ends before, or has another frame rate than in the SMPL+H release.",
        )
    own = [row for row in rejected if f"segment {segment.name} " in str(row["detail"])]
    if own:
        return EMPTY, str(own[0]["detail"])
    if whole := [row for row in rejected if "segment " not in str(row["detail"])]:
        return REJECTED, f"{whole[0]['reason']}: {whole[0]['detail']}"
    if present:
        return REJECTED, "The clip has no features; see rejected.parquet."
    if foreign:
        return (
            NO_SOURCE,
            "No such recording in the folder of HumanAct12's joints, if one was given (--humanact12).",
        )
    return NO_SOURCE, "No such recording below the folder of AMASS (--amass)."


def _rejected(ds: DataSet) -> list[dict[str, Any]]:
    """The rows of rejected.parquet."""
    table = pq.read_table(ds.place.join("rejected.parquet"), filesystem=ds.place.fs)
    rows: list[dict[str, Any]] = table.select(["recording", "reason", "detail"]).to_pylist()
    return rows


def _recordings(ds: DataSet) -> list[Recording]:
    """The recordings of a data set by their names alone."""
    return [
        Recording(name.split("/")[0], name, "", "", 0, "")
        for name in sorted(set(ds.index["recording"].to_pylist()))
    ]


def _without_texts(index: SegmentIndex, frames: Mapping[str, int]) -> int:
    return sum(not s.captions and s.name in frames for found in index.rows.values() for s in found)


def _table(gaps: Sequence[Gap]) -> bytes:
    """missing.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Gap._fields)
    writer.writerows(gaps)
    return text.getvalue().encode()


def _summary(rebuilt: Rebuilt) -> dict[str, Any]:
    """summary.json."""
    absent = Counter(dataset_of(g.source_path) for g in rebuilt.gaps if g.problem == NO_SOURCE)
    return {
        "rows": rebuilt.rows,
        "built": rebuilt.built,
        **{
            problem.replace(" ", "_"): rebuilt.count(problem)
            for problem in (NO_SOURCE, EMPTY, REJECTED, SHORT)
        },
        "no_source_by_dataset": dict(sorted(absent.items())),
        "cut_by_time": rebuilt.retimed,
        "renamed": [list(pair) for pair in rebuilt.renamed],
        "without_texts": rebuilt.without_texts,
        "lists": rebuilt.lists is not None,
    }
