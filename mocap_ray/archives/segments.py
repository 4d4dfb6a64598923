"""Which frames of which recordings are clips, and their names: HumanML3D's index and captions.

HumanML3D (Guo et al., CVPR 2022) is not an archive: its `index.csv` lists segments of AMASS recordings, and its
`texts/` folder holds their captions. Neither is part of this package; both come from its repository.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType

from mocap_ray.archives.amass import take_name
from mocap_ray.archives.rates import KNOWN, Rate
from mocap_ray.archives.segment_texts import read_captions
from mocap_ray.archives.tables import read_file
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Caption
from mocap_ray.records import Recording
from mocap_ray.wording import counted

GRID_FPS = 20.0
"""Frame rate of the index: its frame numbers count every floor(source / 20)-th frame of a recording."""

TRIMS: Mapping[str, int] = MappingProxyType(
    {
        "Eyes_Japan_Dataset": 60,
        "MPI_HDM05": 60,
        "TotalCapture": 20,
        "MPI_Limits": 20,
        "Transitions_mocap": 10,
    }
)
"""Frames at 20 fps that HumanML3D drops from the start of a recording before it counts (calibration poses)."""

_SPELLINGS = {
    "bmlrub": "BioMotionLab_NTroje",
    "dfaust": "DFaust_67",
    "hdm05": "MPI_HDM05",
    "mosh": "MPI_mosh",
    "poseprior": "MPI_Limits",
    "ssm": "SSM_synced",
    "tcdhands": "TCD_handMocap",
    "transitions": "Transitions_mocap",
}
"""Later names of sub-datasets, in lower case without underscores -> the names in the index."""
_SPELLINGS |= {
    name.replace("_", "").lower(): name for name in ("Eyes_Japan_Dataset", *_SPELLINGS.values(), *TRIMS)
}

_COLUMNS = ("source_path", "start_frame", "end_frame", "new_name")
_NAME = re.compile(r"[^\W_][\w.-]*")


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of the index.

    Attributes:
        start, end: frames at about 20 fps from the start of the recording, `end` exclusive as in Python's slices,
            None for all frames; the frames that HumanML3D trims are already added.
        name: HumanML3D's name of the clip, without extension (`000021`).
        texts: captions of the whole clip.
        captions: all captions, also those of a part of the clip.
        mirrored: captions of the mirrored twin; None means `captions` with left and right swapped.
        rate: the rate of the recording in the release that the index counts frames of, where it is known to differ.
    """

    start: int
    end: int | None
    name: str
    texts: tuple[str, ...] = ()
    captions: tuple[Caption, ...] = ()
    mirrored: tuple[Caption, ...] | None = None
    rate: Rate | None = None

    @property
    def length(self) -> int | None:
        """How many frames the clip has according to the index; None if its end is open."""
        return self.end - self.start if self.end is not None and self.end >= 0 else None

    def source_frames(self, frames: int, fps: float, step: Fraction | None = None) -> slice:
        """The frames of the recording that HumanML3D's clip spans; empty if it has none.

        Keeping every floor(fps / 20)-th of them gives exactly HumanML3D's frames, because subsampling before or
        after cutting is the same; any other rate covers the same span of time.

        Args:
            frames: number of frames of the recording.
            fps: frame rate of the recording.
            step: as `counting` returns it; default: that of the frame rate.
        """
        kept = stride(fps)
        step = Fraction(kept) if step is None else step
        first, last, _ = slice(self.start, self.end).indices(math.ceil(frames / step))
        if last <= first:
            return slice(0, 0)
        # Only the frames that HumanML3D keeps of this span; if it is cut by time, all of the span.
        end = (last - 1) * kept + 1 if step == kept else min(frames, math.ceil(last * step))
        return slice(math.ceil(first * step), end)

    def missing(self, frames: int, fps: float, step: Fraction | None = None) -> int:
        """How many frames at about 20 fps the segment goes beyond the end of the recording; 0 if its end is open.

        Args:
            frames: number of frames of the recording.
            fps: frame rate of the recording.
            step: as `counting` returns it; default: that of the frame rate.
        """
        return max(0, (self.end or 0) - math.ceil(frames / (step or Fraction(stride(fps)))))


