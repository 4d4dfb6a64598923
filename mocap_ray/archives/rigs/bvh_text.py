"""Read the text of a .bvh file.

The format has no standard. Its first description, by Biovision, is kept in M. Meredith, S. Maddock: *Motion Capture
File Formats Explained*, University of Sheffield 2001; what the exporters write since then is read as well: position
channels at any joint, any number of channels in any order, names with spaces, braces on the line of a joint.

On libraries: pybvh 0.9 parses as fast, but refuses position channels at joints other than the root, which all files of
Bandai Namco have; bvhio 1.5 needs 50 times as long. Both take a path on a local disk only.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs import take
from mocap_ray.archives.rigs.take import Skeleton, Take
from mocap_ray.motion.clip import Reason
from mocap_ray.wording import counted

_HEADER = 1 << 20
"""Bytes in which the hierarchy has to end."""
_MOTION = re.compile(rb"^[ \t]*MOTION[ \t\r]*$", re.MULTILINE)
_TIMING = re.compile(rb"\s*Frames[ \t]*:[ \t]*(\S+)\s+Frame[ \t]+Time[ \t]*:[ \t]*(\S+)[ \t\r]*(?:\n|$)")
_CODES = {
    f"{axis}{kind}".lower(): code
    for code, (kind, axis) in enumerate((kind, axis) for kind in ("position", "rotation") for axis in "XYZ")
}


def parse(data: bytes) -> Take:
    """The rig and the motion in the text of a .bvh file. A number that is `nan` stays one.

    Raises:
        Unusable: it is no such text, truncated, or contradicts itself; the detail says where.
    """
    if not data[:200].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"HIERARCHY"):
        raise Unusable(
            Reason.UNREADABLE, f"not a BVH file: it begins with {data[:20]!r}. Expected the word HIERARCHY"
        )
    motion = _MOTION.search(data, 0, _HEADER)
    if motion is None:
        raise Unusable(Reason.UNREADABLE, "no line MOTION after the hierarchy: the file is truncated")
    skeleton, columns = _hierarchy(data[: motion.start()].decode("utf-8", "replace"))
    timing = _TIMING.match(data, motion.end())
    if timing is None:
        raise Unusable(
            Reason.UNREADABLE,
            "no lines 'Frames: N' and 'Frame Time: seconds' after MOTION: the file is damaged",
        )
    frames, seconds = _number(timing[1], "Frames"), _number(timing[2], "Frame Time")
    if not (frames.is_integer() and 0 <= frames <= take.MOST_FRAMES):
        raise Unusable(
            Reason.BAD_VALUE,
            f"'Frames' is {frames:,.0f}. Expected at most {take.MOST_FRAMES:,} frames; cut the recording",
        )
    if not 0 < seconds < np.inf:
        raise Unusable(
            Reason.BAD_VALUE,
            f"'Frame Time' is {seconds:g}. Expected seconds, such as 0.00833333; correct the file",
        )
    values = _values(data, timing.end(), int(frames), columns)
    return Take(skeleton, values, fps=1.0 / seconds)


@dataclass(slots=True)
class _Hierarchy:
    """A hierarchy as far as it has been read."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[tuple[float, ...]] = field(default_factory=list)
    channels: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    columns: int = 0

    def add(self, name: str) -> None:
        """A joint below the one that is open."""
        if len(self.names) >= take.MOST_JOINTS:
            raise Unusable(Reason.BAD_SHAPE, f"more than {take.MOST_JOINTS:,} joints. Expected a body")
        if not self.open and self.names:
            raise Unusable(
                Reason.BAD_SHAPE, f"a second skeleton begins with {name!r}. Expected one person a file"
            )
        self.names.append(name)
        self.parents.append(self.open[-1] if self.open else -1)
        self.offsets.append((0.0, 0.0, 0.0))
        self.channels.append(())

    def add_channels(self, words: list[str]) -> None:
        """The channels of the joint that is open, by a count and their names."""
        codes = [_CODES.get(word.lower()) for word in words[1:]]
        if not words or words[0] != str(len(codes)) or None in codes:
            raise Unusable(
                Reason.BAD_SHAPE,
                f"'CHANNELS {' '.join(words)[:100]}' of {self.names[self.open[-1]]!r}. Expected a count and as many "
                "names such as Xposition and Zrotation",
            )
        if self.columns + len(codes) > take.MOST_CHANNELS:
            raise Unusable(Reason.BAD_SHAPE, f"more than {take.MOST_CHANNELS:,} channels. Expected a body")
        at = self.columns
        self.channels[self.open[-1]] = tuple(
            (code, at + k) for k, code in enumerate(codes) if code is not None
        )
        self.columns += len(codes)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """First word and rest of each line; braces are lines of their own."""
    for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines():
        word, _, rest = (
            line.strip().partition(" ") if "\t" not in line.strip() else line.strip().partition("\t")
        )
        if word:
            yield word, rest.strip()


