"""Training configs: every problem at once, with suggestions, also inside the model's own section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mocap_ray.config import ConfigError, load
from mocap_ray.priors import MODELS
from mocap_ray.runs.train import TrainConfig


def _load(text: str, folder: Path, *overrides: str) -> TrainConfig:
    path = folder / "train.yaml"
    path.write_text(text)
    return load(str(path), TrainConfig, kind="train", overrides=overrides)


def _problems(text: str, folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        _load(text, folder, *overrides)
    return str(error.value)


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_has_a_shipped_config(kind: str) -> None:
    config = load(kind, TrainConfig, kind="train")
    assert config.model.kind == kind
    assert config.data.joints == ("hands" if kind == "hand_vae" else "all")


def test_overrides_reach_the_models_section_and_exponents_without_a_dot_are_numbers() -> None:
    config = load(
        "joint_flow", TrainConfig, kind="train", overrides=["model.hidden=256", "training.learning_rate=1e-4"]
    )
    assert config.model.hidden == 256  # type: ignore[union-attr]
    assert config.training.learning_rate == 1e-4


def test_all_problems_are_reported_together_with_suggestions(tmp_path: Path) -> None:
    text = (
        "model: {kind: joint_flow, hiden: 3, K: 0}\n"
        "data: {root: x, batchsize: 3, joints: [left_knee, lft_hip]}\n"
        "training: {learning_rate: -1, shceduler: cosine}\noutput: {}\n"
    )
    found = _problems(text, tmp_path, "training.patience=soon")
    for line in (
        "8 problems",
        "model.K: should be greater than or equal to 1 (found 0)",
        "model.hiden: unknown key. Did you mean 'hidden'?",
        "data.batchsize: unknown key. Did you mean 'batch_size'?",
        "lft_hip unknown",
        "training.learning_rate: should be greater than 0 (found -1)",
        "training.shceduler: unknown key. Did you mean 'scheduler'?",
        "training.patience",
        "output.root: missing",
    ):
        assert line in found, found


GUIDE = {
    "gaussian_prior": "model.num_joints model.dim",
    "joint_flow": "model.num_joints model.cond_dim model.n_layers",
    "global_flow": "model.pose_dim model.cond_dim model.use_conditioning model.n_layers",
    "hand_vae": "training.beta_max training.kl_warmup_epochs training.free_bits",
}
"""Keys of the configs in the guide's repository that have other names here."""
GUIDE_OF_ALL = (
    "training.batch_size training.scheduler_type training.grad_clip_val training.gradient_clip_val data.data_dir "
    "data.splits_dir data.consolidated_dir data.num_workers data.return_dict hardware.accelerator hardware.devices "
    "hardware.precision hardware.strategy hardware.num_nodes hardware.node_rank logging.logger logging.logger_name "
    "logging.project_name logging.experiment_name logging.checkpoint_dir logging.save_top_k logging.log_every_n_steps"
)


@pytest.mark.parametrize("kind", GUIDE)
def test_each_key_of_the_guide_is_answered_with_ours(kind: str, tmp_path: Path) -> None:
    schema = TrainConfig.for_values({"model": {"kind": kind}})
    known: dict[str, dict[str, object]] = {
        "model": {"kind": kind}, "data": {"root": "x"}, "output": {"root": "y"}
    }  # fmt: skip
    for key in f"{GUIDE[kind]} {GUIDE_OF_ALL}".split():
        section, _, name = key.partition(".")
        in_file = {**known, section: {**known.get(section, {}), name: 1}}
        for found in (
            _problems(yaml.safe_dump(in_file), tmp_path),
            _problems(yaml.safe_dump(known), tmp_path, f"{key}=1"),
        ):
            answer = found.partition("unknown key. ")[2]
            assert answer, found
            assert "Did you mean" not in answer, found
            assert "Known here" not in answer, found
            for where, ours in re.findall(r"\b(model|data|training|output|ray)\.(\w+)", answer):
                section_type: Any = schema.model_fields[where].annotation
                assert ours in section_type.model_fields, f"{found}: no {ours}"


def test_a_key_of_the_guide_without_its_section_is_answered_too(tmp_path: Path) -> None:
    text = "model: {kind: hand_vae}\ndata: {root: x}\noutput: {root: y}\n"
    assert "Use training.scheduler:" in _problems(text, tmp_path, "scheduler_type=cosine")
    assert "Use model.beta," in _problems(text, tmp_path, "beta_max=1")


def test_an_unknown_model_suggests_the_nearest_and_a_missing_one_lists_all(tmp_path: Path) -> None:
    rest = "data: {root: x}\noutput: {root: y}\n"
    assert "model.kind: 'joint_flo' does not exist. Did you mean 'joint_flow'?" in _problems(
        "model: {kind: joint_flo}\n" + rest, tmp_path
    )
    found = _problems("model: {hidden: 3}\n" + rest, tmp_path)
    assert "model.kind: missing. One of: " in found
    assert all(kind in found for kind in MODELS)


def test_validation_on_the_training_split_is_refused(tmp_path: Path) -> None:
    text = "model: {kind: gaussian_prior}\ndata: {root: x, val: train}\noutput: {root: y}\n"
    assert "measures memorization" in _problems(text, tmp_path)


def test_a_config_round_trips_through_yaml() -> None:
    for kind in MODELS:
        config = load(kind, TrainConfig, kind="train")
        assert TrainConfig.model_validate(config.plain()) == config
