"""The NLL over joints that priors and data have in common."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mocap_ray.config import load
from mocap_ray.priors import Prior
from mocap_ray.priors.global_flow import GlobalFlowConfig
from mocap_ray.priors.joint_flow import JointFlowConfig
from mocap_ray.priors.judging import common_axes
from mocap_ray.priors.judging.common_axes import common_joints, common_nll, is_exact, still_axes
from mocap_ray.priors.judging.evaluate import evaluate
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.priors.judging.scores import rows
from mocap_ray.runs.train import TrainConfig
from mocap_ray.skeleton import SMPLX_JOINTS
from mocap_ray.training.lockstep import train_locally
from tests.dataset.made import make
from tests.priors.judging.test_evaluate import FullGaussian, gaussian, moving
from tests.priors.judging.test_tails import trained_like

QUICK = JudgeOptions(poses=200, train=200, samples=50, completed=2, steps=2, importance=8, geodesics=2)


def named(*names: str) -> list[int]:
    return [SMPLX_JOINTS.index(name) for name in names]


def nll(prior: Prior, joints: list[int], importance: int = 256) -> common_axes.CommonNLL:
    return common_nll(
        prior, joints, train=moving(800, 1), held_out=moving(200, 2), importance=importance,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_axes_that_held_out_poses_hold_still_are_named_with_their_reason() -> None:
    poses = moving(200, 1)
    poses[:, 22, 0] = 0.2
    poses[:60, 10] = 0.0
    index = [*range(3, 66), 66]
    found = still_axes(poses, index)
    assert found == {
        **{f"left_foot.{a}": "one exact value in 30% of the poses" for a in "xyz"},
        "jaw.x": "constant",
    }


def test_common_joints_have_the_same_axes_everywhere_and_all_of_them_move() -> None:
    assert common_joints([[3, 4, 5, 9], [3, 4, 5, 10]]) == (1,)
    assert common_joints([[3, 4, 5, 9]], ["left_hip.y"]) == (3,)
    assert common_joints([[3], [9]]) == ()


def test_a_gaussian_and_a_tree_have_exact_marginals_where_no_visible_joint_is_below_a_hidden_one() -> None:
    body = named(*SMPLX_JOINTS[1:22])
    visible = torch.zeros(55, dtype=torch.bool)
    visible[[j for j in body if j not in named("left_elbow", "left_wrist")]] = True
    tree, flow, plain = (
        trained_like(JointFlowConfig(hidden=8, K=2)),
        trained_like(GlobalFlowConfig(hidden=8, K=2)),
        gaussian(moving(300, 1)),
    )
    assert [is_exact(p, visible) for p in (tree, flow, plain)] == [True, False, True]
    visible[named("left_wrist")] = True
    assert [is_exact(p, visible) for p in (tree, flow, plain)] == [False, False, True]
    visible[body] = True
    assert [is_exact(p, visible) for p in (tree, flow, plain)] == [True, True, True]


def test_the_bound_of_a_full_gaussian_is_close_to_its_exact_marginal_and_not_below() -> None:
    prior = FullGaussian(moving(800, 1))
    joints = [j for j in range(1, 22) if j not in named("left_collar", "right_foot")]
    found = nll(prior, joints)
    keep = torch.tensor([k // 3 in joints for k in prior.coordinates.index_list])
    x = prior.coordinates.encode(moving(200, 2))[0]
    law = torch.distributions.MultivariateNormal(
        prior.law.mean[keep], prior.law.covariance_matrix[keep][:, keep]
    )
    volume = prior.coordinates.log_volume(x, keep.expand_as(x))
    exact = float(-(law.log_prob(x[:, keep]) + volume).mean()) / int(keep.sum())
    assert found.bound
    assert (found.active, found.importance) == (57, 256)
    assert exact - 0.002 < found.nll < exact + 0.02
    assert found.nll < nll(prior, joints, importance=2).nll


def test_integrating_over_hidden_joints_agrees_with_the_mask_of_a_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two ways to the same marginal: dropped terms, and samples of the hidden joints."""
    prior = trained_like(JointFlowConfig(hidden=8, K=2, representation="tangent", standardise="joint"))
    joints = [j for j in range(1, 22) if j not in named("left_wrist", "right_foot")]
    exact = nll(prior, joints)
    assert not exact.bound
    monkeypatch.setattr(common_axes, "is_exact", lambda prior, visible: False)
    bound = nll(prior, joints)
    assert bound.bound
    assert exact.nll - 0.002 < bound.nll < exact.nll + 0.03


