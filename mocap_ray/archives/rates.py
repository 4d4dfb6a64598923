"""Frame rates that takes have in the SMPL+H release of AMASS, which HumanML3D's index counts frames of.

About 5,000 takes have another frame rate in the SMPL-X release (nghorbani/amass, issue 49). Where the frames are the
same and only the stated rate differs, such as 60 instead of 120 fps, a frame number of the index means another frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mocap_ray.archives.tables import read_table
from mocap_ray.errors import UserError
from mocap_ray.motion.bounds import LEAST_FPS, MOST_FPS, in_range

EXPECTED = "a table with the columns recording, fps and, if known, frames (source.rates)"


@dataclass(frozen=True, slots=True)
class Rate:
    """What the SMPL+H release says about a take.

    Attributes:
        fps: its frame rate there.
        frames: its number of frames there; None means as many as at hand.
    """

    fps: float
    frames: int | None = None


KNOWN: Mapping[str, Rate] = MappingProxyType(
    {
        "CMU/62/62_11": Rate(60.0, 3703),  # IDEA-Research/Motion-X, issue 43: 120 fps in SMPL-X, same frames
        "CMU/80/80_63": Rate(60.0),  # IDEA-Research/Motion-X, issue 56
    }
)
"""Takes whose rate is known to differ, by their names without suffix. Others are found by the lengths of their rows
(`segments.counting`), or named in a table of the user."""


def read_rates(address: str) -> dict[str, Rate]:
    """A table of the user: names of takes as in the table -> their rates.

    Args:
        address: a CSV file with the columns recording, fps and, if known, frames.

    Raises:
        UserError: no such table, or an invalid row; the message names the line.
        OSError: the file cannot be read.
    """
    table = read_table(address, expected=EXPECTED)
    if not {"recording", "fps"} <= set(table.columns):
        raise UserError(f"{table.where}: columns {', '.join(table.columns)}. Expected {EXPECTED}.")
    found = {}
    for number, cells in table.rows:
        row = dict(zip(table.columns, cells, strict=True))
        try:
            rate = Rate(float(row["fps"]), int(row["frames"]) if row.get("frames") else None)
        except ValueError:
            rate = Rate(0.0)
        if not in_range(rate.fps) or (rate.frames is not None and rate.frames < 1):
            raise UserError(
                f"{table.where}, line {number}: fps {row['fps']!r}, frames {row.get('frames', '')!r}. Expected "
                f"{LEAST_FPS:g} to {MOST_FPS:,.0f} frames per second, and a whole number of frames or nothing."
            )
        found[row["recording"]] = rate
    return found
