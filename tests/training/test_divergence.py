"""A validation loss that diverges is called so; one that fluctuates, overfits or stands still is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from mocap_ray.training.checkpoint import Checkpoints
from mocap_ray.training.divergence import divergence
from mocap_ray.training.fit import FitResult, fit
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords
from tests.training.small import Log, batches, line

CASES: dict[str, tuple[Sequence[float], Sequence[float], bool]] = {
    # Training losses, validation losses, whether it diverges. The first one: CMU without subject 05.
    "another subject": ((2.0, 0.5, 0.1, -0.1), (100.0, 10.0, 24.0, 23.0), True),
    "learns": ((2.0, 0.5, 0.1, -0.1), (2.1, 0.7, 0.5, 0.4), False),
    "overfits": ((1.5, -0.3, -0.9, -1.6, -2.4), (1.6, -0.2, -0.5, -0.1, 0.6), False),
    "one outlier": ((2.0, 0.5, 0.1, 0.0), (2.1, 0.7, 50.0, 0.6), False),
    "an outlier at the end": ((2.0, 0.5, 0.1, 0.0), (2.1, 0.7, 0.6, 50.0), False),
    "both explode": ((1.0, 0.8, 5.0, 60.0), (1.0, 0.9, 7.0, 80.0), True),
    "stands still": ((-0.1500, -0.1502, -0.1501, -0.1503), (-0.131, -0.132, -0.131, -0.130), False),
    "recovers": ((2.0, 0.5, 0.1, 0.0, -0.2), (2.1, 0.7, 50.0, 40.0, 0.6), False),
    "too early to say": ((2.0, 0.5), (1.0, 100.0), False),
    "not finite": ((2.0, 0.5, 0.1, 0.0), (2.1, 0.7, math.nan, math.inf), False),
}


def _history(train: Sequence[float], val: Sequence[float]) -> list[tuple[int, float, float]]:
    return [(k + 1, a, b) for k, (a, b) in enumerate(zip(train, val, strict=True))]


@pytest.mark.parametrize("name", CASES)
def test_the_rule(name: str) -> None:
    train, val, expected = CASES[name]
    assert (divergence(_history(train, val)) is not None) == expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_the_rule_does_not_depend_on_the_unit_of_the_loss(name: str, scale: float) -> None:
    train, val, expected = CASES[name]
    scaled = _history([scale * x for x in train], [scale * x for x in val])
    assert (divergence(scaled) is not None) == expected


def test_it_says_from_where_to_where() -> None:
    found = divergence(_history(*CASES["another subject"][:2]))
    assert found is not None
    assert (found.best, found.best_epoch, found.last) == (10, 2, 23)
    assert found.gained == pytest.approx(2.1)


def _train(folder: Path, log: Log, val: Sequence[float], *, resume: bool = False) -> FitResult:
    """Train a small model whose validation gives these losses, one for each epoch of this run."""
    losses = iter(val)
    where = place(folder)
    return fit(
        line(),
        batches(),
        options=TrainingOptions(learning_rate=0.02, max_epochs=5, patience=None),
        validate=lambda: {"loss": next(losses)},
        checkpoints=Checkpoints(where, about={}),
        callback=log,
        resume=checkpoint.read(where, checkpoint.LAST)["state"] if resume else None,
        words=TaskWords(steadier=("add noise",)),
    )


def test_a_training_that_diverges_says_so_once_with_what_to_try(tmp_path: Path) -> None:
    log = Log()
    result = _train(tmp_path, log, (100.0, 10.0, 24.0, 23.0, 25.0))
    assert result.diverged is not None
    assert result.diverged.last == 25
    (note,) = log.notes
    assert note.startswith("The validation loss diverges: from 10 in epoch 2 to 23")
    for advice in (
        "training.learning_rate to 0.002 (now 0.02)",
        "training.grad_clip to 0.1 (now 1)",
        "add noise",
    ):
        assert advice in note
    calm = Log()
    assert _train(tmp_path / "calm", calm, (3.0, 2.0, 1.5, 1.4, 1.3)).diverged is None
    assert calm.notes == []


def test_a_resumed_training_remembers_the_losses_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, Log(stop_after=3), (100.0, 10.0, 24.0))
    log = Log()
    _train(tmp_path, log, (23.0, 25.0), resume=True)
    assert len(log.notes) == 1