def counting(segments: Sequence[Segment], frames: int, fps: float) -> Fraction:
    """Source frames from one frame that the index counts to the next, in a recording at hand.

    It is floor(fps / 20), unless the recording had another frame rate in the release that the index counts: its
    `Segment.rate` says so, or its segments end exactly where the recording would end if the rate were lower by a
    whole factor. (The index says 113 frames for CMU/90/90_08, whose 337 frames at 120 fps give 57: it had 60 fps.)

    Args:
        segments: all segments of the recording.
        frames: number of frames of the recording.
        fps: frame rate of the recording.

    Returns:
        The step; the segments are cut by time if it differs from that of the frame rate.
    """
    step = stride(fps)
    rate = segments[0].rate
    if rate is not None:
        return Fraction(stride(rate.fps) * frames, rate.frames or frames) if frames else Fraction(step)
    last = max((s.end for s in segments if s.end is not None), default=0)
    if last > -(-frames // step) + 1:
        for factor in range(2, step + 1):
            if step % factor == 0 and abs(-(-frames * factor // step) - last) <= 1:
                return Fraction(step, factor)
    return Fraction(step)


def stride(fps: float) -> int:
    """HumanML3D keeps every such frame of a recording."""
    return max(1, math.floor(fps / GRID_FPS + 1e-9))


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """The content of an index.

    Attributes:
        where: its address, for messages.
        rows: segments by the key of their recording (`key`), in order of their frames.
        lines: name of each clip -> path, start and end as the index has them.
        sha256: hash of the rows, independent of their order and of the path of the file.
    """

    where: str
    rows: Mapping[str, tuple[Segment, ...]]
    lines: Mapping[str, tuple[str, str, str]]
    sha256: str

    def renamed(self, recordings: Iterable[Recording]) -> list[tuple[str, str]]:
        """Recordings whose name differs from the one in the index: both names, that of the index first."""
        found = []
        for recording in recordings:
            for segment in self.rows.get(key(recording.name), ())[:1]:
                listed = _plain_path(self.lines[segment.name][0])
                if listed != recording.name and not is_foreign(listed):
                    found.append((listed, recording.name))
        return found

    def match(
        self, recordings: Sequence[Recording], *, left_out: Sequence[Recording] = ()
    ) -> tuple[dict[str, tuple[Segment, ...]], list[str]]:
        """The segments of each recording by its name, and notes that count what did not match.

        Args:
            recordings: to find the segments of.
            left_out: recordings of the archive that are excluded; their rows are not counted as missing.

        Raises:
            UserError: no recording has a row, or two recordings match the same rows.
        """
        found: dict[str, tuple[Segment, ...]] = {}
        homes: dict[str, str] = {}
        for recording in recordings:
            home = key(recording.name)
            if home not in self.rows:
                continue
            if home in homes:
                raise UserError(
                    f"{self.where}: its rows of {home} match both {homes[home]} and {recording.name}. "
                    f"Leave one of them out: --exclude {shlex.quote(recording.name)} (source.exclude)."
                )
            homes[home] = recording.name
            found[recording.name] = self.rows[home]
        if not found:
            names = f"{next(iter(self.rows))!r}", f"{recordings[0].name!r}" if recordings else "none"
            raise UserError(
                f"{self.where}: no row matches any of {counted(len(recordings), 'recording')}. The index names "
                f"recordings such as {names[0]}, the archive such as {names[1]}: source.root has to be the folder of "
                "the sub-datasets."
            )
        absent = self.rows.keys() - homes - {key(recording.name) for recording in left_out}
        notes = []
        if not any(map(is_foreign, homes)):
            foreign = {home for home in absent if is_foreign(home)}
            absent -= foreign
            if foreign:
                count = counted(sum(len(self.rows[home]) for home in foreign), "row")
                notes.append(f"{self.where}: ignored {count} of humanact12, which is not part of AMASS.")
        if absent:
            count = counted(sum(len(self.rows[home]) for home in absent), "row")
            notes.append(
                f"{self.where}: ignored {count} of {counted(len(absent), 'recording')} that the archive does not "
                f"have, such as {min(absent)}."
            )
        if renamed := self.renamed(r for r in recordings if r.name in found):
            (listed, name), many = renamed[0], sum(len(found[name]) for _, name in renamed)
            notes.append(
                f"{self.where}: found {counted(many, 'row')} of {counted(len(renamed), 'recording')} that this "
                f"release names otherwise, such as {name} for {listed}."
            )
        if left := len(recordings) - len(found):
            notes.append(f"Left out, because {self.where} has no row for them: {counted(left, 'recording')}.")
        return found, notes


def key(path: str) -> str:
    """A recording's name in one normal form, for comparing names of the archive and the index.

    Releases differ in the names of sub-datasets, in the suffixes of takes, and in `_` for spaces.

    >>> key("./pose_data/MPI_HDM05/bd/HDM_bd_01-01_01_120_poses.npy") == key("HDM05/bd/HDM_bd_01-01_01_120_stageii")
    True
    """
    first, slash, rest = _plain_path(path).partition("/")
    dataset = _dataset(first)
    second, deeper, others = rest.partition("/")
    if deeper and _dataset(second) == dataset:
        rest = others  # some packed files contain the folder of the sub-dataset twice
    return take_name(f"{dataset}{slash}{rest}".replace(" ", "_"))


def dataset_of(path: str) -> str:
    """The sub-dataset of a path of the index, as the index spells it.

    >>> dataset_of("./pose_data/HDM05/bd/HDM_bd_01-01_01_120_stageii.npy")
    'MPI_HDM05'
    """
    return _dataset(_plain_path(path).partition("/")[0])


def _plain_path(path: str) -> str:
    """A path of the index as a recording's name."""
    plain = path.replace("\\", "/").removeprefix("./").removeprefix("pose_data/")
    return plain[:-4] if plain.endswith((".npy", ".npz")) else plain


def is_foreign(home: str) -> bool:
    """Whether this is the key of a recording of HumanAct12, which is not part of AMASS."""
    return home.startswith("humanact12/")


@lru_cache(1 << 12)  # an index names few, each thousands of times
def _dataset(name: str) -> str:
    return _SPELLINGS.get(name.replace("_", "").lower(), name)


def read_segments(
    address: str, *, texts: str | None = None, rates: Mapping[str, Rate] = KNOWN
) -> SegmentIndex:
    """Read an index and, if a folder is given, the captions of its clips.

    Args:
        address: a CSV file with the columns source_path, start_frame, end_frame, new_name.
        texts: folder or .zip file with a `<new_name>.txt` for each clip, with lines `caption#tokens#start#end`.
        rates: names of recordings -> their rates in the release that the index counts frames of.

    Raises:
        UserError: no such file or folder, not such a table, an invalid row, or two rows with the same name or the same
            start; the message names the line.
        OSError: the index cannot be read.
    """
    where, data = read_file(address, expected="HumanML3D's index.csv (source.segments)")
    rows: dict[str, list[Segment]] = {}
    names = dict[str, tuple[str, str, str]]()
    for number, (path, start, end, name) in enumerate(_lines(where, data), start=2):
        home, segment = _segment(path, start, end, name, f"{where}, line {number}")
        if segment.name in names:
            raise UserError(
                f"{where}, line {number}: duplicate name {segment.name!r}. Expected unique names."
            )
        names[segment.name] = (path, start, end)
        others = rows.get(home)
        if others is None:
            rows[home] = [segment]
            continue
        if any(segment.start == other.start for other in others):
            raise UserError(
                f"{where}, line {number}: two rows of {home} start at the same frame. Remove one."
            )
        others.append(segment)
    if twin := next((f"M{name}" for name in sorted(names) if f"M{name}" in names), None):
        raise UserError(f"{where}: the name {twin!r} is reserved for a mirrored twin. Remove its row.")
    if all(is_foreign(home) for home in rows):
        raise UserError(f"{where}: no row of AMASS. Expected HumanML3D's index.csv (source.segments).")
    captions, mirrored = read_captions(texts, names) if texts is not None else ({}, {})
    homes = {key(name): rate for name, rate in rates.items()}

    def completed(home: str, found: list[Segment]) -> tuple[Segment, ...]:
        """The segments of a recording in order of their frames, with captions and rate."""
        if len(found) > 1:
            found.sort(key=lambda s: s.start)
        if not captions and home not in homes:
            return tuple(found)
        return tuple(
            replace(
                s,
                texts=whole_clip(captions.get(s.name, ())),
                captions=captions.get(s.name, ()),
                mirrored=mirrored.get(s.name),
                rate=homes.get(home),
            )
            for s in found
        )

    finished = {home: completed(home, rows[home]) for home in sorted(rows)}
    return SegmentIndex(where, finished, names, _sha256(finished))


def whole_clip(captions: Iterable[Caption]) -> tuple[str, ...]:
    """The captions that describe the whole clip, without duplicates, in their order."""
    return tuple(dict.fromkeys(c.text for c in captions if c.of_whole_clip))


def _lines(where: str, data: bytes) -> Iterator[tuple[str, ...]]:
    """The cells of the four columns of each row; those that a short row lacks are empty. Raises UserError."""
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = next(lines, [])
        if not set(_COLUMNS) <= set(header):
            raise UserError(
                f"{where}: columns {header}. Expected {', '.join(_COLUMNS)}: HumanML3D's index.csv (source.segments)."
            )
        pick = itemgetter(*(header.index(column) for column in _COLUMNS))
        missing = [""] * len(header)
        for line in filter(None, lines):
            yield pick(line if len(line) >= len(header) else line + missing)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where}: not a table ({error}). Expected HumanML3D's index.csv (source.segments)."
        ) from error


def _segment(path: str, first: str, last: str, file: str, where: str) -> tuple[str, Segment]:
    """The key of a row's recording, and its segment. Raises UserError."""
    name = file[:-4] if file.endswith((".npy", ".npz")) else file
    try:
        start, end = int(first), int(last)
    except ValueError:
        raise UserError(f"{where}: frames {first!r} to {last!r}. Expected whole numbers.") from None
    if start < 0 or 0 <= end <= start:
        raise UserError(f"{where}: frames {start} to {end}. Expected a start of at least 0 and a later end.")
    if not _NAME.fullmatch(name):
        raise UserError(f"{where}: name {name!r}. Expected letters and digits such as 000021.npy.")
    home = key(path)
    if "/" not in home:
        raise UserError(
            f"{where}: source {path!r}. Expected a path such as ./pose_data/CMU/01/01_01_poses.npy."
        )
    if is_foreign(home):  # used whole, whatever the row says, as in HumanML3D
        return home, Segment(0, None, name)
    trim = TRIMS.get(home.split("/")[0], 0)
    # A negative end counts from the end of the recording, as in Python's slices.
    return home, Segment(start + trim, end + trim if end >= 0 else end, name)


def _sha256(rows: Mapping[str, Sequence[Segment]]) -> str:
    """The hash of sorted rows; of captions and rates only where there are any."""
    found = hashlib.sha256()
    for home, segments in rows.items():
        for s in segments:
            found.update(f"{home!r} {s.start} {s.end} {s.name}\n".encode())
            if s.captions or s.mirrored is not None or s.rate is not None:
                mirrored = None if s.mirrored is None else [astuple(c) for c in s.mirrored]
                rate = None if s.rate is None else astuple(s.rate)
                found.update(json.dumps([[astuple(c) for c in s.captions], mirrored, rate]).encode())
    return found.hexdigest()
