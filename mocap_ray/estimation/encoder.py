"""The encoder: a vision transformer whose sequence begins with learned task tokens.

Pre-norm blocks (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021) as in ViTPose (Xu et al., 2022). Names of
modules are those of the published checkpoint, so its tensors fit without a table of names.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mocap_ray.estimation.geometry import PADDING, PATCH, TASK_TOKENS, Geometry

_EPS = 1e-6


class PatchEmbedding(nn.Module):
    """Patches of an image as tokens, row by row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH, padding=PADDING)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
        """The tokens of the patches."""
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """What each token takes from all of them."""
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, count, width))
        return out


class Mlp(nn.Module):
    """Two layers with an exact GELU between them; the hidden one is four times as wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each token by itself."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each added to its input.

    Args:
        drop_path: probability with which a training leaves a branch out of a sample (Huang et al., Deep Networks with
            Stochastic Depth, 2016).
    """

    def __init__(self, width: int, heads: int, *, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The tokens after both branches."""
        x = x + self._kept(self.attn(self.norm1(x)))
        return x + self._kept(self.mlp(self.norm2(x)))

    def _kept(self, branch: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The branch, zero for some samples of a training; the others are scaled, so that the mean stays."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(keep).div_(keep)


class Encoder(nn.Module):
    """Task tokens and patches of an image after all blocks.

    Args:
        geometry: the sizes.
        drop_path: rate of the last block; it grows linearly from 0 at the first one. The reference trains with 0.55.

    Attributes:
        recompute: whether a training keeps no activations inside of a block and computes them again in the backward
            pass: less memory for about a third more time.
    """

    def __init__(self, geometry: Geometry, *, drop_path: float = 0.0) -> None:
        super().__init__()
        rows, columns = geometry.grid
        self.recompute = False
        self.patch_embed = PatchEmbedding(geometry.width)
        # The first position is that of the class token of the pre-training, which is added to each patch.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, geometry.width))
        self.task_tokens = nn.Parameter(torch.zeros(1, TASK_TOKENS, geometry.width))
        rates = [drop_path * k / max(1, geometry.depth - 1) for k in range(geometry.depth)]
        self.blocks = nn.ModuleList(Block(geometry.width, geometry.heads, drop_path=rate) for rate in rates)
        self.last_norm = nn.LayerNorm(geometry.width, eps=_EPS)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.task_tokens, std=0.02)

    def forward(
        self, images: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B P D"]]:
        """Task tokens and image tokens.

        Args:
            images: RGB in 0..1, without mean and deviation, at the size of the geometry.
        """
        patches = self.patch_embed(images) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        x = torch.cat([self.task_tokens.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and self.training else block(x)
        x = self.last_norm(x)
        return x[:, :TASK_TOKENS], x[:, TASK_TOKENS:]
