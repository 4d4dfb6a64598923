"""Figures of motion against cases whose values are known, and an evaluation from its command to its page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

import mocap_ray
from mocap_ray.cli.main import main
from mocap_ray.generation.batch import unpack
from mocap_ray.generation.judging import metrics
from mocap_ray.generation.judging.evaluate import evaluate, evaluator_at, held_out_rows, scores_of
from mocap_ray.generation.judging.measure import Found, of_batch
from mocap_ray.motion.features import decode
from mocap_ray.pages.motion import motion_page
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import features_of, walker
from tests.generation.made import VARIANTS, model, rows, setup, two_domains


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_domains(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def runs(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained VAE and a trained evaluator."""
    root = tmp_path_factory.mktemp("runs")
    train_locally(setup(made, root / "vae", training={"max_epochs": 3, "learning_rate": 1e-2}))
    train_locally(
        setup(made, root / "evaluator", model={"kind": "motion_evaluator", "width": 16, "features": 4})
    )
    return root


def test_errors_of_joints_in_millimetres() -> None:
    true = np.stack([walker(20), walker(20)])
    mask = metrics.lengths_mask(np.array([20, 5]), 20)
    moved = true + np.array([0.03, 0.0, 0.04])
    moved[1, 5:] = 1e9
    errors = metrics.joint_errors(moved, true, mask)
    assert errors["mpjpe"] == pytest.approx([50, 50])
    assert errors["root"] == pytest.approx([50, 50])
    assert errors["mpjpe_local"] == pytest.approx([0, 0], abs=1e-9)
    higher = true + np.array([0.0, 0.01, 0.0])
    assert metrics.joint_errors(higher, true, mask)["mpjpe_local"] == pytest.approx([10, 10])


def test_f1_of_contacts_counts_real_frames() -> None:
    true, found = np.zeros((1, 4, 263)), np.zeros((1, 4, 263))
    true[0, :, 259] = [1, 1, 1, 1]
    found[0, :, 259] = [0.9, 0.1, 0.8, 0.0]
    found[0, 1, 260] = 0.7
    mask = metrics.lengths_mask(np.array([3]), 4)
    counts = metrics.contact_counts(found, true, mask)
    assert counts.tolist() == [[2, 1, 1]]
    assert metrics.f1(counts) == pytest.approx(4 / 6)
    assert math.isnan(metrics.f1(np.zeros((1, 3), np.int64)))


def test_jitter_is_the_third_derivative() -> None:
    t = np.arange(12) / 30
    joints = np.zeros((1, 12, 22, 3))
    joints[0, :, :, 1] = (t**3)[:, None]
    mask = metrics.lengths_mask(np.array([12]), 12)
    assert metrics.jitter(joints, mask, fps=30.0) == pytest.approx([6.0])
    assert np.isnan(metrics.jitter(joints, metrics.lengths_mask(np.array([3]), 12), fps=30.0)).all()


def test_feet_slide_while_in_contact_alone() -> None:
    joints = np.zeros((1, 5, 22, 3))
    joints[0, :, 7, 0] = [0, 0.01, 0.02, 0.03, 0.5]
    contacts = np.zeros((1, 5, 4))
    contacts[0, :3, 0] = 1
    mask = metrics.lengths_mask(np.array([4]), 5)
    slid, steps = metrics.foot_skate(joints, contacts, mask)
    assert slid == pytest.approx([30])
    assert steps.tolist() == [3]


def test_fid_is_that_of_its_definition_and_grows_with_noise() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5))
    b = 0.7 * rng.normal(size=(300, 5)) + 1
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert metrics.fid(a, b) == pytest.approx(expected, rel=1e-8)
    assert metrics.fid(a, a) == pytest.approx(0, abs=1e-9)
    noisy = [metrics.fid(a, a + s * rng.normal(size=a.shape)) for s in (0.1, 0.5, 2.0)]
    assert noisy == sorted(noisy)
    assert metrics.diversity(3 * a, seed=0) == pytest.approx(3 * metrics.diversity(a, seed=0))


def test_the_decoder_of_features_returns_the_walker() -> None:
    joints = walker(30)
    features = features_of(joints)
    moved = joints[:-1] - joints[0, 0] * np.array([1, 0, 1])
    assert np.abs(decode(features) - moved).max() < 1e-5


