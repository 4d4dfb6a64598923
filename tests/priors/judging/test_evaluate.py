"""Judging priors: what is right by construction gets the right figures, and what cheats is found out."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from mocap_ray import priors
from mocap_ray.cli.main import main
from mocap_ray.config import load
from mocap_ray.pages.priors import priors_page
from mocap_ray.priors import Coordinates, Prior, PriorConfig
from mocap_ray.priors.gaussian_prior import GaussianConfig
from mocap_ray.priors.global_flow import GlobalFlow, GlobalFlowConfig
from mocap_ray.priors.judging import completion, metrics
from mocap_ray.priors.judging.evaluate import Evaluation, Judged, evaluate
from mocap_ray.priors.judging.judge import flow_check, judge, unbounded
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.runs.train import TrainConfig
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import make

QUICK = JudgeOptions(poses=400, train=400, samples=200, completed=12, steps=60, importance=4)


def moving(n: int, seed: int, *, spread: float = 0.15) -> Float[Tensor, "n 55 3"]:
    """Bodies whose joints all follow three latent numbers, with a little noise, so that limbs depend on each other."""
    rng = np.random.default_rng(0)
    mixing, mean = rng.normal(size=(3, 63)), 0.3 * rng.normal(size=63)
    drawn = np.random.default_rng(seed)
    body = mean + spread * drawn.normal(size=(n, 3)) @ mixing + 0.05 * drawn.normal(size=(n, 63))
    poses = np.zeros((n, 55, 3))
    poses[:, 1:22] = body.reshape(n, 21, 3)
    return torch.as_tensor(poses, dtype=torch.float32)


class FullGaussian(Prior):
    """A Gaussian with all covariances: knows what a diagonal one does not."""

    def __init__(self, poses: Tensor) -> None:
        config = PriorConfig(kind="full", tails="gaussian")
        super().__init__(config, priors.fit_coordinates(config, poses, joints="body"))
        x = self.coordinates.encode(poses)[0]
        covariance = torch.cov(x.T) + 1e-4 * torch.eye(x.shape[1])
        self.law = torch.distributions.MultivariateNormal(x.mean(0), covariance)

    def log_density(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        return self.law.log_prob(x)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(n, self.coordinates.active, generator=generator)
        return self.law.mean + noise @ self.law.scale_tril.T


class Memory(FullGaussian):
    """Samples are training poses."""

    def __init__(self, poses: Tensor) -> None:
        super().__init__(poses)
        self.known = self.coordinates.encode(poses)[0]

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.known[torch.randint(len(self.known), (n,), generator=generator)]


def gaussian(poses: Tensor, **options: Any) -> Prior:
    config = GaussianConfig(**{"tails": "gaussian", **options})
    return priors.build(config, priors.fit_coordinates(config, poses, joints="body"))


def test_a_gaussian_gets_the_likelihood_that_it_has() -> None:
    train, held_out = moving(2000, 1), moving(2000, 2)
    options = JudgeOptions(poses=2000, train=2000, samples=50, completed=2, steps=2)
    found = judge(gaussian(train), train=train, held_out=held_out, options=options)
    x, y = (p[:, 1:22].reshape(2000, 63).double().numpy() for p in (train, held_out))
    z = (y - x.mean(0)) / x.std(0)
    exact = (0.5 * z**2 + np.log(x.std(0)) + 0.5 * math.log(2 * math.pi)).mean()
    assert found.likelihood.nll == pytest.approx(exact, abs=1e-4)
    assert found.likelihood.gaussian_nll == pytest.approx(exact, abs=1e-4)
    assert found.likelihood.bits == pytest.approx(exact / math.log(2), abs=1e-4)
    assert found.likelihood.active == 63
    assert not found.unbounded
    assert abs(found.likelihood.train_nll - exact) < 0.1
    # The naive answer is the same beside every prior of these axes, whatever coordinates it works in.
    whitened = gaussian(train, standardise="joint", representation="tangent")
    other = judge(whitened, train=train, held_out=held_out, options=options).likelihood
    assert other.gaussian_nll == pytest.approx(exact, abs=1e-4)


def test_equal_seeds_give_equal_figures_whatever_was_drawn_before() -> None:
    train, held_out = moving(500, 1), moving(500, 2)
    first = judge(gaussian(train), train=train, held_out=held_out, options=QUICK).summary()
    torch.rand(7)
    before = torch.get_rng_state()
    assert judge(gaussian(train), train=train, held_out=held_out, options=QUICK).summary() == first
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_runs_from_0_to_1_in_small_steps_with_a_name_for_each() -> None:
    train, held_out = moving(500, 1), moving(500, 2)
    seen: list[tuple[float, str]] = []
    judge(
        gaussian(train),
        train=train,
        held_out=held_out,
        options=QUICK,
        progress=lambda share, text: seen.append((share, text)),
    )
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)
    assert max(b - a for a, b in itertools.pairwise(shares)) < 0.25
    assert all(text for _, text in seen[:-1])
    assert {"likelihood", "samples", "completion"} <= {text for _, text in seen}


def test_a_prior_that_knows_the_joints_ties_beats_one_that_does_not() -> None:
    train, held_out = moving(1000, 1), moving(400, 2)
    plain, full = (
        judge(prior, train=train, held_out=held_out, options=QUICK)
        for prior in (gaussian(train), FullGaussian(train))
    )
    assert full.likelihood.nll < plain.likelihood.nll - 0.5
    assert full.auroc[5.0] > plain.auroc[5.0] + 0.05
    assert plain.auroc[5.0] < plain.auroc[10.0] < plain.auroc[20.0]
    for diagonal, tied in zip(plain.completions, full.completions, strict=True):
        assert diagonal.hidden == tied.hidden
        assert diagonal.mean_pose_deg == tied.mean_pose_deg
        # The optimum of a diagonal Gaussian is its mean: it knows nothing of hidden joints.
        assert diagonal.error_deg == pytest.approx(diagonal.mean_pose_deg, rel=0.1)
        assert tied.error_deg < 0.6 * tied.mean_pose_deg
    assert {c.hidden for c in full.completions} == {"an arm", "a leg", completion.HALF}


def test_samples_by_heart_are_found_out() -> None:
    train, held_out = moving(400, 1), moving(400, 2)
    honest = judge(FullGaussian(train), train=train, held_out=held_out, options=QUICK).samples
    copied = judge(Memory(train), train=train, held_out=held_out, options=QUICK).samples
    assert copied.copies > 0.99
    assert copied.nearest_deg < 0.1 < 0.5 < copied.held_out_nearest_deg
    assert honest.copies < 0.2
    assert honest.nearest_deg == pytest.approx(honest.held_out_nearest_deg, rel=0.3)
    assert honest.diversity_deg == pytest.approx(honest.held_out_diversity_deg, rel=0.15)


def test_samples_that_are_not_finite_are_counted_and_left_out() -> None:
    train = moving(300, 1)
    prior = FullGaussian(train)
    whole = prior.draw
    prior.draw = lambda n, generator=None: whole(n, generator).index_fill(0, torch.arange(5), math.nan)  # type: ignore[method-assign]
    found = judge(prior, train=train, held_out=moving(300, 2), options=QUICK).samples
    assert (found.count, found.broken) == (200, 5)
    assert math.isfinite(found.marginal_deg)


def test_completion_keeps_visible_joints_bit_for_bit_and_does_not_read_hidden_ones() -> None:
    train, poses = moving(400, 1), moving(6, 3)
    prior, mean = FullGaussian(train), metrics.mean_pose(train)
    visible = completion.hide(
        "an arm", count=6, joints=prior.coordinates.active_joints, generator=torch.Generator().manual_seed(0)
    )
    assert visible is not None
    assert [SMPLX_JOINTS[j] for j in (~visible[0]).nonzero()[:, 0]] == [
        "left_collar", "left_shoulder", "left_elbow", "left_wrist",
    ]  # fmt: skip
    found = completion.complete(prior, poses, visible, start=mean, steps=20)
    assert torch.equal(found[visible], poses[visible])
    spoiled = torch.where(visible[..., None], poses, torch.full_like(poses, 9.0))
    assert torch.equal(completion.complete(prior, spoiled, visible, start=mean, steps=20), found)


def test_all_priors_are_shown_completing_the_same_poses_each_with_its_own_error() -> None:
    train, held_out = moving(400, 1), moving(400, 2)
    priors = [gaussian(train), FullGaussian(train)]
    judged = [
        Judged(name, name, judge(prior, train=train, held_out=held_out, options=QUICK))
        for name, prior in zip(("plain", "full"), priors, strict=True)
    ]
    for first, second in zip(*(j.judgement.curves.completed for j in judged), strict=True):
        np.testing.assert_array_equal(first.truth, second.truth)
        np.testing.assert_array_equal(first.visible, second.visible)
        assert len(first.truth) == completion.SHOWN
        for e in (first, second):
            truth, found, visible = (torch.as_tensor(x) for x in (e.truth, e.found, e.visible))
            assert torch.equal(found[visible], truth[visible])
            for row in range(completion.SHOWN):
                error = metrics.hidden_error_deg(
                    found[row : row + 1], truth[row : row + 1], ~visible[row : row + 1]
                )
                assert e.error_deg[row] == pytest.approx(error, rel=1e-4)
    report = Evaluation(judged, "root", "test", "train", 400, 400, [], held_out[:24].numpy())
    html = priors_page(report)
    shown = html[html.index('id="completion-h"') : html.index('id="memory-h"')]
    # Three tasks, four poses: the pose, two priors and the mean pose.
    assert shown.count("<svg") == 3 * 4 * 4
    for error in judged[1].judgement.curves.completed[0].error_deg:
        assert f"<b>{error:.1f}°</b>" in shown


def test_half_of_the_joints_is_half_and_hands_are_asked_for_fingers() -> None:
    generator = torch.Generator().manual_seed(0)
    half = completion.hide(completion.HALF, count=50, joints=range(1, 22), generator=generator)
    assert half is not None
    assert ((~half).sum(1) == 11).all()
    assert half[:, [0, *range(22, 55)]].all()
    assert len({tuple(row) for row in half.tolist()}) > 40
    hands = range(25, 55)
    assert completion.hide("an arm", count=2, joints=hands, generator=generator) is None
    finger = completion.hide("a finger", count=2, joints=hands, generator=generator)
    assert finger is not None
    assert ((~finger).sum(1) == 3).all()


def test_a_wrong_log_determinant_is_seen() -> None:
    train = moving(200, 1)
    config = GlobalFlowConfig(hidden=8, K=2)
    torch.manual_seed(0)
    coordinates: Coordinates = priors.fit_coordinates(config, train, joints="body")
    flow = priors.build(config, coordinates).eval()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    right = flow_check(flow, train)
    assert right is not None
    assert right.round_trip_max < 1e-3
    assert right.log_det < 1e-9

    class Wrong(GlobalFlow):
        def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = super().transform(x)
            return z, log_det + 0.01

    flow.__class__ = Wrong
    wrong = flow_check(flow, train)
    assert wrong is not None
    assert wrong.log_det == pytest.approx(0.01, abs=1e-6)
    assert flow_check(gaussian(train), train) is None


def test_joints_on_which_a_density_has_no_bound_are_named() -> None:
    poses = moving(500, 1)
    poses[:, 10] = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1.0, 0.5, -0.3]
    )
    poses[:200, 11] = 0.0
    found = unbounded(poses, range(3, 66))
    assert set(found) == {"left_foot", "right_foot"}
    assert found["left_foot"] == "moves in 1 of its 3 active directions only"
    assert found["right_foot"] == "the same rotation in 40% of the training poses"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and two trainings on it."""
    root = tmp_path_factory.mktemp("judged")
    make(root / "data", clips={("CMU", "train"): 4, ("CMU", "val"): 2})
    for kind, model in (("gaussian_prior", {}), ("global_flow", {"hidden": 8, "K": 2})):
        plain = load(kind, TrainConfig, kind="train").plain()
        plain["data"] |= {"root": str(root / "data"), "batch_size": 64}
        plain["model"] |= model
        plain["training"] |= {"max_epochs": 2}
        plain["output"] |= {"root": str(root / kind), "tensorboard": False}
        train_locally(TrainConfig.model_validate(plain).setup())
    return root


