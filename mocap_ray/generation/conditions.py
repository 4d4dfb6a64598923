"""What a generated motion is conditioned on: labels, a caption, keypoints, given frames, a path; each may be absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mocap_ray.generation.batch import frame_mask
from mocap_ray.generation.keypoints import BODY25
from mocap_ray.generation.text import TEXT_WIDTH
from mocap_ray.motion.features import WIDTH

ABSENT = 0
"""The number of a label that is absent; number k of a table is label k + 1 here."""
Keep = Mapping[str, Bool[Tensor, "B"]]
"""Which windows keep a condition, by its name in `flow_options.ConditionRates`."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The conditions of a batch of motions.

    Attributes:
        length: frames of each motion; it bounds what is generated, also where it is no condition.
        length_known: whether it is a condition.
        domain, style, action: labels, counted from 1; 0: absent.
        text: embedding of a caption; `text_known`: whether there is one.
        frames: given frames, features that are not normalised; `frames_known`: which are given.
        path: place of the root on the ground, metres, from a start at the origin that faces +Z; `path_known`: where.
        keypoints: x, y and confidence of P views, see `keypoints`; `keypoints_at`: the frame of each view, -1: absent.
    """

    length: Int[Tensor, "B"]
    length_known: Bool[Tensor, "B"]
    domain: Int[Tensor, "B"]
    style: Int[Tensor, "B"]
    action: Int[Tensor, "B"]
    text: Float[Tensor, "B E"]
    text_known: Bool[Tensor, "B"]
    frames: Float[Tensor, "B T 263"]
    frames_known: Bool[Tensor, "B T"]
    path: Float[Tensor, "B T 2"]
    path_known: Bool[Tensor, "B T"]
    keypoints: Float[Tensor, "B P 25 3"]
    keypoints_at: Int[Tensor, "B P"]

    @classmethod
    def none(cls, length: Int[Tensor, "B"], *, frames: int, views: int = 0) -> Conditions:
        """No condition.

        Args:
            length: frames of each motion.
            frames: of the longest, T.
            views: P.
        """
        B, device = len(length), length.device

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(B, *shape, dtype=dtype, device=device)

        return cls(
            length=length, length_known=zeros(dtype=torch.bool),
            domain=zeros(dtype=torch.int64), style=zeros(dtype=torch.int64), action=zeros(dtype=torch.int64),
            text=zeros(TEXT_WIDTH), text_known=zeros(dtype=torch.bool),
            frames=zeros(frames, WIDTH), frames_known=zeros(frames, dtype=torch.bool),
            path=zeros(frames, 2), path_known=zeros(frames, dtype=torch.bool),
            keypoints=zeros(views, len(BODY25), 3), keypoints_at=zeros(views, dtype=torch.int64) - 1,
        )  # fmt: skip

    @property
    def mask(self) -> Bool[Tensor, "B T"]:
        """True for the frames of each motion, False for padding."""
        return frame_mask(self.length, self.frames.shape[1])

    def kept(self, keep: Keep) -> Conditions:
        """These conditions, each only where it is kept; conditions that `keep` does not name are dropped."""
        no = torch.zeros_like(self.length_known)
        k = {name: keep.get(name, no) for name in NAMES}
        return replace(
            self,
            length_known=self.length_known & k["length"],
            domain=torch.where(k["domain"], self.domain, ABSENT),
            style=torch.where(k["style"], self.style, ABSENT),
            action=torch.where(k["action"], self.action, ABSENT),
            text_known=self.text_known & k["text"],
            frames_known=self.frames_known & k["frames"][:, None],
            path_known=self.path_known & k["path"][:, None],
            keypoints_at=torch.where(k["keypoints"][:, None], self.keypoints_at, -1),
        )

    def dropped(self) -> Conditions:
        """None of them; the lengths still bound the motions."""
        return self.kept({})

    def mapped(self, fn: Callable[[Tensor], Tensor]) -> Conditions:
        """A function applied to each tensor, such as one that moves it to a device."""
        return Conditions(**{f.name: fn(getattr(self, f.name)) for f in fields(self)})

    def beside(self, other: Conditions) -> Conditions:
        """The conditions of two batches of equal shapes as one batch."""
        return Conditions(
            **{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        )


NAMES = ("domain", "style", "action", "length", "text", "keypoints", "frames", "path")
"""All conditions, as in `flow_options.ConditionRates`."""
