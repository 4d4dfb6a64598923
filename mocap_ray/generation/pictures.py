"""A picture of reconstructions, for trackers that show pictures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mocap_ray.drawing import pixels
from mocap_ray.generation.batch import Windows
from mocap_ray.generation.motion_vae import MotionVAE
from mocap_ray.motion.features import decode


@torch.no_grad()
def reconstructions(model: MotionVAE, windows: Windows) -> UInt8[np.ndarray, "H W 3"]:
    """The middle frames of windows above those of their reconstructions; restores the mode of the model."""
    training = model.training
    model.eval()
    found = reconstructed(model, windows)
    model.train(training)
    rows = []
    for features in (windows.features, found):
        joints = decode(features.float().cpu().numpy())
        middle = joints[np.arange(len(joints)), windows.length.cpu().numpy() // 2]
        middle[..., [0, 2]] -= middle[:, :1, [0, 2]]
        rows.append(pixels.sheet(_padded(middle), hands=False))
    return np.concatenate(rows)


def reconstructed(model: MotionVAE, windows: Windows) -> torch.Tensor:
    """Features of windows through the means of their latents, [B, L, 263], zeros beyond the length."""
    known = {"length": windows.length, "domain": windows.domain, "style": windows.style}
    z = model.encode(windows.features, **known).mean
    return model.decode(z, frames=windows.features.shape[1], **known)


def _padded(joints: Float[np.ndarray, "N 22 3"]) -> Float[np.ndarray, "N 65 3"]:
    """Joints with places for those of the hands, which features do not have."""
    out = np.zeros((len(joints), 65, 3))
    out[:, :22] = joints
    return out
