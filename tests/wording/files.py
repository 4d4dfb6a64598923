"""Files that were edited or damaged since this package wrote them, and runs that would delete or lose something."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mocap_ray
from mocap_ray.lock import lock
from mocap_ray.storage import place
from tests.wording.scenes import House, scene
from tests.wording.searches import _search
from tests.wording.trainings import _copy, _train


def _edited(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A JSON file after a change of its values."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def _data_set(house: House, name: str) -> Path:
    """A copy of the data set, to damage."""
    return Path(shutil.copytree(house.data_set, house.root / name, dirs_exist_ok=True))


@scene
def manifest_whose_totals_are_text(house: House) -> str:
    root = _data_set(house, "totals")
    _edited(root / "manifest.json", lambda m: m["totals"].update(clips="many"))
    return house.typed("page", root)


@scene
def manifest_without_columns(house: House) -> str:
    root = _data_set(house, "no_columns")
    _edited(root / "manifest.json", lambda m: m.pop("columns"))
    return house.typed("export", "npy", root, house.root / "never")


@scene
def manifest_that_is_nested_deeply(house: House) -> str:
    root = _data_set(house, "nested")
    (root / "manifest.json").write_text("[" * 100_000)
    return house.typed("page", root)


@scene
def manifest_that_names_a_file_outside(house: House) -> str:
    root = _data_set(house, "outside")
    _edited(root / "manifest.json", lambda m: m["shards"][0].update(path="../../etc/passwd"))
    return house.typed("page", root)


@scene
def shard_that_is_damaged(house: House) -> str:
    root = _data_set(house, "damaged")
    path = sorted((root / "clips").rglob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-40])
    path.rename(path.with_name("shard.parquet"))
    name = str(path.with_name("shard.parquet").relative_to(root))
    _edited(root / "manifest.json", lambda m: m["shards"][0].update(path=name))
    return house.typed("page", root)


@scene
def statistics_that_are_damaged(house: House) -> str:
    root = _data_set(house, "no_statistics")
    (root / "statistics.npz").write_bytes(b"PK")
    return house.typed("page", root)


@scene
def rejections_that_are_damaged(house: House) -> str:
    root = _data_set(house, "no_rejections")
    (root / "rejected.parquet").write_bytes(b"PAR1PAR1")
    return house.typed("page", root)


@scene
def recipe_that_is_damaged(house: House) -> str:
    assert house.extracted.is_dir()
    root = Path(shutil.copytree(house.extracted, house.root / "no_recipe", dirs_exist_ok=True))
    (root / "recipe.json").write_text("[]")
    return house.extract(out="no_recipe")


@scene
def mark_of_an_export_that_is_damaged(house: House) -> str:
    house.written("export/export.json", "7")
    return house.typed("export", "npy", house.data_set, house.root / "export")


@scene
def prior_that_claims_billions_of_layers(house: House) -> object:
    path = _copy(house, "layers") / "export" / "prior.json"
    model = {"kind": "joint_flow", "K": 10**9}
    return mocap_ray.load_prior(_edited(path, lambda about: about.update(model=model)))


@scene
def prior_that_claims_more_than_its_tensors(house: House) -> object:
    path = _copy(house, "wide") / "export" / "prior.json"
    model = {"kind": "global_flow", "K": 256, "hidden": 65_536}
    return mocap_ray.load_prior(_edited(path, lambda about: about.update(model=model)))


@scene
def prior_whose_coordinates_are_damaged(house: House) -> object:
    path = _copy(house, "coordinates") / "export" / "prior.json"
    return mocap_ray.load_prior(_edited(path, lambda about: about["coordinates"]["std"].pop()))


@scene
def prior_whose_model_is_damaged(house: House) -> str:
    path = _copy(house, "no_model") / "export" / "prior.json"
    _edited(path, lambda about: about.update(model=[]))
    return house.typed("evaluate", path)


@scene
def training_resumed_from_a_checkpoint_of_something_else(house: House) -> str:
    import torch

    folder = _copy(house, "foreign_last")
    path = folder / "checkpoints" / "last.pt"
    saved = torch.load(path, weights_only=True)
    saved["state"]["counters"]["epoch"] = "two"
    torch.save(saved, path)
    return _train(house, "--resume", output__root=folder)


@scene
def training_resumed_and_replaced_at_once(house: House) -> str:
    return _train(house, "--resume", "--overwrite")


@scene
def training_in_use(house: House) -> str:
    with lock(place(house.training), what="training"):
        return _train(house)


@scene
def search_resumed_and_replaced_at_once(house: House) -> str:
    return _search(house, "--resume", "--overwrite")


@scene
def search_that_would_replace_what_is_none(house: House) -> str:
    house.written("papers/draft.tex", "precious")
    return _search(house, "--overwrite", output={"root": str(house.root / "papers")})


@scene
def search_resumed_from_a_damaged_config(house: House) -> str:
    house.written("broken_search/search.yaml", "- a\n- b\n")
    return _search(house, "--resume", output={"root": str(house.root / "broken_search")})


@scene
def config_with_a_date_that_is_none(house: House) -> str:
    path = house.written("dated.yaml", "source: {root: 2024-13-45}\n")
    return house.typed("extract", path)


@scene
def config_with_a_home_of_nobody(house: House) -> str:
    return house.extract(out="home", source__root="~nobody-here/amass")
