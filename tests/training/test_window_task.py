"""Training of a custom task that is not part of the package: memory, stream, resume, config, search."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mocap_ray.config import ConfigError, load
from mocap_ray.options import may_change
from mocap_ray.runs.search import SearchConfig, check_search, trial_config
from mocap_ray.runs.train import TrainConfig
from mocap_ray.storage import place
from mocap_ray.training.checkpoint import BEST, read
from mocap_ray.training.loaders import memory_loaders
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.prepare import prepare
from mocap_ray.training.session import run
from mocap_ray.training.streaming import PlainReader, stream_loaders
from mocap_ray.training.task import TrainingSetup
from mocap_ray.training.team import Team
from mocap_ray.training.trained import read_trained
from tests.dataset.made import make
from tests.training.test_session import Kill
from tests.training.window_task import Autoencoder, HeldWindows, WindowRows, WindowTask

KIND = "tests.training.window_task:WINDOWS"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make(root, clips={("CMU", "train"): 4, ("CMU", "val"): 2})
    return root


def write_config(path: Path, data_set: Path, **sections: dict[str, Any]) -> Path:
    """A training of the windows, as a user would write it."""
    config: dict[str, dict[str, Any]] = {
        "model": {"kind": KIND, "noise": 0.1},
        "data": {"root": str(data_set), "batch_size": 16},
        "training": {"max_epochs": 4, "learning_rate": 1e-2, "patience": None},
        "output": {"root": str(path.with_suffix("")), "tensorboard": False},
        "ray": {"workers": 1, "gpus_per_worker": 0},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    path.write_text(yaml.safe_dump(config))
    return path


def setup(path: Path, data_set: Path, **sections: dict[str, Any]) -> TrainingSetup[Any]:
    return load(str(write_config(path, data_set, **sections)), TrainConfig, kind="train").setup()


def losses(out: Path) -> list[tuple[str, ...]]:
    rows = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    return [(r["epoch"], r["step"], r["loss"], r["val_loss"]) for r in rows]


def test_it_trains_from_memory_and_its_checkpoint_restores_the_model(made: Path, tmp_path: Path) -> None:
    chosen = setup(tmp_path / "a.yaml", made, output={"tensorboard": True})
    summary = train_locally(chosen)
    assert summary["kind"] == KIND
    assert summary["hidden"] == 4
    assert summary["feed"] == "memory"
    found = [float(loss) for _, _, loss, _ in losses(tmp_path / "a")]
    assert found[-1] < 0.8 * found[0]
    assert list((tmp_path / "a" / "tensorboard").iterdir())
    for path in ("a", "a/export", "a/checkpoints/best.pt"):
        trained = read_trained(tmp_path / path, chosen.words)
        assert trained.about["length"] == 8
        model = chosen.task.restored(trained.about)
        model.load_state_dict(trained.tensors)
        figures = chosen.task.validate(model.eval(), memory_loaders(chosen, Team()).val(), Team())  # type: ignore[misc]
        assert figures["loss"] == pytest.approx(summary["best_loss"], rel=1e-6)
    assert json.loads((tmp_path / "a/export/autoencoder.json").read_text())["format"] == 1


def test_windows_in_memory_equal_those_of_the_blocks_and_store_each_frame_once(made: Path) -> None:
    source = WindowRows(str(made), ("train",), 8, 2)
    windows = source.load()
    assert isinstance(windows, HeldWindows)
    blocks = [block for shard in source.counts for block in source.blocks(shard)]
    copied = np.concatenate([b.rows for b in blocks])
    gather = windows.on(torch.device("cpu"))
    assert np.array_equal(gather(torch.arange(len(windows))).numpy(), copied)
    assert windows.nbytes < 0.5 * copied.nbytes
    names = [b.names[k] for b in blocks for k in b.item]
    assert windows.names(np.array([0, len(windows) - 1])) == [names[0], names[-1]]
    assert sum(source.counts.values()) == len(copied)


def test_a_stream_gives_each_row_of_memory_once(made: Path, tmp_path: Path) -> None:
    chosen = setup(tmp_path / "a.yaml", made)
    memory, stream = memory_loaders(chosen, Team()), stream_loaders(chosen, Team(), PlainReader())
    found, expected = (
        torch.cat([batch.data for batch in loaders.train(0)]).flatten(1).numpy()
        for loaders in (stream, memory)
    )
    stream.close()
    assert np.array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))
    assert (stream.rows, stream.val_rows) == (memory.rows, memory.val_rows)
    assert stream.val is not None
    assert memory.val is not None
    assert torch.equal(torch.cat(list(stream.val())), torch.cat(list(memory.val())))


@pytest.mark.parametrize("feed", ["memory", "stream"])
def test_a_killed_training_resumes_to_the_same_losses(made: Path, tmp_path: Path, feed: str) -> None:
    whole, halves = (setup(tmp_path / f"{n}.yaml", made, data={"feed": feed}) for n in ("whole", "halves"))
    for each in (whole, halves):
        prepare(each)
    run(whole, reader=PlainReader)
    with pytest.raises(KeyboardInterrupt):
        run(halves, reader=PlainReader, callback=Kill(2))
    prepare(halves, resume=True)
    run(halves, reader=PlainReader)
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    best = [read(place(tmp_path / n / "checkpoints"), BEST)["state"]["model"] for n in ("whole", "halves")]
    assert all(torch.equal(best[0][k], best[1][k]) for k in best[0])


def test_a_non_finite_loss_names_its_items(made: Path, tmp_path: Path) -> None:
    chosen = setup(tmp_path / "a.yaml", made, training={"learning_rate": 1e30, "grad_clip": None})
    with pytest.raises(ValueError, match=r"on a batch with the clips CMU/.*exclude them"):
        train_locally(chosen)


def test_unsupported_features_are_refused_or_omitted(made: Path, tmp_path: Path) -> None:
    chosen = setup(tmp_path / "a.yaml", made, training={"closed_form": True})
    with pytest.raises(ValueError, match=r"training\.closed_form: .*WINDOWS has no closed-form solution"):
        train_locally(chosen)
    assert chosen.task.picture(Autoencoder(chosen.task.config, length=8), count=3) is None


def test_all_problems_of_its_config_are_reported_together(made: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "a.yaml", made, model={"hiden": 3}, data={"lenght": 9, "stride": 0})
    with pytest.raises(ConfigError) as error:
        load(str(path), TrainConfig, kind="train", overrides=["training.max_epochs=0"])
    for line in (
        "4 problems",
        "model.hiden: unknown key. Did you mean 'hidden'?",
        "data.lenght: unknown key. Did you mean 'length'?",
        "data.stride: should be greater than or equal to 1 (found 0)",
        "--override training.max_epochs=0: should be greater than or equal to 1 (found 0)",
    ):
        assert line in str(error.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tests.training.no_such_file:WINDOWS", "No module named 'tests.training.no_such_file'"),
        ("tests.training.window_task:WINDOW", "has no attribute 'WINDOW'"),
        ("tests.training.window_task:KIND", "has no attribute 'KIND'"),
        (
            "tests.training.window_task:WindowTask",
            "is of type ABCMeta. Expected a mocap_ray.training.task.TaskKind",
        ),
    ],
)
def test_a_kind_that_cannot_be_imported_is_one_problem_with_its_reason(
    made: Path, tmp_path: Path, kind: str, words: str
) -> None:
    path = write_config(tmp_path / "a.yaml", made, model={"kind": kind}, data={"length": 9})
    with pytest.raises(ConfigError) as error:
        load(str(path), TrainConfig, kind="train")
    assert "1 problem\n  model.kind: " in str(error.value)
    assert words in str(error.value)


def test_an_override_of_the_kind_decides_the_keys(made: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "a.yaml", made, model={"kind": "gaussian_prior", "noise": 0.0})
    overrides = [f"model.kind={KIND}", "data.length=5"]
    assert load(str(path), TrainConfig, kind="train", overrides=overrides).data.length == 5  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"data\.length=5: unknown key"):
        load(str(path), TrainConfig, kind="train", overrides=overrides[1:])


def test_a_config_can_be_pickled(made: Path, tmp_path: Path) -> None:
    import pickle

    config = load(str(write_config(tmp_path / "a.yaml", made)), TrainConfig, kind="train")
    assert pickle.loads(pickle.dumps(config)) == config
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config
    assert isinstance(config.task(), WindowTask)


def test_the_sections_define_what_a_population_may_change(made: Path, tmp_path: Path) -> None:
    config = load(str(write_config(tmp_path / "a.yaml", made)), TrainConfig, kind="train")
    assert set(may_change(type(config))) == {
        "model.noise", "training.learning_rate", "training.weight_decay", "training.grad_clip", "training.gamma"
    }  # fmt: skip


def test_a_search_of_it_is_checked_with_its_sections(made: Path, tmp_path: Path) -> None:
    base = write_config(tmp_path / "base.yaml", made)

    def search(**space: dict[str, Any]) -> SearchConfig:
        plain = {"base": str(base), "space": {k.replace("__", "."): r for k, r in space.items()}, "trials": 2}
        more = {"scheduler": "pbt", "perturb_epochs": 1, "output": {"root": str(tmp_path / "out")}}
        return SearchConfig.model_validate({**plain, **more})

    config = search(model__noise={"uniform": [0.0, 0.3]}, training__learning_rate={"uniform": [1e-4, 1e-2]})
    assert isinstance(check_search(config).task(), WindowTask)
    assert trial_config(config, {"model.noise": 0.2}, "there").model.noise == 0.2  # type: ignore[attr-defined]
    with pytest.raises(
        ConfigError, match=r"data\.length must stay as it is.*May change: model\.noise, training\."
    ):
        check_search(search(data__length={"int": [4, 8]}))
    with pytest.raises(
        ConfigError, match=r"space\.model\.hiden: 1: model\.hiden: unknown key\. Did you mean 'hidden'"
    ):
        check_search(search(model__hiden={"choice": [1, 2]}))


def test_two_ranks_share_the_windows(made: Path, tmp_path: Path) -> None:
    chosen = setup(tmp_path / "a.yaml", made)
    alone = memory_loaders(chosen, Team())
    ranks = [memory_loaders(chosen, Team(rank=rank, world=2)) for rank in range(2)]
    for step, one, two in zip(*(loaders.train(0) for loaders in (alone, *ranks)), strict=True):
        both = torch.cat([one.data, two.data]).flatten(1).numpy()
        assert np.array_equal(np.sort(both, axis=0), np.sort(step.data.flatten(1).numpy(), axis=0))
