"""A loader with the rules of MDM's, for exports in HumanML3D's layout.

Facts, from Tevet et al., "Human Motion Diffusion Model" (ICLR 2023), whose loader is that of Guo et al. (CVPR 2022): a
clip of fewer than 40 or of 200 or more frames is skipped; so is one without a caption; lengths become multiples of 4,
at most 196; rows are normalised with Mean.npy and Std.npy. A line of texts is `caption#tokens#start#end`, and a start
or end that is not 0 is a part of the clip, in seconds at 20 fps, to which the same limits apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

SHORTEST, FROM, LONGEST, STEP, FPS = 40, 200, 196, 4, 20


@dataclass(frozen=True)
class Item:
    name: str
    rows: np.ndarray
    captions: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]


class MdmClips(Dataset[tuple[str, torch.Tensor, int]]):
    """Caption, normalised rows padded to 196, and length, of each clip of a split that MDM does not skip."""

    def __init__(self, root: Path, split: str = "all") -> None:
        self.mean, self.std = np.load(root / "Mean.npy"), np.load(root / "Std.npy")
        self.items: list[Item] = []
        self.lengths: list[int] = []
        for name in (root / f"{split}.txt").read_text().split():
            rows = np.load(root / "new_joint_vecs" / f"{name}.npy")
            self.lengths.append(len(rows))
            if SHORTEST <= len(rows) < FROM:
                self._add(name, rows, (root / "texts" / f"{name}.txt").read_text().splitlines())

    def _add(self, name: str, rows: np.ndarray, lines: list[str]) -> None:
        whole: list[tuple[str, tuple[str, ...]]] = []
        for line in lines:
            caption, tokens, start, end = line.split("#")
            pairs = tuple(tokens.split(" "))
            assert all(pair.count("/") == 1 for pair in pairs)
            if float(start) == float(end) == 0.0:
                whole.append((caption, pairs))
                continue
            part = rows[int(float(start) * FPS) : int(float(end) * FPS)]
            if SHORTEST <= len(part) < FROM:
                self.items.append(Item(f"part_{name}", part, (caption,), (pairs,)))
        if whole:
            captions, tokens_of = zip(*whole, strict=True)
            self.items.append(Item(name, rows, captions, tokens_of))

    @property
    def clips(self) -> int:
        """Of the split, with those that are skipped."""
        return len(self.lengths)

    @property
    def frames(self) -> int:
        """Of all clips of the split."""
        return sum(self.lengths)

    @property
    def share(self) -> float:
        """Of all frames, those in clips that are not skipped."""
        return sum(len(item.rows) for item in self.items) / self.frames

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor, int]:
        item = self.items[index]
        length = min(len(item.rows) // STEP * STEP, LONGEST)
        rows = np.zeros((LONGEST, 263), np.float32)
        rows[:length] = ((item.rows - self.mean) / self.std)[:length]
        return item.captions[0], torch.from_numpy(rows), length
