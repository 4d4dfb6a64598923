"""A plain reader of BVH, joint by joint and number by number: the oracle of tests, the baseline of the bench."""

from __future__ import annotations

import math
from pathlib import Path

Matrix = list[list[float]]


def _about(axis: str, degrees: float) -> Matrix:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "X":
        return [[1, 0, 0], [0, c, -s], [0, s, c]]
    if axis == "Y":
        return [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    return [[c, -s, 0], [s, c, 0], [0, 0, 1]]


def _times(A: Matrix, B: Matrix) -> Matrix:
    return [[sum(A[i][k] * B[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def _applied(A: Matrix, v: list[float]) -> list[float]:
    return [sum(A[i][k] * v[k] for k in range(3)) for i in range(3)]


def read(path: Path) -> list[dict[str, tuple[Matrix, list[float]]]]:
    """Of each frame: joint -> its global rotation and position, in units of the file."""
    words = path.read_text().split()
    names, parents, offsets, channels, stack = [], [], [], [], []
    at = 0
    while words[at] != "MOTION":
        word = words[at]
        if word in ("ROOT", "JOINT", "End"):
            names.append(f"{names[stack[-1]]}.end" if word == "End" else words[at + 1])
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0] * 3)
            channels.append([])
            at += 2
        elif word == "{":
            stack.append(len(names) - 1)
            at += 1
        elif word == "}":
            stack.pop()
            at += 1
        elif word == "OFFSET":
            offsets[stack[-1]] = [float(w) for w in words[at + 1 : at + 4]]
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            channels[stack[-1]] = words[at + 2 : at + 2 + count]
            at += 2 + count
        else:
            at += 1
    at = words.index("Time:", at) + 2
    frames = []
    while at < len(words):
        frame: dict[str, tuple[Matrix, list[float]]] = {}
        for name, parent, offset, own in zip(names, parents, offsets, channels, strict=True):
            place, turn = list(offset), [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
            for channel in own:
                value = float(words[at])
                at += 1
                if channel.endswith("position"):
                    place["XYZ".index(channel[0])] = value
                else:
                    turn = _times(turn, _about(channel[0], value))
            if parent >= 0:
                R, p = frame[names[parent]]
                place = [a + b for a, b in zip(p, _applied(R, place), strict=True)]
                turn = _times(R, turn)
            frame[name] = (turn, place)
        frames.append(frame)
    return frames
