"""Body models are found in every layout that people unpack them to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mocap_ray.body.files import GENDERS, expected, find, missing
from mocap_ray.skeleton import FAMILIES


def put(root: Path, *names: str) -> None:
    """Empty files; finding looks at names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("smplx/SMPLX_NEUTRAL.npz", ("smplx", "neutral")),
        ("smplx/SMPLX_MALE.pkl", ("smplx", "male")),
        ("smplx/female/model.npz", ("smplx", "female")),
        ("models/smplx/SMPLX_FEMALE.npz", ("smplx", "female")),
        ("smplh/neutral/model.npz", ("smplh", "neutral")),
        ("smplh/male/model.npz", ("smplh", "male")),
        ("smplh/SMPLH_FEMALE.pkl", ("smplh", "female")),
        ("smplh/SMPLH_male.pkl", ("smplh", "male")),
        ("SMPLH_MALE.npz", ("smplh", "male")),
        ("smpl/SMPL_NEUTRAL.npz", ("smpl", "neutral")),
        ("smpl/SMPL_MALE.pkl", ("smpl", "male")),
        ("smpl/basicModel_f_lbs_10_207_0_v1.0.0.pkl", ("smpl", "female")),
        ("smpl/basicmodel_m_lbs_10_207_0_v1.1.0.pkl", ("smpl", "male")),
        ("smpl/models/basicModel_neutral_lbs_10_207_0_v1.0.0.pkl", ("smpl", "neutral")),
        ("basicModel_m_lbs_10_207_0_v1.0.0.npz", ("smpl", "male")),
    ],
)
def test_each_layout_is_found(tmp_path: Path, name: str, model: tuple[str, str]) -> None:
    put(tmp_path, name)
    assert find(tmp_path) == {model: tmp_path / name}


@pytest.mark.parametrize(
    "name",
    [
        "smplh/SMPLX_MALE.txt",
        "smplx/SMPLX_OTHER.npz",
        "male/model.npz",
        "mano/MANO_LEFT.pkl",
        "smpl/SMPL_MALE.npz.part",
    ],
)
def test_other_files_are_no_models(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert find(tmp_path) == {}


def test_npz_comes_before_pkl_and_new_before_old(tmp_path: Path) -> None:
    put(
        tmp_path,
        "smplx/SMPLX_MALE.pkl",
        "smplx/male/model.npz",
        "smpl/SMPL_MALE.pkl",
        "smpl/basicModel_m_lbs_10_207_0_v1.0.0.npz",
        "smpl/basicmodel_f_lbs_10_207_0_v1.0.0.pkl",
        "smpl/basicmodel_f_lbs_10_207_0_v1.1.0.pkl",
        "SMPLH_MALE.npz",
        "smplh/male/model.npz",
    )
    found = find(tmp_path)
    assert found["smplx", "male"] == tmp_path / "smplx/male/model.npz"
    assert found["smpl", "male"] == tmp_path / "smpl/basicModel_m_lbs_10_207_0_v1.0.0.npz"
    assert found["smpl", "female"] == tmp_path / "smpl/basicmodel_f_lbs_10_207_0_v1.1.0.pkl"
    assert found["smplh", "male"] == tmp_path / "smplh/male/model.npz"


def test_the_root_may_be_the_familys_own_folder(tmp_path: Path) -> None:
    put(tmp_path, "smplh/male/model.npz")
    assert find(tmp_path / "smplh") == {("smplh", "male"): tmp_path / "smplh/male/model.npz"}


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: no such folder\. Expected"):
        find(tmp_path / "nowhere")


@pytest.mark.parametrize("gender", GENDERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_put_where_the_sentence_says_is_found(tmp_path: Path, family: str, gender: str) -> None:
    put(tmp_path, expected(family, gender))
    assert list(find(tmp_path)) == [(family, gender)]
    assert str(tmp_path / expected(family, gender)) in missing(family, gender, root=tmp_path)


def test_the_sentence_for_a_missing_model_says_all() -> None:
    assert missing("smplh", "male", root="/models") == (
        "/models: no male model of the family smplh. Register at https://mano.is.tue.mpg.de, download the extended "
        "SMPL+H model used in AMASS (smplh.tar.xz) and put the male model at /models/smplh/male/model.npz; then check "
        "with `mocap-ray body check /models`. For a trial without a licence, `mocap-ray body standin FOLDER` writes "
        "stand-ins."
    )
    assert "https://smpl-x.is.tue.mpg.de" in missing("smplx", "male", root="/m")
    assert "https://smpl.is.tue.mpg.de" in missing("smpl", "male", root="/m")
