"""Which model a recording gets, and what happens when it is missing."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from mocap_ray.body.bodies import Bodies, MissingBody
from mocap_ray.body.check import check_bodies, usable
from mocap_ray.body.files import find


def some(standins: Path, root: Path, *models: str) -> Path:
    """A root with links to some of the stand-ins, named `smplh/male` and so on."""
    files = find(standins)
    root.mkdir(exist_ok=True)
    for model in models:
        family, gender = model.split("/")
        source = files[family, gender]
        target = root / source.relative_to(standins)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    return root


@pytest.mark.parametrize(
    ("policy", "there", "recorded", "chosen", "fell_back"),
    [
        ("recorded", "neutral male female", "female", "female", False),
        ("recorded", "neutral male female", "neutral", "neutral", False),
        ("recorded", "neutral male female", "unknown", "neutral", False),  # nothing is missing
        ("recorded", "male female", "unknown", "male", True),
        ("recorded", "neutral male", "female", "neutral", True),
        ("recorded", "male", "female", "male", True),
        ("recorded", "female", "male", "female", True),
        ("neutral", "neutral male", "female", "neutral", False),
        ("neutral", "male female", "female", "male", True),
        ("humanml3d", "neutral male female", "male", "male", False),
        ("humanml3d", "neutral male female", "neutral", "female", False),
        ("humanml3d", "neutral male female", "unknown", "female", False),
    ],
)
def test_policy_chooses_the_gender(
    standins: Path, tmp_path: Path, policy: str, there: str, recorded: str, chosen: str, fell_back: bool
) -> None:
    root = some(standins, tmp_path, *(f"smplh/{gender}" for gender in there.split()))
    choice = Bodies.load(root, gender=policy).choose("smplh", recorded)
    assert (choice.model.family, choice.model.gender, choice.fell_back) == ("smplh", chosen, fell_back)


@pytest.mark.parametrize(
    ("policy", "there", "recorded", "asked_for"),
    [
        ("recorded", "", "male", "no male model"),
        ("neutral", "female", "female", "no neutral model"),
        ("humanml3d", "neutral female", "male", "no male model"),
        ("humanml3d", "neutral male", "neutral", "no female model"),
    ],
)
def test_a_missing_model_stops_with_the_sentence(
    standins: Path, tmp_path: Path, policy: str, there: str, recorded: str, asked_for: str
) -> None:
    root = some(standins, tmp_path, *(f"smplh/{gender}" for gender in there.split()), "smplx/neutral")
    bodies = Bodies.load(root, gender=policy)
    with pytest.raises(MissingBody, match=asked_for) as caught:
        bodies.choose("smplh", recorded)
    assert "Register at https://mano.is.tue.mpg.de" in str(caught.value)


def test_another_family_is_never_a_substitute(standins: Path, tmp_path: Path) -> None:
    bodies = Bodies.load(some(standins, tmp_path, "smplh/neutral", "smplh/male"), gender="recorded")
    with pytest.raises(MissingBody, match="no male model of the family smplx"):
        bodies.choose("smplx", "male")


def test_require_names_everything_that_is_missing(standins: Path, tmp_path: Path) -> None:
    bodies = Bodies.load(some(standins, tmp_path, "smplh/male"), gender="humanml3d")
    with pytest.raises(MissingBody) as caught:
        bodies.require(["smplh", "smplx"])
    text = str(caught.value)
    assert text.count("\n") == 2
    for part in (
        "no female model of the family smplh",
        "no male model of the family smplx",
        "no female model of the f",
    ):
        assert part in text
    Bodies.load(standins, gender="humanml3d").require(["smplh", "smplx", "smpl"])


def test_a_broken_file_is_named_instead_of_replaced(standins: Path, tmp_path: Path) -> None:
    root = some(standins, tmp_path, "smplh/male", "smplh/neutral", "smplx/male")
    (root / "smplh" / "SMPLH_MALE.npz").write_bytes(b"PK\x03\x04 cut off")
    bodies = Bodies.load(root, gender="recorded")
    with pytest.raises(MissingBody, match=r"SMPLH_MALE\.npz: cannot be read"):
        bodies.choose("smplh", "male")
    with pytest.raises(MissingBody, match=r"SMPLH_MALE\.npz: cannot be read"):
        bodies.require(["smplh"])
    bodies.require(["smplx"])
    assert bodies.choose("smplh", "neutral").model.gender == "neutral"


def test_all_bodies_together_weigh_little_and_survive_pickling(standins: Path) -> None:
    bodies = Bodies.load(standins, gender="recorded")
    data = pickle.dumps(bodies)
    assert len(data) < 150_000
    back = pickle.loads(data)
    assert back.identities() == bodies.identities()
    assert len(bodies.identities()) == 9
    assert bodies.identities()["smplx/male"]["standin"] is True


def test_only_models_that_the_policy_can_choose_are_loaded(standins: Path) -> None:
    assert {g for _, g in Bodies.load(standins, gender="neutral").models} == {"neutral"}
    assert {g for _, g in Bodies.load(standins, gender="humanml3d").models} == {"male", "female"}
    with pytest.raises(
        ValueError, match=r"'both' is not a policy. Expected one of recorded, neutral, humanml3d"
    ):
        Bodies.load(standins, gender="both")


@pytest.mark.parametrize("policy", ["recorded", "neutral", "humanml3d"])
@pytest.mark.parametrize(
    "there", ["neutral", "male", "female", "male female", "neutral male female", "broken female"]
)
def test_check_and_require_agree(standins: Path, tmp_path: Path, policy: str, there: str) -> None:
    names = there.replace("broken", "").split()
    root = some(standins, tmp_path, *(f"smplh/{gender}" for gender in names))
    if "broken" in there:
        (root / "smplh" / "SMPLH_NEUTRAL.npz").write_bytes(b"nothing")
    reports = check_bodies(root, families=["smplh"])
    try:
        Bodies.load(root, gender=policy).require(["smplh"])
    except MissingBody:
        assert not usable(reports, gender=policy)
    else:
        assert usable(reports, gender=policy)
