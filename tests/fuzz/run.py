"""`python -m tests.fuzz.run COUNT SEED FOLDER DOOR...`: damages files and reads them, in a process of bounded memory.

Prints a JSON line for each case: what was damaged, and how it ended.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from mocap_ray.errors import UserError
from tests.fuzz.doors import DOORS, Door

ALLOWED = 1 << 30
"""Bytes of address space for the cases, beyond what the process has after its first sound one."""
LIMIT_S = 20
"""Seconds after which a case counts as hanging; they take milliseconds."""


class Hangs(BaseException):
    """A case takes too long."""


def _hangs(number: int, frame: FrameType | None) -> None:
    raise Hangs


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(count: int, seed: int, root: Path, names: list[str]) -> None:
    """Run the cases of each door."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _hangs)
    opened = {name: DOORS[name](root / name) for name in names}
    for name, door in opened.items():
        assert door.enter(door.copy()) is None, f"{name}: the sound files must work"
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ALLOWED,) * 2)
    for name, door in opened.items():
        for number in range(count):
            folder, what = door.case(np.random.default_rng([seed, number]))
            since = time.monotonic()
            end = _entered(door, folder)
            case = {"door": name, "case": number, "what": what, **end, "s": time.monotonic() - since}
            print(json.dumps(case), flush=True)


def _entered(door: Door, folder: Path) -> dict[str, str]:
    """How reading a folder ends."""
    signal.alarm(LIMIT_S)
    try:
        rejected = door.enter(folder)
        return {"end": "works"} if rejected is None else {"end": "sentence", "text": rejected}
    except UserError as error:
        return {"end": "sentence", "text": str(error)}
    except (Exception, Hangs) as error:
        return {"end": type(error).__name__, "text": traceback.format_exc()}
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