def test_compare_writes_one_table_one_page_and_the_figures(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both.html"
    paths = [str(trained / kind) for kind in ("gaussian_prior", "global_flow")]
    with pytest.raises(SystemExit) as ended:
        main(["compare", *paths, "--quick", "--out", str(out)])
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "gaussian_prior" in printed
    assert "The split val chose the best epoch" in printed
    figures = json.loads((tmp_path / "both.json").read_text())
    assert set(figures["priors"]) == {"gaussian_prior", "global_flow"}
    assert figures["priors"]["gaussian_prior"]["flow"] is None
    assert figures["priors"]["global_flow"]["flow"]["log_det"] < 1e-6
    html = out.read_text()
    worst = figures["priors"]["global_flow"]["worst_pose"]
    assert f"frame {worst['frame']} of {worst['clip']}" in html
    assert f"frame {worst['frame']} of {worst['clip']}" in printed
    assert figures["priors"]["gaussian_prior"]["random_rotations"]["largest_gradient"] > 0
    assert "largest energy on the way to random rotations" in printed
    assert html.count("gaussian_prior, largest") == 2 + 2, "a curve of each chart, and its text alternative"
    assert "default-src 'none'" in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_limits_are_written_next_to_the_page(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(trained / "gaussian_prior"), "--quick", "--out", str(tmp_path / "page.html"), "--limits",
              "--quantiles", "0.1", "0.9"])  # fmt: skip
    assert ended.value.code == 0
    figures = json.loads((tmp_path / "limits.json").read_text())
    assert figures["quantiles"] == [0.1, 0.9]
    assert len(figures["joints"]) == 54
    assert (tmp_path / "limits.html").read_text().count("<figure") == 54
    assert "limits.html" in capsys.readouterr().out


