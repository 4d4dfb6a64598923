"""Ranges of rows of a clip: windows of a fixed length, or cuts of a longest length."""

from __future__ import annotations


def windows(rows: int, *, length: int, stride: int, start: int = 0) -> list[slice]:
    """Every complete window of `length` rows from `start` on, one every `stride` rows.

    >>> windows(10, length=4, stride=3)
    [slice(0, 4, None), slice(3, 7, None), slice(6, 10, None)]

    Args:
        rows: number of rows; fewer than `length` give no window, and a remainder at the end is dropped.
        length: rows of a window, at least 1.
        stride: rows between the starts of windows, at least 1; windows overlap if it is below `length`.
        start: the first row to use.

    Raises:
        ValueError: a length or stride below 1, or a start below 0.
    """
    for name, value, least in (("length", length, 1), ("stride", stride, 1), ("start", start, 0)):
        if value < least:
            raise ValueError(f"windows: {name} is {value}. Expected at least {least}.")
    return [slice(first, first + length) for first in range(start, rows - length + 1, stride)]


def cuts(rows: int, *, most: int, least: int) -> list[slice]:
    """Consecutive cuts of at most `most` rows that cover all rows; every cut but the last one or two has `most`.

    A rest of fewer than `least` rows would be lost, so the cut before it ends earlier and the last one has `least`.

    >>> cuts(500, most=196, least=20), cuts(400, most=196, least=20)
    ([slice(0, 196, None), slice(196, 392, None), slice(392, 500, None)], \
[slice(0, 196, None), slice(196, 380, None), slice(380, 400, None)])

    Args:
        rows: number of rows; at most `most` give one cut.
        most: rows of the longest cut, at least `2 * least - 1`, so that two cuts always have room for the rest.
        least: rows of the shortest cut, at least 1; only fewer rows than that in all give a shorter one.

    Raises:
        ValueError: `least` is below 1, or `most` below `2 * least - 1`.
    """
    if least < 1 or most < 2 * least - 1:
        raise ValueError(
            f"cuts: most is {most}, least is {least}. Expected 1 <= least and 2 * least - 1 <= most."
        )
    starts = list(range(0, max(rows, 1), most))
    if len(starts) > 1 and rows - starts[-1] < least:
        starts[-1] = rows - least
    return [slice(first, end) for first, end in zip(starts, [*starts[1:], rows], strict=True)]
