"""The import of weights of an estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mocap_ray.estimation.geometry import SIZES
from mocap_ray.estimation.network import official_shapes
from tests.wording.scenes import House, scene


def _saved(house: House, values: Any) -> Path:
    path = house.root / "smplest_x.pth.tar"
    torch.save(values, path)
    return path


def _small(**changes: Any) -> dict[str, Any]:
    """A checkpoint of size S with one number per tensor in the file."""
    shapes = official_shapes(SIZES["s"])
    network = {f"module.{name}": torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    network |= {f"module.{name.replace('__', '.')}": value for name, value in changes.items()}
    return {"epoch": 7, "network": network, "optimizer": {"state": {0: {"exp_avg": torch.zeros(100_000)}}}}


@scene
def estimator_of_a_missing_file(house: House) -> str:
    return house.typed("estimator", "import", house.root / "nowhere.pth.tar")


@scene
def estimator_of_another_size(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small()))


@scene
def estimator_of_a_size_without_a_name(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small()), "--size", "xl")


@scene
def estimator_of_a_network_that_was_changed(house: House) -> str:
    changes = {"encoder__pos_embed": torch.zeros(1, 13, 384), "decoder__dec_feet__bias": torch.zeros(6)}
    return house.typed("estimator", "import", _saved(house, _small(**changes)), "--size", "s")


@scene
def estimator_of_a_file_of_vitpose(house: House) -> str:
    path = _saved(house, {"meta": {}, "state_dict": {"backbone.pos_embed": torch.zeros(3)}})
    return house.typed("estimator", "import", path)


@scene
def estimator_of_a_file_that_is_cut_short(house: House) -> str:
    path = _saved(house, _small())
    path.write_bytes(path.read_bytes()[:1000])
    return house.typed("estimator", "import", path)


@scene
def estimator_of_a_file_that_names_code(house: House) -> str:
    return house.typed("estimator", "import", _saved(house, _small(more=print)))


@scene
def estimator_that_is_imported(house: House) -> str:
    out = house.root / "s.safetensors"
    try:
        return house.typed("estimator", "import", _saved(house, _small()), "--size", "s", "--out", out)
    finally:
        out.unlink(missing_ok=True)  # 150 MB
