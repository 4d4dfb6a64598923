"""The network: image crops in, the numbers of the heads out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mocap_ray.estimation.decoder import Decoder, HeadOutputs
from mocap_ray.estimation.encoder import Encoder
from mocap_ray.estimation.geometry import UNTRAINED_HEADS, Geometry


class Network(nn.Module):
    """Encoder and decoder; its state dict has the names of the published checkpoint, without what is untrained there.

    Args:
        geometry: the sizes.
        drop_path: of the encoder's last block, in a training.
    """

    def __init__(self, geometry: Geometry, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.geometry = geometry
        self.encoder = Encoder(geometry, drop_path=drop_path)
        self.decoder = Decoder(geometry)

    def forward(self, images: Shaped[Tensor, "B 3 H W"], *, wrists: bool = False) -> HeadOutputs:
        """The numbers of the heads.

        Args:
            images: RGB crops at the size of the geometry, uint8, or floats in 0..1; without mean and deviation.
            wrists: whether to compute the auxiliary head of a training.

        Raises:
            ValueError: the images have another size.
        """
        expected = (self.geometry.height, self.geometry.image_width)
        if tuple(images.shape[2:]) != expected:
            raise ValueError(f"images of {tuple(images.shape[2:])} pixels. Expected {expected}.")
        task, image = self.encoder(self._floats(images))
        found: HeadOutputs = self.decoder(task, image, wrists=wrists)
        return found

    def _floats(self, images: Shaped[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        dtype = self.encoder.pos_embed.dtype
        # Divided in fp32: in bf16 the 256 levels of a pixel would become fewer.
        return (images.float() / 255 if images.dtype == torch.uint8 else images).to(dtype)


def network_size(images: Shaped[Tensor, "B 3 H W"]) -> Shaped[Tensor, "B 3 H2 W2"]:
    """Crops of twice the network's size, as the reference cuts them, at that size: every second pixel.

    To warp an image straight to the network's size gives the same pixels in a quarter of the time.
    """
    return images[..., ::2, ::2]


def untrained_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of the published checkpoint that nothing ever trained."""
    shapes: dict[str, tuple[int, ...]] = {}
    for head in UNTRAINED_HEADS:
        read = (head.stop - head.start) * geometry.token_width
        shapes[f"decoder.dec_{head.name}.weight"] = (head.size, read)
        shapes[f"decoder.dec_{head.name}.bias"] = (head.size,)
    embedding = "decoder.transformer.to_token_embedding"
    return {**shapes, f"{embedding}.weight": (geometry.width, 80), f"{embedding}.bias": (geometry.width,)}


def official_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all tensors of a checkpoint of the reference: 519 at the published size."""
    with torch.device("meta"):  # no memory
        trained = Network(geometry).state_dict()
    return {name: tuple(t.shape) for name, t in trained.items()} | untrained_shapes(geometry)
