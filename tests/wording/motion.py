"""What trainings and evaluations of models of motion say to those who ask for what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mocap_ray
from mocap_ray.errors import UserError
from mocap_ray.generation.requests import Request
from mocap_ray.generation.sampling import sample
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import make
from tests.generation.made import EVERY, TINY_FLOW, flow, model, rows, setup, two_domains
from tests.wording.scenes import House, scene

VAE, EVALUATOR, FLOW = "motion_vae", "motion_evaluator", "motion_flow"


def _data(house: House) -> Path:
    """Two domains with styles."""
    return house._once("dances", two_domains)


def _trained(house: House, kind: str) -> Path:
    """A training of one epoch."""
    small: dict[str, Any] = {} if kind == VAE else {"model": {"kind": kind, "width": 8, "features": 4}}
    return house._once(
        kind,
        lambda root: train_locally(setup(_data(house), root, training={"max_epochs": 1}, **small)),
    )


def _train(house: House, *texts: str) -> str:
    out = f"output.root={house.root / 'new_motion'}"
    return house.typed("train", VAE, "--override", f"data.root={_data(house)}", out, *texts)


@scene
def motion_vae_with_keys_of_the_other_variant(house: House) -> str:
    return _train(house, "model.variant=reference", "model.compression=2", "model.free_bits=0.1")


@scene
def motion_vae_whose_width_does_not_fit_its_heads(house: House) -> str:
    return _train(house, "model.width=100")


@scene
def motion_vae_of_a_domain_that_is_not_there(house: House) -> str:
    return _train(house, "data.domains={aist: 1, grab: 2}")


@scene
def motion_vae_of_domains_without_weight(house: House) -> str:
    return _train(house, "data.domains={aist: 0}")


@scene
def motion_vae_of_a_split_that_is_not_there(house: House) -> str:
    return _train(house, "data.train=holdout")


@scene
def window_that_is_longer_than_the_reference_knows(house: House) -> object:
    made = model(VAE, {"variant": "reference", "width": 8, "heads": 2, "positions": 8})
    return made.loss(rows([9], size=9))


@scene
def motion_model_that_is_not_there(house: House) -> object:
    return mocap_ray.load_motion_model(house.root / "absent")


@scene
def motion_model_that_is_a_prior(house: House) -> object:
    return mocap_ray.load_motion_model(house.training)


@scene
def motion_model_whose_weights_are_of_another(house: House) -> object:
    copy = Path(shutil.copytree(_trained(house, VAE) / "export", house.root / "other_motion"))
    about = json.loads((copy / "motion_model.json").read_text())
    (copy / "motion_model.json").write_text(json.dumps({**about, "styles": ["calm"]}))
    return mocap_ray.load_motion_model(copy)


@scene
def motion_evaluation_with_options_of_priors(house: House) -> str:
    return house.typed("evaluate", _trained(house, VAE), "--limits")


@scene
def motion_evaluation_by_a_model_that_is_no_evaluator(house: House) -> str:
    return house.typed("evaluate", _trained(house, VAE), "--evaluator", _trained(house, VAE))


@scene
def motion_evaluation_of_an_evaluator(house: House) -> str:
    return house.typed("evaluate", _trained(house, EVALUATOR))


@scene
def motion_evaluation_on_a_split_that_is_not_there(house: House) -> str:
    return house.typed("evaluate", _trained(house, VAE), "--data", house.data_set, "--split", "nonesuch")


@scene
def motion_evaluation_on_another_profile(house: House) -> str:
    return house.typed("evaluate", _trained(house, VAE), "--data", house.flow, "--split", "val")


@scene
def prior_evaluated_by_an_evaluator_of_motion(house: House) -> str:
    return house.typed("evaluate", house.training, "--evaluator", _trained(house, EVALUATOR))


def _trained_flow(house: House) -> Path:
    """A flow of one epoch."""
    sections = {
        "training": {"max_epochs": 1},
        "model": {"kind": FLOW, "vae": str(_trained(house, VAE)), **TINY_FLOW},
    }
    return house._once("trained_flow", lambda root: train_locally(setup(_data(house), root, **sections)))


def _train_flow(house: House, vae: Path | str, data: Path | None = None) -> str:
    out = f"output.root={house.root / 'new_flow'}"
    return house.typed(
        "train", FLOW, "--override", f"data.root={data or _data(house)}", out, f"model.vae={vae}"
    )


@scene
def flow_whose_vae_is_not_there(house: House) -> str:
    return _train_flow(house, house.root / "absent")


@scene
def flow_whose_vae_is_an_evaluator(house: House) -> str:
    return _train_flow(house, _trained(house, EVALUATOR))


@scene
def flow_on_another_data_set_than_its_vae(house: House) -> str:
    return _train_flow(house, _trained(house, VAE), house.flow)


@scene
def flow_on_a_domain_that_its_vae_does_not_know(house: House) -> str:
    def other(root: Path) -> None:
        make(root, columns=("features",), clips={("X", "train"): 2}, domains={"X": "grab"})

    return _train_flow(house, _trained(house, VAE), house._once("grabs", other))


@scene
def motion_evaluation_by_a_flow(house: House) -> str:
    return house.typed("evaluate", _trained_flow(house), "--evaluator", _trained_flow(house))


@scene
def samples_with_a_style_and_with_conditions_that_a_flow_does_not_know(house: House) -> object:
    found = []
    made = flow(conditions={**EVERY, "text": 0.0})
    for request in ({"style": "angry"}, {"text": "a person walks"}):
        try:
            sample(made, [Request.model_validate(request)], steps=1)
        except UserError as error:
            found.append(str(error))
    return "\n".join(found)


@scene
def flow_without_a_vae(house: House) -> str:
    return _train_flow(house, "null")


@scene
def student_without_its_teacher(house: House) -> str:
    out = [f"output.root={house.root / 'new_flow'}", f"model.vae={_trained(house, VAE)}"]
    return house.typed(
        "train", FLOW, "--override", f"data.root={_data(house)}", *out, "data.pairs=data/pairs"
    )


@scene
def student_whose_pairs_are_a_data_set_of_motion(house: House) -> str:
    out = [f"output.root={house.root / 'new_flow'}", f"model.teacher={_trained_flow(house)}"]
    data = _data(house)
    return house.typed("train", FLOW, "--override", f"data.root={data}", *out, f"data.pairs={data}")