def test_an_evaluation_measures_each_domain_and_is_repeatable(made: Path, runs: Path) -> None:
    reports = [evaluate(runs / "vae", split="val", evaluator=runs / "evaluator") for _ in range(2)]
    assert reports[0].summary() == reports[1].summary()
    report = reports[0]
    assert [s.name for s in report.scores] == ["aist", "amass", "all"]
    aist, amass, every = report.scores
    assert every.windows == aist.windows + amass.windows
    assert every.mpjpe == pytest.approx(
        (aist.mpjpe * aist.windows + amass.mpjpe * amass.windows) / every.windows
    )
    for scores in report.scores:
        assert 0 < scores.mpjpe_local < scores.mpjpe < math.inf
        assert 0 <= scores.contact_f1 <= 1
        assert 0 <= scores.active <= scores.latent == 4
        assert scores.fid > 0
        assert scores.jitter_real > 0
    assert len(report.evaluator) == 64
    other = evaluate(runs / "vae", split="val")
    assert other.evaluator == ""
    assert other.scores[0].summary()["fid"] is None
    assert other.scores[0].mpjpe == aist.mpjpe


def test_a_perfect_reconstruction_has_no_error(made: Path, runs: Path) -> None:
    vae = mocap_ray.load_motion_model(runs / "vae")
    judge, _ = evaluator_at(runs / "evaluator", "cpu")
    held = held_out_rows(vae.facts, mocap_ray.open(made), "val", quick=False, seed=0)
    blocks = [block.rows for shard in held.counts for block in held.blocks(shard)]
    with torch.no_grad():
        windows = unpack(torch.from_numpy(np.concatenate(blocks)))
        found = Found(**of_batch(vae, judge, windows, windows.features))
    scores = scores_of("all", found, np.ones(len(windows), bool), vae, seed=0)
    assert scores.mpjpe == scores.root == 0
    assert scores.contact_f1 == 1
    assert scores.fid == pytest.approx(0, abs=1e-5)
    assert (scores.jitter, scores.skate) == (scores.jitter_real, scores.skate_real)


def test_the_command_writes_a_table_a_page_and_json(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as done:
        main(
            [
                "evaluate",
                str(runs / "vae"),
                "--split",
                "val",
                "--evaluator",
                str(runs / "evaluator"),
                "--out",
                str(page),
            ]
        )
    assert not done.value.code
    shown = capsys.readouterr().out
    for words in ("MPJPE, mm", "aist", "amass", "foot skate", "FID", "two halves"):
        assert words in shown
    figures = json.loads(page.with_suffix(".json").read_text())
    assert figures["domains"]["all"]["mpjpe"] > 0
    assert len(figures["evaluator"]) == 64
    html = page.read_text()
    report = evaluate(runs / "vae", split="val", evaluator=runs / "evaluator")
    assert motion_page(report) == html
    assert html.count('class="player"') == 2 * len(report.pairs) == 2 * 6
    assert html.count("<h4>original</h4>") == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limits"], "--limits: "),
        (["--dataset", "CMU"], "--dataset: "),
        (["--split", "nonesuch"], "no split 'nonesuch'"),
        (["--evaluator", "VAE"], "a motion VAE. Expected a training of motion_evaluator"),
        (["--device", "tpu"], "expected cpu, cuda"),
    ],
)
def test_what_does_not_fit_is_refused(
    runs: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(runs / "vae") if word == "VAE" else word for word in options]
    with pytest.raises(SystemExit) as done:
        main(["evaluate", str(runs / "vae"), *words])
    assert done.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_evaluator_is_no_model_to_judge(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["evaluate", str(runs / "evaluator")])
    assert done.value.code == 2
    assert "pass this one with --evaluator" in " ".join(capsys.readouterr().err.split())


def test_a_quick_evaluation_uses_some_of_the_windows(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mocap_ray.generation.judging import evaluate as judging

    monkeypatch.setattr(judging, "QUICK", 3)
    report = evaluate(runs / "vae", split="train", quick=True)
    assert [s.windows for s in report.scores] == [3, 3, 6]


def test_features_of_an_evaluator_tell_noise_from_motion() -> None:
    made = model(*VARIANTS[3])
    windows = unpack(rows([24] * 16))
    noise = torch.randn(windows.features.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        real, near, far = (
            made.features(windows.features + s * noise, windows.length).double().numpy()
            for s in (0.0, 0.1, 1.0)
        )
    assert metrics.fid(real, near) < metrics.fid(real, far)