def test_a_report_is_the_same_every_time_and_names_are_escaped(trained: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a<b>&"
    odd.symlink_to(trained / "gaussian_prior")
    report = evaluate([odd], options=QUICK)
    assert priors_page(report) == priors_page(evaluate([odd], options=QUICK))
    assert "a<b>" not in priors_page(report)
    assert "a&lt;b&gt;&amp;" in priors_page(report)


def test_sample_writes_what_load_prior_would_draw(trained: Path, tmp_path: Path) -> None:
    import mocap_ray

    out = tmp_path / "s.npz"
    with pytest.raises(SystemExit):
        main(["sample", str(trained / "global_flow"), "--count", "5", "--out", str(out), "--seed", "3",
              "--pictures", str(tmp_path / "s.html")])  # fmt: skip
    prior = mocap_ray.load_prior(trained / "global_flow")
    expected = prior.sample(5, torch.Generator().manual_seed(3)).numpy()
    np.testing.assert_array_equal(np.load(out)["poses"], expected)
    assert (tmp_path / "s.html").read_text().count("<svg") == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("evaluate", "{}", "--out", "s3://bucket/page.html"),
            "is an address. Expected a path on this machine.",
        ),
        (("sample", "{}", "--out", "s3://bucket/a.npz"), "is an address. Expected a path on this machine."),
        (("sample", "{}", "--pictures", "."), ".: is a folder. Expected the HTML file to write."),
        (("evaluate", "{}", "--device", "cudda"), "device 'cudda': expected cpu, cuda or cuda:N."),
    ],
)
def test_what_was_typed_wrong_is_a_sentence_before_anything_is_computed(
    words: tuple[str, ...], said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([w.format(trained / "gaussian_prior") for w in words])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_judged_says_so(trained: Path) -> None:
    with pytest.raises(ValueError, match="No priors to judge"):
        evaluate([])
    with pytest.raises(ValueError, match="split"):
        evaluate([trained / "gaussian_prior"], split="nowhere")
    with pytest.raises(ValueError, match=r"device 'cudda': expected cpu, cuda or cuda:N"):
        evaluate([trained / "gaussian_prior"], device="cudda")
    with pytest.raises(ValueError, match=r"config\.yaml: a file that is neither a checkpoint"):
        evaluate([trained / "gaussian_prior" / "config.yaml"])
    one = moving(1, 1)
    with pytest.raises(ValueError, match=r"1 held-out pose\. Judging needs at least two"):
        judge(gaussian(moving(50, 1)), train=moving(50, 1), held_out=one)
