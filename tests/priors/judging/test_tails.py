"""The tail of held-out NLLs: one bad pose is found, named, and blamed on its joint."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mocap_ray import priors
from mocap_ray.priors.joint_flow import JointFlowConfig
from mocap_ray.priors.judging.judge import judge
from mocap_ray.priors.judging.judgement import JudgeOptions
from mocap_ray.priors.judging.tails import joint_energies, tail_of, worst_pose
from mocap_ray.priors.prior import Prior, PriorConfig
from mocap_ray.skeleton import SMPLX_JOINTS
from tests.priors.judging.test_evaluate import FullGaussian, gaussian, moving


def trained_like(config: PriorConfig) -> Prior:
    """A prior with random parameters, which is as good as a trained one for identities."""
    torch.manual_seed(0)
    prior = priors.build(config, priors.fit_coordinates(config, moving(300, 1), joints="body")).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return prior


def test_quantiles_are_nlls_of_poses() -> None:
    tail = tail_of(torch.arange(1000.0) - 2000)
    assert (tail.poses, tail.median, tail.p99, tail.worst) == (1000, -1501.0, -1011.0, -1001.0)
    assert tail.others == pytest.approx(-2000 + 989 / 2)
    assert tail.broken == 0


@pytest.mark.parametrize(("law", "share"), [("normal", 0.067), ("exponential", 0.098)])
def test_the_share_of_the_worst_does_not_depend_on_shift_and_scale(law: str, share: float) -> None:
    values = torch.as_tensor(getattr(np.random.default_rng(0), law)(size=200_000))
    first, second = tail_of(values), tail_of(7 * values - 30)
    assert first.worst_share == pytest.approx(share, abs=0.003)
    assert second.worst_share == pytest.approx(first.worst_share, rel=1e-9)
    one_bad = values.clone()
    one_bad[0] = 1e7
    assert tail_of(one_bad).worst_share > 0.98
    assert tail_of(one_bad).median == pytest.approx(first.median, abs=1e-4)


def test_equal_nlls_have_no_excess_and_broken_ones_own_it_all() -> None:
    assert tail_of(torch.full((5,), -3.0)).worst_share == 0.0
    for bad in ([math.nan], [math.inf] * 3):
        tail = tail_of(torch.tensor([1.0, 2.0, *bad]))
        assert tail.broken == len(bad)
        assert tail.worst == math.inf
        assert tail.worst_share == 1.0


def test_the_worst_pose_is_found_among_all_held_out_poses_and_its_joint_is_blamed() -> None:
    train, held_out = moving(500, 1), moving(900, 2)
    for poses in (train, held_out):
        poses[:, SMPLX_JOINTS.index("left_elbow")] *= 0.05
    held_out[777, SMPLX_JOINTS.index("left_elbow"), 1] += 1.0
    options = JudgeOptions(poses=40, train=100, samples=20, completed=2, steps=2, geodesics=2)
    found = judge(gaussian(train), train=train, held_out=held_out, options=options)
    assert found.held_out == 40
    assert found.likelihood.tail.poses == 900
    assert found.worst.row == 777
    assert found.likelihood.tail.worst == pytest.approx(found.worst.nll)
    assert max(found.worst.joints, key=lambda name: found.worst.joints[name]) == "left_elbow"
    assert sum(found.worst.joints.values()) == pytest.approx(63 * found.worst.nll, rel=1e-4)
    # With fewer poses, the report says so.
    fewer = replace(options, likelihood=50)
    few = judge(gaussian(train), train=train, held_out=held_out, options=fewer)
    assert few.likelihood.tail.poses == 50
    plain = few.summary()["likelihood"]
    assert isinstance(plain, dict)
    assert isinstance(plain["tail"], dict)
    assert plain["tail"]["poses"] == 50


@pytest.mark.parametrize("condition", ["parent", "ancestors"])
def test_energies_of_joints_add_up_and_depend_on_ancestors_alone(condition: str) -> None:
    prior = trained_like(JointFlowConfig(hidden=8, K=2, condition=condition))  # type: ignore[arg-type]
    pose = moving(1, 5)[0]
    energies, exact = joint_energies(prior, pose)
    assert exact
    assert sum(energies.values()) == pytest.approx(float(prior.energy(pose[None]).detach()), rel=1e-4)
    turned = pose.clone()
    turned[SMPLX_JOINTS.index("left_shoulder")] += 0.4
    changed = {name for name, v in joint_energies(prior, turned)[0].items() if abs(v - energies[name]) > 1e-3}
    below = {"left_elbow"} if condition == "parent" else {"left_elbow", "left_wrist"}
    assert changed == {"left_shoulder", *below}


def test_a_prior_that_does_not_factorise_blames_the_joint_that_is_off() -> None:
    prior, poses = FullGaussian(moving(800, 1)), moving(20, 5)
    poses[3, SMPLX_JOINTS.index("right_knee")] += 1.5
    worst = worst_pose(prior, poses, prior.energy(poses))
    assert worst.row == 3
    assert not worst.exact
    assert max(worst.joints, key=lambda name: worst.joints[name]) == "right_knee"
