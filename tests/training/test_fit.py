"""The loop: equal seeds give equal losses, a resumed training equals an uninterrupted one, and stopping."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mocap_ray.storage import place
from mocap_ray.training import checkpoint
from mocap_ray.training.batch import Batch
from mocap_ray.training.finite import NonFinite
from mocap_ray.training.fit import fit
from mocap_ray.training.options import TrainingOptions
from mocap_ray.training.task import TaskWords
from mocap_ray.training.team import Team
from tests.training.small import Log, batches, line, rows, run

SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"scheduler": "cosine"},
    "warm_step_ema": {"scheduler": "step", "step_size": 2, "warmup_steps": 9, "ema": 0.9},
    "plateau": {"scheduler": "plateau", "plateau_patience": 0, "min_delta": 0.05},
    "rare_validation": {"scheduler": "none", "val_every": 2, "weight_decay": 0.1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, name: str) -> None:
    whole, first, second = Log(), Log(stop_after=4), Log()
    expected, _ = run(tmp_path / "whole", whole, **SETTINGS[name])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "halves", first, **SETTINGS[name])
    torch.rand(7)  # other random numbers of the process in between
    found, result = run(tmp_path / "halves", second, resume=True, **SETTINGS[name])
    assert first.figures + second.figures == whole.figures
    assert len(second.reports) == 4
    assert result.epochs == 8
    for a, b in zip(expected.parameters(), found.parameters(), strict=True):
        assert torch.equal(a, b)
    for file in (checkpoint.BEST, checkpoint.LAST):
        states = [checkpoint.read(place(tmp_path / w), file)["state"] for w in ("whole", "halves")]
        assert all(torch.equal(states[0]["model"][k], states[1]["model"][k]) for k in states[0]["model"])


def test_equal_seeds_give_equal_losses_and_other_seeds_give_other_losses(tmp_path: Path) -> None:
    logs = [Log(), Log(), Log()]
    for k, (log, seed) in enumerate(zip(logs, (3, 3, 4), strict=True)):
        run(tmp_path / str(k), log, seed=seed)
    assert logs[0].losses == logs[1].losses
    assert logs[0].losses != logs[2].losses


def test_the_random_state_of_the_caller_is_restored(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path, Log(), max_epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_training_lowers_the_loss_and_reports_it(tmp_path: Path) -> None:
    log = Log()
    _, result = run(tmp_path, log, max_epochs=30, scheduler="none")
    assert log.losses[-1] < 0.7 * log.losses[0]
    assert log.ended
    assert (result.reason, result.epochs, result.step) == ("max_epochs", 30, 120)
    report = log.reports[-1]
    assert 0 <= report.waiting <= 1
    assert report.samples_per_s > 0
    assert report.grad_norm_max >= report.grad_norm > 0
    assert report.eta_s == 0
    assert report.row()["val_loss"] == report.val["loss"]


def test_early_stopping_waits_patience_validations_for_min_delta(tmp_path: Path) -> None:
    log = Log()
    _, result = run(tmp_path, log, patience=3, min_delta=1e9)
    # The first is an improvement on infinity, the next three are not.
    assert (result.reason, result.epochs, result.best_epoch) == ("patience", 4, 1)


def test_the_best_checkpoint_is_the_epoch_with_the_lowest_validation(tmp_path: Path) -> None:
    log = Log()
    _, result = run(tmp_path, log, max_epochs=12, learning_rate=0.2, scheduler="none")
    losses = [r.val["loss"] for r in log.reports]
    assert result.best_loss == min(losses)
    best = checkpoint.read(place(tmp_path), checkpoint.BEST)["state"]
    assert best["counters"]["epoch"] == result.best_epoch == losses.index(min(losses)) + 1


def test_averaged_weights_are_judged_and_kept(tmp_path: Path) -> None:
    log = Log()
    model, _ = run(tmp_path, log, ema=0.9)
    last = checkpoint.read(place(tmp_path), checkpoint.LAST)["state"]
    for name, p in model.named_parameters():
        assert torch.equal(p, last["ema"][name])
        assert not torch.equal(p, last["model"][name])
    model.eval()
    assert float(model.loss(rows(30, seed=1))[0].detach()) == log.reports[-1].val["loss"]


def test_the_average_follows_its_formula() -> None:
    from mocap_ray.training.ema import Ema

    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
        ema, mean = Ema(model, decay=0.5), 1.0
        for t, value in enumerate((2.0, 5.0, -1.0, 4.0, 4.0, 4.0, 4.0, 4.0, 9.0, 0.0)):
            model.weight.fill_(value)
            ema.update()
            decay = min(0.5, (1 + t) / (10 + t))
            mean = decay * mean + (1 - decay) * value
    assert float(ema.mean["weight"]) == pytest.approx(mean, rel=1e-14)
    with ema.applied():
        assert model.weight.item() == pytest.approx(mean)
    assert model.weight.item() == 0.0


def test_the_gradient_norm_is_reported_before_clipping() -> None:
    log, model = Log(), line()
    before = [p.detach().clone() for p in model.parameters()]
    model.eval()
    expected = torch.autograd.grad(model.loss(rows())[0], list(model.parameters()))
    norm = float(torch.cat([g.ravel() for g in expected]).norm())
    model.net[2].p = 0.0
    options = TrainingOptions(max_epochs=1, grad_clip=norm / 1e6, scheduler="none", learning_rate=1e-3)
    fit(model, batches(size=40), options=options, callback=log)
    assert log.reports[0].grad_norm == pytest.approx(norm, rel=1e-6)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("resumable", [True, False])
def test_a_non_finite_loss_stops_naming_its_clips_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, resumable: bool
) -> None:
    log, model, folder = Log(), line(), place(tmp_path)
    good = batches()

    def feed(epoch: int) -> list[Batch]:
        found = good(epoch)
        if epoch == 2:
            found[1] = Batch(found[1].data * math.inf, found[1].items)
        return found

    with pytest.raises(NonFinite) as error:
        fit(
            model,
            feed,
            options=TrainingOptions(max_epochs=5, learning_rate=0.02, precision="fp32", grad_clip=None),
            checkpoints=checkpoint.Checkpoints(folder, about={}) if resumable else None,
            callback=log,
            words=TaskWords(item="clip", leave_out="`mocap-ray dataset exclude`"),
        )
    assert (error.value.items, error.value.epoch, error.value.step) == (("clip1",), 3, 9)
    for words in (
        "a batch with the clip clip1",
        "nan",
        "training.learning_rate=",
        "training.grad_clip=1.0",
        "exclude them (`mocap-ray dataset exclude`)",
    ):
        assert words in str(error.value)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert log.ended
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.items, again.step) == (str(error.value), ("clip1",), 9)
    if resumable:
        assert tmp_path.name in str(error.value)
        assert checkpoint.read(folder, checkpoint.LAST)["state"]["counters"]["epoch"] == 2


def test_a_non_finite_gradient_stops_the_training() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
            return self.w.sqrt().sum(), {}  # finite, with a gradient that is not

    with pytest.raises(NonFinite, match="gradient norm is inf") as error:
        fit(Root(), lambda epoch: [torch.ones(2)], options=TrainingOptions(max_epochs=1))
    assert error.value.items == ()


def test_a_non_finite_validation_is_never_the_best(tmp_path: Path) -> None:
    log, model = Log(), line()
    found = iter([math.nan, 2.0, math.inf])
    options = TrainingOptions(max_epochs=3)
    result = fit(model, batches(), options=options, validate=lambda: {"loss": next(found)}, callback=log)
    assert (result.best_epoch, result.best_loss) == (2, 2.0)
    assert len(log.notes) == 2


def test_an_empty_loader_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        fit(line(), lambda epoch: [], options=TrainingOptions(max_epochs=1))


def test_max_minutes_stops_after_an_epoch_with_validation_and_checkpoint(tmp_path: Path) -> None:
    log = Log()
    _, result = run(tmp_path, log, max_minutes=1e-9, val_every=5)
    assert (result.reason, result.epochs) == ("max_minutes", 1)
    assert log.reports[0].val
    assert checkpoint.read(place(tmp_path), checkpoint.LAST)["state"]["counters"]["epoch"] == 1


def test_a_resumed_training_may_have_more_epochs(tmp_path: Path) -> None:
    run(tmp_path, Log(), max_epochs=2, scheduler="none")
    again, log, whole = Log(), Log(), Log()
    _, result = run(tmp_path, again, resume=True, max_epochs=2, scheduler="none")
    assert (again.reports, result.reason, result.epochs) == ([], "max_epochs", 2)
    run(tmp_path, log, resume=True, max_epochs=4, scheduler="none")
    run(tmp_path / "whole", whole, max_epochs=4, scheduler="none")
    assert log.losses == whole.losses[2:]


def test_bf16_and_process_groups_call_the_loss_through_the_wrapped_module(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 1)

        def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
            out = self.net(batch)
            seen.append(out.dtype)
            return out.float().square().mean(), {}

    wrapped: list[nn.Module] = []

    def wrap(module: nn.Module) -> nn.Module:
        wrapped.append(module)
        return module

    team = Team(rank=1, world=2, wrap=wrap, mean=lambda values: {k: v + 1 for k, v in values.items()})
    log = Log()
    options = TrainingOptions(max_epochs=1, precision="bf16")
    fit(Small(), lambda epoch: [torch.ones(3, 4)], options=options, callback=log, team=team)
    assert seen == [torch.bfloat16]
    assert len(wrapped) == 1
    assert log.reports[0].train["loss"] > 1  # the mean over the team, as the hook returns it


class RecordsEpochs(nn.Module):
    """Records the epochs it gets, and uses them for a warm-up."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 1)
        self.epochs: list[float] = []

    def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        self.epochs.append(epoch)
        return min(1.0, epoch / 2) * self.net(batch).square().mean(), {}


def test_a_model_gets_the_fractional_epoch() -> None:
    model, data = RecordsEpochs(), [torch.ones(2, 5)] * 4
    options = TrainingOptions(max_epochs=2)
    fit(model, lambda epoch: data, options=options)
    assert model.epochs == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    unsized = RecordsEpochs()
    fit(unsized, lambda epoch: iter(data), options=options)
    assert unsized.epochs == [0.0] * 4 + [1.0] * 4


@pytest.mark.slow
def test_a_compiled_loss_is_not_recompiled_during_training() -> None:
    from torch._dynamo.utils import counters

    class Warming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(5, 1)

        def loss(self, batch: Tensor, *, epoch: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
            return min(1.0, epoch / 2) * self.net(batch).square().mean(), {}

    torch._dynamo.reset()
    counters.clear()
    options = TrainingOptions(max_epochs=6, compile=True, patience=None)
    fit(Warming(), lambda epoch: [torch.ones(2, 5)] * 4, options=options)
    # Once for the first number, once for any other.
    assert counters["stats"]["unique_graphs"] <= 2
