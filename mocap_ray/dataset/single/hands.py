"""Hands of annotation files as angles from the flat hand, as in the data sets of this package.

`smplx` builds a hand pose as `coefficients @ components + mean`, with `use_pca` and without `flat_hand_mean`. So a file
may hold angles from the flat hand, angles from the model's mean hand, or coefficients of its principal components.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Float

from mocap_ray.archives.layouts import Unusable
from mocap_ray.errors import UserError
from mocap_ray.motion.clip import Reason
from mocap_ray.npz import NpzError, open_npz
from mocap_ray.storage import Place, place, without_secrets

SIDES = ("left", "right")
WIDTH = 45


class UnknownHands(Exception):
    """Hands that cannot be brought to angles from the flat hand; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class HandModel:
    """What a body model says about hands.

    Attributes:
        means: of the left and the right hand, rad.
        components: principal components of both, one per row; None if the file has none.
        sha256: of these numbers.
    """

    means: tuple[Float[np.ndarray, "45"], Float[np.ndarray, "45"]]
    components: tuple[Float[np.ndarray, "K 45"], Float[np.ndarray, "K 45"]] | None
    sha256: str


def read_hand_model(address: str) -> HandModel:
    """Read the hands of an SMPL+H or SMPL-X model file (.npz).

    Raises:
        UserError: no such file, or no hands in it.
    """
    head, _, name = address.rpartition("/")
    folder, shown = place(head or ("/" if address.startswith("/") else ".")), without_secrets(address)
    expected = "Expected the .npz of an SMPL-X or SMPL+H model (hands_meanl, hands_meanr), such as SMPLX_NEUTRAL.npz."
    if not folder.exists(name):
        raise UserError(f"source.hand_model {shown}: no such file. {expected}")
    if PurePosixPath(name).suffix != ".npz":
        raise UserError(
            f"source.hand_model {shown}: no .npz file. {expected} `mocap-ray body convert` makes one from a .pkl."
        )
    try:
        return _read(folder, name)
    except NpzError as error:
        raise UserError(f"source.hand_model {shown}: {error.message}. {expected}") from error


def _read(folder: Place, name: str) -> HandModel:
    digest = hashlib.sha256()
    found: dict[str, np.ndarray] = {}
    with open_npz(folder, name) as file:
        for key in ("hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr"):
            if "components" in key and key not in file:
                continue
            array = np.asarray(file.read(key), np.float64)
            if array.shape[-1:] != (WIDTH,) or array.ndim != (2 if "components" in key else 1):
                raise NpzError("bad_shape", f"'{key}' is {array.shape}")
            digest.update(f"{key} {array.shape}\n".encode() + array.astype("<f8").tobytes())
            found[key] = array
    both = [found[key] for key in ("hands_componentsl", "hands_componentsr") if key in found]
    return HandModel(
        (found["hands_meanl"], found["hands_meanr"]),
        (both[0], both[1]) if len(both) == 2 else None,
        digest.hexdigest(),
    )


def from_flat(
    stored: np.ndarray, key: str, *, side: str, flat: bool | None, model: HandModel | None
) -> Float[np.ndarray, "N 45"]:
    """Angles from the flat hand, [N, 45] rad; zero where the hand is not given.

    A stored hand of exact zeros is not given, and neither is one that equals the model's mean hand: annotations fill
    missing hands with either.

    Args:
        stored: [N, 15, 3], [N, 45] or, as principal components, [N, K].
        key: its name, for messages.
        side: `left` or `right`.
        flat: whether the angles count from the flat hand (`flat_hand_mean`); None if the file does not say.
        model: the hands of the body model, if there is one.

    Raises:
        UnknownHands: `flat` or `model` is needed, and not known.
        Unusable: another shape.
    """
    rows = len(stored) if stored.ndim else 0
    value = np.asarray(stored.reshape(rows, -1) if rows and stored.ndim in (2, 3) else stored, np.float64)
    if value.ndim != 2 or not 0 < value.shape[1] <= WIDTH or (stored.ndim == 3 and value.shape[1] != WIDTH):
        raise Unusable(
            Reason.BAD_SHAPE,
            f"'{key}' is {stored.shape}. Expected (N, 15, 3), (N, 45), or (N, K) of principal components",
        )
    given: np.ndarray = np.asarray(value.any(axis=1))
    if not given.any():
        return np.zeros((rows, WIDTH))
    number = SIDES.index(side)
    if value.shape[1] < WIDTH:
        value = _expanded(value, key, number, model)
    if flat is None:
        raise UnknownHands(
            f"'{key}' has hands, but nothing says whether their angles count from the flat hand or from the model's "
            "mean hand (misc.flat_hand_mean). Set source.flat_hand_mean"
        )
    if not flat:
        if model is None:
            raise UnknownHands(
                f"'{key}' counts from the mean hand of the body model (flat_hand_mean is false). Set source.hand_model "
                "to its .npz file"
            )
        value = value + model.means[number]
    if model is not None:
        # So that NaN, which is found later with the number of its instance, is not taken for the mean hand.
        given &= ~(np.abs(value - model.means[number]).max(axis=1) <= 1e-6)
    return np.where(given[:, None], value, 0.0)


def _expanded(value: np.ndarray, key: str, number: int, model: HandModel | None) -> np.ndarray:
    """Principal components as angles."""
    count = value.shape[1]
    if model is None or model.components is None or len(model.components[number]) < count:
        raise UnknownHands(
            f"'{key}' is {value.shape}: {count} principal components instead of 45 angles. Set source.hand_model to "
            "the .npz file of the body model that has them (hands_componentsl, hands_componentsr)"
        )
    return np.asarray(value @ model.components[number][:count])
