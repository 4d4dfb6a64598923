from __future__ import annotations

import pytest

from mocap_ray.archives import actions


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("CMU/02/02_01_poses", None),
        ("ACCAD/Female1Running_c3d/C3 - Run_poses", "run"),
        ("ACCAD/Male2General_c3d/A4- Look Around_poses", None),
        ("BioMotionLab_NTroje/rub001/0010_treadmill_slow_poses", "walk"),
        ("Transitions_mocap/mazen_c3d/jumpingjacks_walk_poses", "walk"),
        ("SFU/0005/0005_Walking001_poses", "walk"),
        ("DanceDB/20120731_x/Salsa_poses", "dance"),
        ("KIT/3/walk_6m_straight_line04_poses", "walk"),
        ("KIT/3/run_and_jump01_poses", "jump"),
        ("WalkSet/s1/nothing_poses", None),  # the sub-dataset's own name says nothing
        ("X/s1/prune_grunt_trunk_poses", None),  # words count whole
    ],
)
def test_actions_come_from_whole_words_of_file_and_folder(name: str, label: str | None) -> None:
    assert actions.action_of(name) == label


def test_no_word_means_two_actions() -> None:
    words = [word for known in actions.ACTIONS.values() for word in known]
    assert len(words) == len(set(words))
