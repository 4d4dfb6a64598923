"""An evaluation of a rectified flow, from its command to its page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import mocap_ray
from mocap_ray.cli.main import main
from mocap_ray.errors import UserError
from mocap_ray.generation.judging import flows
from mocap_ray.generation.judging.evaluate import evaluator_at, held_out, held_out_rows
from mocap_ray.generation.judging.flows import evaluate_flow
from mocap_ray.generation.task import WORDS
from mocap_ray.pages.flow import flow_page
from mocap_ray.training.lockstep import train_locally
from mocap_ray.training.trained import read_trained
from tests.generation.made import TINY_FLOW, setup, two_domains


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained VAE, a flow and an evaluator."""
    made, root = two_domains(tmp_path_factory.mktemp("set")), tmp_path_factory.mktemp("runs")
    once = {"max_epochs": 1, "learning_rate": 1e-2}
    train_locally(setup(made, root / "vae", training=once))
    flow = {"kind": "motion_flow", "vae": str(root / "vae"), **TINY_FLOW}
    judge = {"kind": "motion_evaluator", "width": 16, "features": 4}
    train_locally(setup(made, root / "flow", model=flow, training=once))
    train_locally(setup(made, root / "evaluator", model=judge, training=once))
    return root


def test_an_evaluation_draws_a_motion_for_each_window_and_is_repeatable(runs: Path) -> None:
    reports = [
        evaluate_flow(runs / "flow", split="val", evaluator=runs / "evaluator", steps=(3, 1))
        for _ in range(2)
    ]
    assert reports[0].summary() == reports[1].summary()
    report = reports[0]
    assert [d.name for d in report.domains] == ["aist", "amass", "all"]
    assert report.windows == report.domains[2].windows
    assert report.steps == [3, 1]
    assert len(report.evaluator) == len(report.vae) == 64
    for domain in report.domains:
        for figures in domain.drawn.values():
            assert figures.fid > 0
            assert figures.jitter > 0
            assert figures.diversity > 0
        assert domain.drawn[3] != domain.drawn[1]
        assert domain.real.jitter < domain.drawn[3].jitter, "a flow of one epoch trembles"
    for one in report.shown:
        assert {len(j) for j in one.drawn.values()} == {len(one.real)}
    other = evaluate_flow(runs / "flow", split="val", steps=(1,))
    assert other.domains[0].summary()["real"]["fid"] is None  # type: ignore[index,call-overload]
    assert other.domains[0].drawn[1].jitter == report.domains[0].drawn[1].jitter
    assert "Without --evaluator" in other.notes[0]


def test_motions_that_are_the_real_ones_have_their_figures(runs: Path) -> None:
    trained = read_trained(runs / "flow", WORDS)
    model = mocap_ray.load_motion_model(runs / "flow")
    judge, _ = evaluator_at(runs / "evaluator", "cpu")
    source, split = held_out(trained, None, "val")
    windows = flows._windows(held_out_rows(model.facts, source, split, quick=False, seed=0))
    real = [windows.features[k, :n].numpy() for k, n in enumerate(windows.length.tolist())]
    ruler = flows._Ruler(judge, model.facts, "cpu")
    every = np.ones(len(real), bool)
    found = flows._figures(
        "all", every, ruler.measured(real), {1: ruler.measured(real)}, windows.style.numpy(), seed=0
    )
    drawn = found.drawn[1]
    assert drawn.fid == pytest.approx(0, abs=1e-5)
    for name in ("jitter", "skate", "diversity"):
        assert getattr(drawn, name) == getattr(found.real, name)
    a, b = drawn.style_accuracy, found.real.style_accuracy
    assert a == b or (math.isnan(a) and math.isnan(b))


def test_the_command_writes_tables_a_page_and_json(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    options = ["--split", "val", "--evaluator", str(runs / "evaluator"), "--out", str(page)]
    with pytest.raises(SystemExit) as done:
        main(["evaluate", str(runs / "flow"), *options])
    assert not done.value.code
    shown = capsys.readouterr().out
    for words in ("50 steps", "4 steps", "aist", "amass", "foot skate", "FID", "diversity"):
        assert words in shown
    figures = json.loads(page.with_suffix(".json").read_text())
    assert set(figures["domains"]["aist"]["steps"]) == {"50", "4"}
    html = page.read_text()
    report = evaluate_flow(runs / "flow", split="val", evaluator=runs / "evaluator")
    assert flow_page(report) == html
    assert html.count('class="player"') == 3 * len(report.shown) > 0
    assert html.count("<h4>real</h4>") == len(report.shown)


def test_what_is_no_flow_is_refused(runs: Path) -> None:
    with pytest.raises(UserError, match=r"no rectified flow. Expected a training of motion_flow"):
        evaluate_flow(runs / "vae")
    with pytest.raises(UserError, match=r"a rectified flow. Expected a training of motion_evaluator"):
        evaluate_flow(runs / "flow", evaluator=runs / "flow")
