"""A custom archive, as `source.archive: trap_archive:ARCHIVE`: AMASS files, and traps on the way.

What a recording does when it is read is in its name: `..._kill...` ends the process that reads it,
`..._flaky...` fails twice with an I/O error, `..._broken...` always does, `..._hungry...` takes 4 GiB of memory, and
`TRAP_SLEEP_S` slows every read.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from mocap_ray.archives import amass
from mocap_ray.archives.archive import Archive
from mocap_ray.motion.clip import Motion
from mocap_ray.records import Recording, Rejection
from mocap_ray.storage import Place


def read(place: Place, recording: Recording, *, fps: float | None = None) -> Motion | Rejection[Recording]:
    name = recording.name.rpartition("/")[2]
    time.sleep(float(os.environ.get("TRAP_SLEEP_S", "0")))
    if "_kill" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "_hungry" in name:
        bytearray(b"x") * 2**32
    if "_broken" in name:
        raise OSError(5, "the disk does not answer")
    if "_flaky" in name:
        marks = Path(os.environ["TRAP_MARKS"])
        tries = len(list(marks.glob(f"{name}.*")))
        (marks / f"{name}.{tries}").touch()
        if tries < 2:
            raise OSError(5, "the disk does not answer just now")
    return amass.read(place, recording, fps=fps)


ARCHIVE: Archive = replace(amass.ARCHIVE, name="trap", read=read)
