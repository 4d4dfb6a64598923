"""Damaged files of every kind: each ends in a sentence of one line or works; nothing else, and never in a hang.

The doors run in a process of their own, whose address space is limited, so that a crash or an endless request for
memory fails the test and not its machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.doors import DOORS

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 900
"""Characters of a sentence, without the folder of the test."""


def _cases(doors: list[str], count: int, seed: int, root: Path) -> list[dict[str, Any]]:
    """How each case ended."""
    command = [sys.executable, "-m", "tests.fuzz.run", str(count), str(seed), str(root), *doors]
    # One arena and one thread: the limit counts address space, of which each further one reserves some.
    environment = {
        **os.environ,
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {lines[-1:]}: exit {done.returncode}\n{done.stderr[-3000:]}"
    return lines


def _check(doors: list[str], count: int, seed: int, root: Path) -> None:
    cases = _cases(doors, count, seed, root)
    assert len(cases) == count * len(doors)
    others = [c for c in cases if c["end"] not in ("works", "sentence")]
    assert not others, f"{len(others)} of {len(cases)}: {Counter(c['end'] for c in others)}\n" + "\n".join(
        f"{c['door']} {c['case']}, {c['what']}: {c['text']}" for c in others[:5]
    )
    for case in cases:
        if case["end"] == "sentence":
            text = case["text"]
            # Settings that differ are a list below their sentence.
            assert "\n" not in text or "cannot be resumed with other settings:\n" in text, case
            assert text.endswith("."), case
            assert len(text.replace(str(root), "")) < LONGEST, case
    for door in doors:
        # Most damage is noticed, and some of it is none: in padding, or in a value that may be any.
        ends = Counter(c["end"] for c in cases if c["door"] == door)
        assert ends["sentence"] > count / 4, (door, ends)


def test_two_hundred_damaged_files_end_in_a_sentence_or_work(tmp_path: Path) -> None:
    _check(list(DOORS), 40, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("door", DOORS)
def test_thousands_of_damaged_files_end_in_a_sentence_or_work(door: str, tmp_path: Path) -> None:
    _check([door], 800, 1, tmp_path)