def _hierarchy(text: str) -> tuple[Skeleton, int]:
    """The skeleton, and the number of its channels."""
    found = _Hierarchy()
    for word, rest in _lines(text.lstrip("\ufeff")):
        kind = word.upper()
        if kind in ("ROOT", "JOINT"):
            found.add(rest)
        elif kind == "END":
            found.add(f"{found.names[found.open[-1]]}{take.END}" if found.open else rest)
        elif kind == "{" and found.names:
            found.open.append(len(found.names) - 1)
        elif kind == "}" and found.open:
            found.open.pop()
        elif kind == "OFFSET" and found.open:
            found.offsets[found.open[-1]] = _offset(rest, found.names[found.open[-1]])
        elif kind == "CHANNELS" and found.open:
            found.add_channels(rest.split())
        elif kind != "HIERARCHY":
            raise Unusable(
                Reason.UNREADABLE, f"{f'{word} {rest}'.strip()[:80]!r} in the hierarchy. Expected a BVH file"
            )
    if found.open or not found.names:
        raise Unusable(Reason.UNREADABLE, "the braces of the hierarchy do not match: the file is damaged")
    offsets = np.array(found.offsets, dtype=np.float64)
    return Skeleton(tuple(found.names), tuple(found.parents), offsets, tuple(found.channels)), found.columns


def _offset(text: str, name: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split())
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise Unusable(Reason.BAD_VALUE, f"'OFFSET {text[:60]}' of {name!r}. Expected three numbers")
    return numbers


def _number(word: bytes, name: str) -> float:
    try:
        return float(word)
    except ValueError:
        shown = word[:40].decode("utf-8", "replace")
        raise Unusable(Reason.BAD_VALUE, f"{name!r} is {shown!r}. Expected a number") from None


def _values(data: bytes, start: int, frames: int, columns: int) -> Float64[np.ndarray, "T C"]:
    """The numbers after the header, [frames, columns]."""
    if not columns:
        raise Unusable(Reason.BAD_SHAPE, "no joint has channels. Expected a rig that moves")
    first = data[start : start + 32 * columns].lstrip().partition(b"\n")[0].split()
    last_of_many = len(data) > start + 32 * columns
    if frames and len(first) != columns and (first or not last_of_many):
        what = f"the first frame has {counted(len(first), 'number')}, but the joints {counted(columns, 'channel')}"
        raise Unusable(Reason.BAD_SHAPE if len(first) else Reason.UNREADABLE, f"{what}. The file is damaged")
    values = None
    with warnings.catch_warnings(), suppress(ValueError):
        # What is no number is an error, and a warning until numpy 2.2; it is found below.
        warnings.simplefilter("ignore", DeprecationWarning)
        values = np.fromstring(data[start:], dtype=np.float64, sep=" ")
    if values is None or len(values) != frames * columns:
        raise _damage(data[start:], frames, columns)
    return np.asarray(values).reshape(frames, columns)


def _damage(text: bytes, frames: int, columns: int) -> Unusable:
    """Why the text of the frames is not their numbers."""
    words = text.split()
    missing = len(words) < frames * columns
    wrong = next((k for k, word in enumerate(words) if not _is_number(word)), None)
    if wrong is not None and not (missing and wrong == len(words) - 1):
        shown = words[wrong][:40].decode("utf-8", "replace")
        what = f"{shown!r} in frame {wrong // columns:,}. Expected a number with a decimal point"
        return Unusable(Reason.BAD_VALUE, what)
    counts = [count for line in text.splitlines() if (count := len(line.split()))]
    uneven = next((k for k, count in enumerate(counts) if count != columns), None)
    if uneven is not None and not (missing and uneven == len(counts) - 1):
        found = counted(counts[uneven], "number")
        what = f"frame {uneven:,} has {found}, but the joints {counted(columns, 'channel')}"
        return Unusable(Reason.BAD_SHAPE, f"{what}. The file is damaged")
    what = f"'Frames' is {frames:,}, and {counted(len(words) // columns, 'whole frame')} follow"
    if missing:
        return Unusable(Reason.UNREADABLE, f"{what}: the file is truncated")
    return Unusable(Reason.BAD_SHAPE, f"{what}. Correct the count")


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