def bodies(spread: float, *, still: tuple[str, ...]) -> object:
    """Poses of a made data set, with some joints at rest."""

    def poses(number: int, frames: int) -> np.ndarray:
        found = moving(frames, number, spread=spread).numpy().copy()
        found[:, named(*still)] = 0.0
        return found

    return poses


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets that move other joints, and a prior of each."""
    root = tmp_path_factory.mktemp("kinds")
    for name, still in (("a", ("left_foot",)), ("b", ("right_wrist", "neck"))):
        clips = {("CMU", "train"): 4, ("CMU", "val"): 2}
        make(root / name, clips=clips, poses=bodies(0.15, still=still))  # type: ignore[arg-type]
        plain = load("gaussian_prior", TrainConfig, kind="train").plain()
        plain["data"] |= {"root": str(root / name), "joints": "body"}
        plain["training"] |= {"max_epochs": 1}
        plain["output"] |= {"root": str(root / f"prior_{name}"), "tensorboard": False}
        train_locally(TrainConfig.model_validate(plain).setup())
    return root


def test_on_data_of_another_kind_the_report_names_what_cannot_be_compared(two_kinds: Path) -> None:
    report = evaluate([two_kinds / "prior_a"], root=two_kinds / "b", options=QUICK)
    assert set(report.still) == {f"{joint}.{a}" for joint in ("right_wrist", "neck") for a in "xyz"}
    judged = report.priors[0].judgement
    assert judged.likelihood.active == 60
    assert judged.common is not None
    assert judged.common.active == 54
    assert not judged.common.bound
    assert not {"right_wrist", "neck", "left_foot"} & set(judged.common.joints)
    text = " ".join(report.notes)
    assert "right_wrist" in text
    assert "prior_a: left_foot" in text
    # Neighbours, baselines and overfitting are those of the prior's own training poses.
    own = evaluate([two_kinds / "prior_a"], options=QUICK).priors[0].judgement
    assert judged.likelihood.train_nll == pytest.approx(own.likelihood.train_nll, rel=1e-6)
    assert judged.likelihood.nll != pytest.approx(own.likelihood.nll, rel=1e-3)


def test_priors_of_other_axes_are_compared_on_their_common_joints(two_kinds: Path) -> None:
    report = evaluate([two_kinds / "prior_a", two_kinds / "prior_b"], options=QUICK)
    first, second = (p.judgement.common for p in report.priors)
    assert first is not None
    assert second is not None
    assert first.joints == second.joints
    assert math.isfinite(first.nll)
    row = next(r for r in rows(report.priors) if r.title == "NLL of common joints")
    assert row.best == int(np.argmin([first.nll, second.nll]))
    assert "18 joints (54 axes)" in row.note


def test_the_worst_pose_has_its_clip_and_frame(two_kinds: Path) -> None:
    from mocap_ray.dataset.poses import read_poses

    report = evaluate([two_kinds / "prior_a"], options=QUICK)
    judged = report.priors[0]
    assert judged.worst is not None
    poses = read_poses(two_kinds / "a", split="val")
    clip = poses.clip_ids.index(judged.worst.clip)
    frame = poses.rotvecs[poses.clip_index == clip][judged.worst.frame]
    np.testing.assert_array_equal(frame, judged.judgement.worst.pose)
    assert judged.worst.dataset == "CMU"
    summary = report.summary()["priors"]
    assert isinstance(summary, dict)
    assert summary["prior_a"]["worst_pose"]["clip"] == judged.worst.clip  # type: ignore[index,call-overload]
