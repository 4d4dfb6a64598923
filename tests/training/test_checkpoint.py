"""Checkpoints and exports: written atomically, loaded without running code, damage is detected."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mocap_ray.storage import Place, place
from mocap_ray.training.checkpoint import (
    BEST,
    LAST,
    WEIGHTS,
    CheckpointError,
    Checkpoints,
    export,
    read,
    read_export,
    weights,
)

ABOUT = "prior.json"
STATE: dict[str, Any] = {
    "model": {"w": torch.arange(2000.0, dtype=torch.float64), "b": torch.tensor([1.0, 2.0])},
    "ema": None,
    "counters": {"epoch": 3, "best_loss": float("inf")},
}


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    where = place(tmp_path / "checkpoints")
    Checkpoints(where, about={"kind": "x", "numbers": [1, 2.5]}).save(STATE, best=True)
    return where


def test_saved_checkpoints_load_bit_for_bit(folder: Place) -> None:
    for name in (BEST, LAST):
        found = read(folder, name)
        assert found["about"] == {"kind": "x", "numbers": [1, 2.5]}
        assert found["state"]["counters"] == STATE["counters"]
        for key, value in STATE["model"].items():
            assert torch.equal(found["state"]["model"][key], value)
            assert found["state"]["model"][key].dtype == value.dtype


def test_two_files_are_kept_however_many_are_saved(folder: Place) -> None:
    keeper = Checkpoints(folder, about={})
    for k in range(5):
        keeper.save({**STATE, "counters": {"epoch": k}}, best=k == 2)
    assert sorted(os.listdir(folder.path)) == [BEST, LAST]
    assert [read(folder, name)["state"]["counters"]["epoch"] for name in (BEST, LAST)] == [2, 4]


def test_a_write_that_fails_leaves_the_old_checkpoint(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Checkpoints(folder, about={}).save({"model": {}}, best=True)
    assert sorted(os.listdir(folder.path)) == [BEST, LAST]
    assert read(folder, BEST)["about"]["kind"] == "x"


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_a_truncated_checkpoint_gives_a_clear_error(folder: Place, keep: float) -> None:
    path = Path(folder.join(BEST))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 or keep <= 0 else keep * len(data))])
    with pytest.raises(CheckpointError, match=r"best\.pt: not a checkpoint, or truncated .* Copy it again"):
        read(folder, BEST)


def test_a_flipped_bit_in_the_weights_is_detected(folder: Place) -> None:
    path = Path(folder.join(BEST))
    data = bytearray(path.read_bytes())
    at = data.index(torch.arange(2000.0, dtype=torch.float64).numpy().tobytes()) + 4000
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read(folder, BEST)


def test_any_changed_byte_of_a_checkpoint_gives_a_checkpoint_error(folder: Place) -> None:
    path = Path(folder.join(BEST))
    data = path.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 150)):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = read(folder, BEST)
        except CheckpointError:
            continue
        # Padding and redundant header fields have no effect: the checkpoint loads as saved.
        assert torch.equal(found["state"]["model"]["w"], STATE["model"]["w"])


class Trap:
    """Pickles as a call that would write a file."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.mark,)


def test_a_checkpoint_with_code_is_refused_and_the_code_does_not_run(folder: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"format": 1, "about": {}, "state": Trap(str(mark))}, folder.join(BEST))
    with pytest.raises(CheckpointError, match="without running code"):
        read(folder, BEST)
    assert not mark.exists()
    Path(folder.join(BEST)).write_bytes(pickle.dumps(Trap(str(mark))))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read(folder, BEST)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, [1, 2], torch.zeros(3)], ids=["lightning", "list", "tensor"]
)
def test_a_foreign_checkpoint_is_refused(folder: Place, content: Any) -> None:
    torch.save(content, folder.join(BEST))
    with pytest.raises(CheckpointError, match="not a checkpoint of mocap_ray"):
        read(folder, BEST)


def test_another_zip_file_is_refused_as_checkpoint(folder: Place) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("x", "y")
    Path(folder.join(BEST)).write_bytes(sink.getvalue())
    with pytest.raises(CheckpointError):
        read(folder, BEST)


def test_a_newer_format_asks_for_an_upgrade(folder: Place) -> None:
    torch.save({"format": 99, "about": {}, "state": {}}, folder.join(BEST))
    with pytest.raises(CheckpointError, match=r"format 99.*Upgrade"):
        read(folder, BEST)


def test_weights_are_the_averaged_ones_with_the_last_buffers() -> None:
    model = {"w": torch.zeros(1), "buffer": torch.ones(1)}
    found = weights({"model": model, "ema": {"w": torch.full((1,), 5.0)}})
    assert {k: float(v) for k, v in found.items()} == {"w": 5.0, "buffer": 1.0}
    assert weights({"model": model, "ema": None}) == model


TENSORS: dict[str, Tensor] = {"w": torch.arange(6.0).reshape(2, 3).T, "n": torch.tensor(3)}


def test_an_export_loads_bit_for_bit_here_and_with_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    export(place(tmp_path), tensors=TENSORS, about={"model": {"kind": "x"}}, description=ABOUT)
    tensors, about = read_export(place(tmp_path), description=ABOUT)
    assert about["model"] == {"kind": "x"}
    for found in (tensors, load_file(tmp_path / WEIGHTS)):
        assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_weights_that_do_not_match_the_description_are_refused(tmp_path: Path) -> None:
    export(place(tmp_path), tensors=TENSORS, about={}, description=ABOUT)
    data = bytearray((tmp_path / WEIGHTS).read_bytes())
    for changed in (data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        (tmp_path / WEIGHTS).write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"not the file that prior\.json describes"):
            read_export(place(tmp_path), description=ABOUT)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '"x"', "\xff"])
def test_a_damaged_description_gives_a_clear_error(tmp_path: Path, text: str) -> None:
    export(place(tmp_path), tensors=TENSORS, about={}, description=ABOUT)
    (tmp_path / ABOUT).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"prior\.json: not the description"):
        read_export(place(tmp_path), description=ABOUT)


def test_a_newer_export_asks_for_an_upgrade(tmp_path: Path) -> None:
    export(place(tmp_path), tensors=TENSORS, about={}, description=ABOUT)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(CheckpointError, match="Upgrade"):
        read_export(place(tmp_path), description=ABOUT)
