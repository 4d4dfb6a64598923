"""What a training says before and after Ray runs, and priors to those who load, judge and draw from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import mocap_ray
from mocap_ray.distributed.resources import Capacity, share
from mocap_ray.distributed.waiting import given_up, shrunk, waiting
from mocap_ray.runs.train import TrainConfig, TrainRay
from mocap_ray.training import session
from mocap_ray.training.lockstep import train_locally
from tests.dataset import made
from tests.wording.scenes import House, scene


def _train(house: House, *words: str, **keys: Any) -> str:
    """Type `mocap-ray train`, with keys as in `House.extract`; what it refuses ends it before Ray starts."""
    known: dict[str, Any] = {
        "data.root": house.data_set,
        "data.joints": "body",
        "training.max_epochs": 1,
        "training.closed_form": "true",
        "output.root": house.training,
    }
    changes = {key.replace("__", "."): value for key, value in keys.items()}
    texts = [f"{key}={value}" for key, value in (known | changes).items()]
    return house.typed("train", "gaussian_prior", *words, "--override", *texts)


def _locally(house: House, name: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """Train in this process."""
    values = house.training_values(house.root / name, **sections)
    return train_locally(TrainConfig.model_validate(values).setup())


def _copy(house: House, name: str) -> Path:
    """The finished training, to damage."""
    return Path(shutil.copytree(house.training, house.root / name, dirs_exist_ok=True))


@scene
def training_config_with_several_problems(house: House) -> str:
    return _train(
        house, model__hiden=8, data__joints="[left_nee]", training__scheduler="cosin", ray__workers=0
    )


@scene
def training_with_an_override_that_is_mistyped(house: House) -> str:
    return _train(house, training__epochz=3)


@scene
def training_with_an_override_without_its_section(house: House) -> str:
    return house.typed("train", "gaussian_prior", "--override", "max_epochs=3", "data.batch_size=0")


@scene
def training_with_key_names_of_the_guide(house: House) -> str:
    keys = ["training.scheduler_type=plateau", "training.grad_clip_val=1", "training.batch_size=64"]
    flow = ["model.use_conditioning=true", "model.n_layers=3", "hardware.precision=16-mixed"]
    return house.typed("train", "global_flow", "--override", *keys, *flow)


@scene
def training_with_a_config_file_of_the_guide(house: House) -> str:
    path = house.written(
        "guide.yaml",
        "model: {kind: hand_vae, n_layers: 3}\n"
        "training: {beta_max: 1.0, kl_warmup_epochs: 10, scheduler_type: cosine, gradient_clip_val: 1.0}\n"
        "data: {data_dir: DIR/data_set, num_workers: 4, root: DIR/data_set}\n"
        "hardware: {accelerator: auto, devices: auto, precision: 16-mixed}\n"
        "logging: {logger: wandb, project_name: hands, save_top_k: 3}\n"
        "output: {root: DIR/hands}\n",
    )
    return house.typed("train", path)


@scene
def training_of_an_unknown_kind(house: House) -> str:
    return _train(house, model__kind="joint_flows")


@scene
def training_config_that_is_not_there(house: House) -> str:
    return house.typed("train", "joint_flows")


@scene
def training_without_a_data_set(house: House) -> str:
    return _train(house, data__root=house.root / "nowhere")


@scene
def training_on_a_split_that_is_not_there(house: House) -> str:
    return _train(house, data__train="training")


@scene
def training_on_a_sub_dataset_that_is_not_there(house: House) -> str:
    return _train(house, data__dataset="KIT")


@scene
def training_validated_on_what_it_trains_on(house: House) -> str:
    return _train(house, data__val="train")


@scene
def training_with_fewer_subjects_than_folds(house: House) -> str:
    return _train(house, data__folds=40)


@scene
def training_of_one_fold(house: House) -> str:
    return _train(house, data__folds=1)


@scene
def training_of_a_fold_that_is_not_there(house: House) -> str:
    return _train(house, data__folds=3, data__fold=3)


@scene
def training_of_a_fold_without_folds(house: House) -> str:
    return _train(house, data__fold=0)


@scene
def training_with_lists_of_folds_that_name_unknown_subjects(house: House) -> str:
    return _train(house, data__folds="[[CMU/01], [CMU/nobody, CMU/noone]]")


@scene
def training_with_a_subject_in_two_folds(house: House) -> str:
    return _train(house, data__folds="[[CMU/01], [CMU/01]]")


@scene
def training_with_an_empty_list_of_a_fold(house: House) -> str:
    return _train(house, data__folds="[[], [CMU/01]]")


@scene
def all_folds_where_one_training_is_expected(house: House) -> object:
    values = house.training_values(house.root / "one", data={"folds": 2})
    return session.run(TrainConfig.model_validate(values).setup())


@scene
def prior_of_all_folds(house: House) -> object:
    house.written("folds/folds/0/config.yaml", "")
    house.written("folds/folds/1/config.yaml", "")
    return mocap_ray.load_prior(house.root / "folds")


@scene
def training_into_a_data_set(house: House) -> str:
    return _train(house, output__root=house.data_set)


@scene
def training_where_there_is_one_already(house: House) -> str:
    return _train(house)


@scene
def training_of_hands_that_do_not_move(house: House) -> str:
    def still(number: int, frames: int) -> np.ndarray:
        return np.full((frames, 55, 3), 0.1, np.float32)

    root = house.root / "still"
    made.make(root, poses=still)
    return house.typed(
        "train", "hand_vae", "--override", f"data.root={root}", f"output.root={house.root / 'vae'}"
    )


@scene
def training_resumed_with_other_settings(house: House) -> str:
    return _train(house, "--resume", training__learning_rate=0.5, training__seed=3)


@scene
def training_resumed_on_another_data_set(house: House) -> str:
    return _train(house, "--resume", data__root=house.flow)


@scene
def training_whose_gradient_is_not_finite(house: House) -> object:
    settings = {"closed_form": False, "learning_rate": 1e30, "max_epochs": 9, "grad_clip": None}
    return _locally(house, "explodes", training=settings, data={"batch_size": 1000})


@scene
def training_with_a_closed_form_that_the_model_lacks(house: House) -> object:
    return _locally(house, "no_closed_form", model={"kind": "joint_flow", "hidden": 8, "K": 1})


@scene
def training_on_a_gpu_that_is_not_there(house: House) -> object:
    return share(TrainRay(), Capacity(4, 0), device="cuda")


@scene
def training_with_more_workers_than_there_can_be(house: House) -> object:
    return share(TrainRay(workers=5, gpus_per_worker=0), Capacity(cpus=4, gpus=0))


@scene
def training_with_more_workers_than_the_one_that_fits(house: House) -> object:
    return share(TrainRay(workers=2), Capacity(cpus=2, gpus=1))


@scene
def run_that_waits_for_nodes(house: House) -> object:
    return waiting(Capacity(1, 0), Capacity(0, 0), 33, of="this run")


@scene
def run_that_waited_in_vain(house: House) -> object:
    return given_up(Capacity(2, 1), Capacity(1, 0), 900, of="the first trial")


@scene
def training_whose_node_was_lost(house: House) -> object:
    return shrunk(Capacity(2, 0), Capacity(1, 0), of="this training")


@scene
def prior_that_is_not_there(house: House) -> object:
    return mocap_ray.load_prior(house.root / "nowhere")


@scene
def prior_in_a_folder_without_one(house: House) -> object:
    return mocap_ray.load_prior(house.flow)


@scene
def prior_in_a_file_that_is_none(house: House) -> object:
    return mocap_ray.load_prior(house.written("notes.txt", "to do"))


@scene
def checkpoint_cut_short(house: House) -> object:
    path = _copy(house, "cut") / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:1000])
    return mocap_ray.load_prior(path)


@scene
def export_whose_weights_are_of_another(house: House) -> object:
    folder = _copy(house, "mixed") / "export"
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    return mocap_ray.load_prior(folder)


@scene
def export_whose_description_is_damaged(house: House) -> object:
    folder = _copy(house, "undescribed") / "export"
    (folder / "prior.json").write_text("{")
    return mocap_ray.load_prior(folder)


@scene
def export_of_a_newer_format(house: House) -> object:
    path = _copy(house, "newer_prior") / "export" / "prior.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9}))
    return mocap_ray.load_prior(path)


@scene
def export_of_a_model_that_is_not_known_here(house: House) -> object:
    path = _copy(house, "foreign_prior") / "export" / "prior.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "model": {**about["model"], "wings": 2}}))
    return mocap_ray.load_prior(path)


@scene
def evaluation_of_no_prior(house: House) -> str:
    return house.typed("evaluate", house.root / "nowhere")


@scene
def evaluation_on_a_split_that_is_not_there(house: House) -> str:
    return house.typed("evaluate", house.training, "--split", "validation")


@scene
def evaluation_on_a_device_that_is_not_there(house: House) -> str:
    return house.typed("evaluate", house.training, "--device", "tpu")


@scene
def evaluation_after_its_data_set_moved(house: House) -> str:
    return house.typed("evaluate", house.training, "--data", house.root / "moved")


@scene
def limits_between_quantiles_that_are_percentages(house: House) -> str:
    return house.typed("evaluate", house.training, "--limits", "--quantiles", "1", "99")


@scene
def comparison_of_nothing(house: House) -> str:
    return house.typed("compare")


@scene
def samples_into_a_file_of_another_kind(house: House) -> str:
    return house.typed("sample", house.training, "--out", house.root / "poses.csv")


@scene
def samples_with_pictures_into_a_folder(house: House) -> str:
    out = house.root / "poses.npz"
    return house.typed("sample", house.training, "--out", out, "--pictures", house.root)


@scene
def one_sample(house: House) -> str:
    page = house.root / "poses.html"
    return house.typed(
        "sample", house.training, "--count", 1, "--out", house.root / "one.npz", "--pictures", page
    )
