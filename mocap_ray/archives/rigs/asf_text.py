"""Read a skeleton (.asf) and a motion on it (.amc), the two texts of Acclaim that CMU's data base is in.

A bone of the skeleton begins where its parent ends, and turns about its beginning. So as a joint it is called like the
bone and lies at its beginning; `<bone>.end` is the end of a bone that no other continues. Source: J. Lander, *Working
with Motion Capture File Formats*, Game Developer, January 1998, and the files themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mocap_ray.archives.layouts import Unusable
from mocap_ray.archives.rigs import take
from mocap_ray.archives.rigs.rotations import turn_about
from mocap_ray.archives.rigs.take import X_ROTATION, Skeleton, Take
from mocap_ray.motion.clip import Reason
from mocap_ray.wording import counted

ROOT = "root"
_CODES = {f"{kind}{axis}": code for code, (kind, axis) in enumerate((k, a) for k in "tr" for a in "xyz")}
_SECTION = re.compile(r"^:(\w+)[ \t]*([^\n]*)$", re.MULTILINE)
_INCHES = 0.0254
_LONGEST_WORD = 64
MOST_BYTES = 64 << 20
"""Of the text of a motion, whose words take many times as much memory while it is read: ten minutes at 120 fps."""
MOST_SKELETON = 1 << 20
"""Bytes of a skeleton."""


@dataclass(frozen=True, slots=True, eq=False)
class Bones:
    """A skeleton (.asf).

    Attributes:
        skeleton: its joints, with the channels of all bones one after the other.
        columns: bone -> the columns of its numbers in a line of the motion, in the order of that line.
        degrees: the factor that turns the angles of a motion into degrees.
        metre: metres in a unit of length, if `length` is a scale of inches, as in CMU's files (0.45); else None.
    """

    skeleton: Skeleton
    columns: Mapping[str, tuple[int, ...]]
    degrees: float
    metre: float | None


@dataclass(frozen=True, slots=True)
class _Bone:
    """One entry of the section bonedata, or the root."""

    offset: np.ndarray
    axis: np.ndarray
    dof: tuple[int, ...]


def parse_skeleton(data: bytes) -> Bones:
    """The skeleton in the text of an .asf file.

    Raises:
        Unusable: it is no such text, or contradicts itself; the detail says where.
    """
    text = re.sub(r"#[^\n]*", "", data.decode("utf-8", "replace").replace("\r", "\n"))
    marks = list(_SECTION.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    sections = {m[1].lower(): m[2] + text[m.end() : end] for m, end in zip(marks, ends, strict=False)}
    if missing := [name for name in ("root", "bonedata", "hierarchy") if name not in sections]:
        raise Unusable(Reason.UNREADABLE, f"no section :{missing[0]}. Expected a skeleton (.asf)")
    units = _pairs(sections.get("units", ""))
    degrees = math.degrees(1.0) if units.get("angle", ["deg"])[0].startswith("rad") else 1.0
    bones = {ROOT: _root(_pairs(sections["root"]), degrees)}
    for block in re.findall(r"\bbegin\b(.*?)\bend\b", sections["bonedata"], re.DOTALL):
        pairs = _pairs(block)
        bones[" ".join(pairs.get("name", ["?"]))] = _bone(pairs, degrees)
        if len(bones) > take.MOST_JOINTS // 2:
            raise Unusable(Reason.BAD_SHAPE, f"more than {take.MOST_JOINTS // 2} bones. Expected a body")
    scale = _numbers(units.get("length", ["0"]), 1, "length")[0]
    parents = _parents(sections["hierarchy"], bones)
    return _joined(bones, parents, degrees, _INCHES / scale if 0 < scale < 1 else None)


def parse_motion(data: bytes, bones: Bones) -> Take:
    """The motion in the text of an .amc file; it has no frame rate. A number that is `nan` stays one.

    Raises:
        Unusable: it is no such text, truncated, or of another skeleton; the detail says where.
    """
    start = re.search(rb"^[ \t]*1[ \t\r]*$", data[: 1 << 16], re.MULTILINE)
    if start is None:
        raise Unusable(Reason.UNREADABLE, "no frame 1. Expected a motion (.amc)")
    split = data[start.start() :].split()
    if max(map(len, split)) > _LONGEST_WORD:
        raise Unusable(
            Reason.UNREADABLE, "a word of hundreds of letters among the numbers: the file is damaged"
        )
    words = np.array(split)
    after = np.flatnonzero(words[: 8 * take.MOST_JOINTS] == b"2")
    names = {name.encode() for name in bones.columns}
    # The word 2 is the number of the second frame where the name of a bone follows.
    width = next((int(k) for k in after if k + 1 < len(words) and bytes(words[k + 1]) in names), len(words))
    frames, rest = divmod(len(words), width)
    if (
        rest
        or frames > take.MOST_FRAMES
        or not (words[::width] == np.arange(1, frames + 1).astype("S")).all()
    ):
        raise _uneven(words, width, names)
    rows = words.reshape(frames, width)
    order = _columns(rows[0], bones)
    if (rows[:, [at for at, _ in order]] != rows[0, [at for at, _ in order]]).any():
        raise _uneven(words, width, names)
    values = np.zeros((frames, sum(map(len, bones.columns.values()))))
    for at, columns in order:
        for k, column in enumerate(columns):
            values[:, column] = _floats(rows[:, at + 1 + k])
    rotation = [column for codes in bones.skeleton.channels for code, column in codes if code >= X_ROTATION]
    if bones.degrees != 1.0:
        values[:, rotation] *= bones.degrees
    return Take(bones.skeleton, values, fps=None, metre=bones.metre)


def _pairs(text: str) -> dict[str, list[str]]:
    """First word of each line -> its other words."""
    lines = [line.split() for line in text.splitlines()]
    return {words[0].lower(): words[1:] for words in lines if words}


def _numbers(words: Sequence[str], count: int, name: str) -> list[float]:
    try:
        numbers = [float(word) for word in words[:count]]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Unusable(
            Reason.BAD_VALUE, f"'{name} {' '.join(words)[:60]}'. Expected {counted(count, 'number')}"
        )
    return numbers


def _dof(words: Sequence[str]) -> tuple[int, ...]:
    codes = [_CODES.get(word.lower()) for word in words]
    if None in codes:
        raise Unusable(
            Reason.BAD_VALUE, f"'{' '.join(words)[:60]}'. Expected degrees of freedom such as rx and tx"
        )
    return tuple(code for code in codes if code is not None)


def _axes(angles: Sequence[float], order: str, degrees: float) -> np.ndarray:
    """The rotation of angles that are applied in the order of the letters, about axes that stay in place."""
    R = np.eye(3)[:, :, None]
    for angle, letter in reversed(list(zip(angles, order.lower(), strict=False))):
        if letter not in "xyz":
            raise Unusable(Reason.BAD_VALUE, f"the axes {order!r}. Expected three letters such as XYZ")
        turn = np.array([math.radians(angle * degrees)])
        turn_about(R, "xyz".index(letter), np.cos(turn), np.sin(turn))
    return np.asarray(R[..., 0])


def _root(pairs: Mapping[str, list[str]], degrees: float) -> _Bone:
    orientation = _numbers(pairs.get("orientation", ["0"] * 3), 3, "orientation")
    axis = _axes(orientation, "".join(pairs.get("axis", ["XYZ"])), degrees)
    position = np.array(_numbers(pairs.get("position", ["0"] * 3), 3, "position"))
    return _Bone(position, axis, _dof(pairs.get("order", [])))


def _bone(pairs: Mapping[str, list[str]], degrees: float) -> _Bone:
    direction = np.array(_numbers(pairs.get("direction", []), 3, "direction"))
    length = _numbers(pairs.get("length", []), 1, "length")[0]
    axis = pairs.get("axis", ["0", "0", "0", "XYZ"])
    return _Bone(
        direction * length,
        _axes(_numbers(axis, 3, "axis"), "".join(axis[3:]) or "XYZ", degrees),
        _dof(pairs.get("dof", [])),
    )


def _parents(text: str, bones: Mapping[str, _Bone]) -> dict[str, str]:
    """Bone -> its parent, parents before their children."""
    children: dict[str, list[str]] = {}
    for line in text.splitlines():
        if (words := line.split()) and words[0] not in ("begin", "end"):
            children.setdefault(words[0], []).extend(words[1:])
    found: dict[str, str] = {}
    reached = [ROOT]
    for parent in reached:
        for child in children.get(parent, []):
            if child not in bones or child in found or child == ROOT:
                raise Unusable(
                    Reason.BAD_SHAPE, f"{child!r} in the hierarchy. Expected each bone of the bonedata once"
                )
            found[child] = parent
            reached.append(child)
    return found


def _joined(
    bones: Mapping[str, _Bone], parents: Mapping[str, str], degrees: float, metre: float | None
) -> Bones:
    """The bones as joints. The frame of a bone's joint has the bone's own axes, in which its motion is given."""
    names = [ROOT, *parents]
    ends = [name for name in parents if name not in parents.values()]
    index = {name: k for k, name in enumerate(names)}
    offsets, turns, channels = [bones[ROOT].offset], [bones[ROOT].axis], list[tuple[tuple[int, int], ...]]()
    columns: dict[str, tuple[int, ...]] = {}
    count = 0
    for name in names:
        dof = bones[name].dof
        columns[name] = tuple(range(count, count + len(dof)))
        pairs = list(zip(dof, columns[name], strict=True))
        # The motion turns first about the first axis, which stays in place: as a product, it comes last.
        channels.append(
            tuple(p for p in pairs if p[0] < X_ROTATION) + tuple(p for p in pairs[::-1] if p[0] >= X_ROTATION)
        )
        count += len(dof)
    for name, parent in parents.items():
        along = np.zeros(3) if parent == ROOT else bones[parent].offset
        offsets.append(bones[parent].axis.T @ along)
        turns.append(bones[parent].axis.T @ bones[name].axis)
    for name in ends:
        offsets.append(bones[name].axis.T @ bones[name].offset)
        turns.append(np.eye(3))
    skeleton = Skeleton(
        names=(*names, *(f"{name}{take.END}" for name in ends)),
        parents=(-1, *(index[parents[name]] for name in parents), *(index[name] for name in ends)),
        offsets=np.array(offsets),
        channels=(*channels, *((),) * len(ends)),
        turns=np.array(turns),
    )
    return Bones(skeleton, columns, degrees, metre)


def _columns(first: np.ndarray, bones: Bones) -> list[tuple[int, tuple[int, ...]]]:
    """Of the bones in the first frame: the place of the name, and the columns of the numbers after it."""
    found, at = [], 1
    while at < len(first):
        name = bytes(first[at]).decode("utf-8", "replace")
        if name not in bones.columns:
            raise Unusable(
                Reason.BAD_SHAPE,
                f"{name[:40]!r} in frame 1. Expected a bone of the skeleton, with its degrees of freedom: is it "
                "another subject's?",
            )
        found.append((at, bones.columns[name]))
        at += 1 + len(bones.columns[name])
    if at != len(first):
        raise Unusable(Reason.UNREADABLE, "frame 1 ends within a bone: the file is truncated")
    return found


def _uneven(words: np.ndarray, width: int, names: set[bytes]) -> Unusable:
    """Why the frames are not all alike: the first that is not."""
    for k in range(len(words) // width + 1):
        row = words[k * width : (k + 1) * width]
        if len(row) < width or row[0] != str(k + 1).encode():
            break
        if any(a != b and (a in names or b in names) for a, b in zip(row, words[:width], strict=True)):
            break
    where = f"frame {k + 1:,} has not the bones and numbers of frame 1"
    return Unusable(Reason.UNREADABLE, f"{where}: the file is truncated or damaged")


def _floats(words: np.ndarray) -> Float64[np.ndarray, "T"]:
    try:
        return words.astype(np.float64)
    except ValueError:
        pass
    for k, word in enumerate(words):
        try:
            float(word)
        except ValueError:
            shown = bytes(word)[:40].decode("utf-8", "replace")
            raise Unusable(
                Reason.BAD_VALUE, f"{shown!r} in frame {k + 1:,}. Expected a number with a decimal point"
            ) from None
    raise AssertionError(words)
