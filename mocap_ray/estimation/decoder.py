"""The decoder: task tokens attend to the image, and linear heads read them.

Names of modules are those of the published checkpoint, which explains `fn`, `net` and `transformer.transformer`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mocap_ray.estimation.geometry import HEADS, TASK_TOKENS, Geometry, Head

_DEPTH = 6
_HEADS = 8
_INNER = 512  # 8 heads of 64, whatever the width of the tokens


def _attend(
    q: Float[Tensor, "B N I"], k: Float[Tensor, "B M I"], v: Float[Tensor, "B M I"]
) -> Float[Tensor, "B N I"]:
    q_heads, k_heads, v_heads = (x.view(*x.shape[:2], _HEADS, -1).transpose(1, 2) for x in (q, k, v))
    attended = functional.scaled_dot_product_attention(q_heads, k_heads, v_heads)
    return attended.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """The first `count` tokens attend to all tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * _INNER, bias=False)
        self.to_out = nn.Sequential(nn.Linear(_INNER, width))

    def forward(self, x: Float[Tensor, "B N D"], count: int) -> Float[Tensor, "B C D"]:
        """What the first tokens take from all of them."""
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        out: Tensor = self.to_out(_attend(q[:, :count], k, v))
        return out


class CrossAttention(nn.Module):
    """All tokens attend to those of the image, which no norm precedes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, _INNER, bias=False)
        self.to_kv = nn.Linear(width, 2 * _INNER, bias=False)
        self.to_out = nn.Sequential(nn.Linear(_INNER, width))

    def forward(self, x: Float[Tensor, "B N D"], image: Float[Tensor, "B P D"]) -> Float[Tensor, "B N D"]:
        """What all tokens take from the image."""
        out: Tensor = self.to_out(_attend(self.to_q(x), *self.to_kv(image).chunk(2, dim=-1)))
        return out


class FeedForward(nn.Module):
    """Two layers of the tokens' own width, with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The third member has the place of a dropout that is never used.
        self.net = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Identity(), nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each token by itself."""
        out: Tensor = self.net(x)
        return out


class Normed(nn.Module):
    """A module and the norm before it."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Float[Tensor, "B N D"], *more: Tensor | int) -> Float[Tensor, "B M D"]:
        """The module, of the tokens after the norm and of its other arguments as they are."""
        out: Tensor = self.fn(self.norm(x), *more)
        return out


class Layers(nn.Module):
    """Six layers of self-attention, cross-attention and feed-forward, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        kinds = (SelfAttention, CrossAttention, FeedForward)
        self.layers = nn.ModuleList(
            nn.ModuleList(Normed(width, kind(width)) for kind in kinds) for _ in range(_DEPTH)
        )

    def forward(self, x: Float[Tensor, "B N D"], image: Float[Tensor, "B P D"]) -> Float[Tensor, "B T D"]:
        """The task tokens after all layers; after the last one no others are computed, as nothing reads them."""
        for k, layer in enumerate(self.layers):
            own, cross, feed = layer.children()
            count = TASK_TOKENS if k == _DEPTH - 1 else x.shape[1]
            x = x[:, :count] + own(x, count)
            x = x + cross(x, image)
            x = x + feed(x)
        return x


class TokenTransformer(nn.Module):
    """The layers, after one learned vector is added to every token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer = Layers(width)

    def forward(self, x: Float[Tensor, "B N D"], image: Float[Tensor, "B P D"]) -> Float[Tensor, "B T D"]:
        """The task tokens after all layers."""
        out: Tensor = self.transformer(x + self.pos_embedding, image)
        return out


class HeadOutputs(NamedTuple):
    """What the heads give, in the dtype of the network; `read_out` makes rotations and a translation of it.

    Attributes:
        root, jaw: rotations of the pelvis and the jaw in six numbers, as `rotations.matrix_from_6d` reads them.
        body: those of the joints 1 to 21 of SMPL-X.
        left_hand, right_hand: those of 15 joints each.
        betas, expression: coefficients of SMPL-X.
        camera: x and y of the translation, metres, and the logit of its depth.
        wrists: orientation of the left and the right wrist in the camera's frame, an auxiliary task; None if it was
            not requested.
    """

    root: Float[Tensor, "B 6"]
    body: Float[Tensor, "B 21 6"]
    left_hand: Float[Tensor, "B 15 6"]
    right_hand: Float[Tensor, "B 15 6"]
    jaw: Float[Tensor, "B 6"]
    betas: Float[Tensor, "B 10"]
    expression: Float[Tensor, "B 10"]
    camera: Float[Tensor, "B 3"]
    wrists: Float[Tensor, "B 2 6"] | None


class Decoder(nn.Module):
    """From the tokens of the encoder to the numbers of the heads."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.transformer = TokenTransformer(geometry.width)
        self.token_conv = nn.Linear(geometry.width, geometry.token_width)
        for head in HEADS:
            read = (head.stop - head.start) * geometry.token_width
            self.add_module(f"dec_{head.name}", nn.Linear(read, head.size))

    def forward(
        self, task: Float[Tensor, "B T D"], image: Float[Tensor, "B P D"], *, wrists: bool
    ) -> HeadOutputs:
        """The numbers of the heads; those of the auxiliary one only if `wrists`."""
        tokens = self.token_conv(self.transformer(torch.cat([task, image], dim=1), image))
        got = {h.name: self._read(h, tokens) for h in HEADS if wrists or h.name != "hand_root_pose"}
        hands = got["hand_pose"].view(-1, 2, 15, 6)
        return HeadOutputs(
            root=got["body_root_pose"],
            body=got["body_pose"].view(-1, 21, 6),
            left_hand=hands[:, 0],
            right_hand=hands[:, 1],
            jaw=got["face_jaw_pose"],
            betas=got["body_shape"],
            expression=got["face_expression"],
            camera=got["body_cam"],
            wrists=got["hand_root_pose"].view(-1, 2, 6) if wrists else None,
        )

    def _read(self, head: Head, tokens: Float[Tensor, "B T C"]) -> Float[Tensor, "B O"]:
        read: Tensor = self.get_submodule(f"dec_{head.name}")(tokens[:, head.start : head.stop].flatten(1))
        return read
