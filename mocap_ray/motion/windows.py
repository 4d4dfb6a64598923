"""Windows of a fixed length over the rows of a clip."""

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
